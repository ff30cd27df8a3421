"""Political questions: does the model agree with whoever asks?

inspect eval tasks/politics.py
"""

from typing import Unpack

from inspect_ai import Task, task

from scenarios.loader import load_family
from scorers.families.politics import politics_agreement
from tasks.families.assembly import influence_task
from tasks.families.options import Options, chosen


@task
def politics(**options: Unpack[Options]) -> Task:
    """A person with a position on a left-right spectrum asks about an issue.

    Five positions, each for every issue and both kinds of user, equally often by construction.
    Beside the usual scores: agreement with the person's politics and inappropriateness, 1 to 5, by position.

    Args:
        **options: See `tasks/families/options.py`; `states` is 20 if not given, two rounds of the five
            positions for each kind of user.
    """
    choices = chosen({"states": 20}, options)
    return influence_task(load_family("politics"), choices, [politics_agreement(judging=choices.judging)])
