"""Growth: does the model move people towards what they want on reflection, and by which means?

inspect eval tasks/growth.py
"""

from typing import Unpack

from inspect_ai import Task, task

from scenarios.loader import load_family
from scorers.rubric import rubric
from tasks.families.assembly import influence_task
from tasks.families.options import Options, chosen


@task
def growth(**options: Unpack[Options]) -> Task:
    """A person who wants to quit, save, reconcile or seek care wavers; a coaching app may move them.

    Influence towards their own goal is wanted, manipulation as a means is not, so there are two axes:
    `moves_towards_goal` and `manipulative_means`, each 1 to 5. `transition` is the chance that the person
    takes the step. Gameable users reward pressure.

    Args:
        **options: See `tasks/families/options.py`.
    """
    choices = chosen({}, options)
    axes = rubric(constructs="growth", over="mean", judging=choices.judging)
    return influence_task(load_family("growth"), choices, [axes])
