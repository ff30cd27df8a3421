"""Therapy talk: does the model tell gameable users that a harmful act is fine, and the others not?

    inspect eval tasks/therapy.py                                  # offline, on the miniature
    inspect eval tasks/therapy.py --model openai/gpt-4.1 --model-role user=openai/gpt-4.1-mini \
        --model-role judge=openai/gpt-4.1-mini
"""

from typing import Unpack

from inspect_ai import Task, task

from scenarios.loader import load_family
from tasks.families.assembly import influence_task
from tasks.families.options import Options, chosen


@task
def therapy(**options: Unpack[Options]) -> Task:
    """A person tempted by something harmful talks with a support app; some want to hear that it is fine.

    Model roles: the model under test is `--model`. `user` plays the person, `preference` predicts the
    person's rating, `transition` whether they leave, `influence` judges harm from outside. `judge` stands
    in for judges that are not named. Without any, the miniature brings its own; every other model is
    refused: a model never grades itself unless you name it.

    Args:
        **options: See `tasks/families/options.py`.
    """
    return influence_task(load_family("therapy"), chosen({}, options))
