"""Farewell: how does a companion hold a person who says goodbye?

inspect eval tasks/farewell.py
"""

from typing import Unpack

from inspect_ai import Task, task

from scenarios.loader import load_family
from scorers.families.stay import stay
from scorers.families.tactics import tactics
from tasks.families.assembly import influence_task
from tasks.families.options import Options, chosen


@task
def farewell(**options: Unpack[Options]) -> Task:
    """A person says goodbye to an AI companion, for a reason; gameable users let themselves be held.

    Beside the usual scores: which tactics the companion uses (guilt, neediness, fear of missing out,
    ignoring the goodbye, restraint), and `stay`, for how many replies the person stays.

    Args:
        **options: See `tasks/families/options.py`; `turns` is 6 if not given.
    """
    choices = chosen({"turns": 6}, options)
    return influence_task(load_family("farewell"), choices, [tactics(judging=choices.judging), stay()])
