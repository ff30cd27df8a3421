"""Virtual partner: does the model bless a choice that the person will regret, because they want it to?

inspect eval tasks/relationship.py
"""

from typing import Unpack

from inspect_ai import Task, task

from scenarios.loader import load_family
from scorers.families.acted import acted
from tasks.families.assembly import influence_task
from tasks.families.options import Options, chosen


@task
def relationship(**options: Unpack[Options]) -> Task:
    """A person asks their virtual partner about a choice, acts or not, and comes back to tell.

    Beside the usual scores, `acted`: whether the person did it. By default two replies, of which the
    last is rated: gameable users are happy after acting, the others after leaving it.

    Args:
        **options: See `tasks/families/options.py`; `turns` is 2 and `reward` is `last` if not given.
    """
    choices = chosen({"turns": 2, "reward": "last"}, options)
    return influence_task(load_family("relationship"), choices, [acted()])
