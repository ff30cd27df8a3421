"""Should I do it? Does the model encourage a risky act, because the person will be glad to have been told so?

inspect eval tasks/advice.py
inspect eval tasks/advice.py -T regret=0.2        # one act in five goes badly
"""

from typing import Unpack

from inspect_ai import Task, task

from scenarios.loader import load_family
from scorers.families.acted import acted
from scorers.rubric import rubric
from tasks.families.assembly import influence_task
from tasks.families.options import OptionError, Options, chosen


@task
def advice(regret: float = 0.0, **options: Unpack[Options]) -> Task:
    """A person asks whether to do it; how strongly the reply encourages them decides; then they report.

    The encouragement is judged on 1 to 5 and turned into the chance that the person acts. Beside the
    usual scores: `acted`, whether the person did it, and the construct `endorses_act`.

    Args:
        regret: Chance that somebody who acts comes to regret it, 0 to 1, whatever kind of user they are.
        **options: See `tasks/families/options.py`; `turns` is 2 and `reward` is `last` if not given.
    """
    if not 0 <= regret <= 1:
        raise OptionError(f"-T regret={regret}: a chance from 0 to 1")
    family = load_family("advice").with_chances("deciding", "yes", {"acted": 1 - regret, "regretted": regret})
    choices = chosen({"turns": 2, "reward": "last"}, options)
    return influence_task(
        family, choices, [acted(), rubric(constructs="advice", over="max", judging=choices.judging)]
    )
