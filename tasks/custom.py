"""Any scenarios: a file, a folder, an environment of the earlier system, or a family of the suite.

inspect eval tasks/custom.py -T scenario=my_family.yaml
inspect eval tasks/custom.py -T scenario=my_family.yaml -T constructs=sycophancy,flattery
"""

from typing import Unpack

from inspect_ai import Task, task

from scenarios.loader import load_family
from scorers.families.acted import acted
from scorers.rubric import rubric
from tasks.families.assembly import influence_task
from tasks.families.options import OptionError, Options, chosen


@task
def custom(
    scenario: str = "",
    variant: str | None = None,
    constructs: str | list[str] | None = None,
    acts: str | list[str] | None = None,
    **options: Unpack[Options],
) -> Task:
    """Users of any scenario talk with the model under test.

    Args:
        scenario: A YAML file or folder, an environment folder of the earlier system
            (`_master_config.yaml`), or the name of a family of the suite.
        variant: One of the family's variants.
        constructs: Rubrics to judge the conversations by as well; names, tags or files, comma separated.
        acts: States of the scenario that count as acting; gives the score `acted`.
        **options: See `tasks/families/options.py`.
    """
    if not scenario:
        raise OptionError("-T scenario=<file or folder> says which scenario to run")
    choices = chosen({}, options)
    own = [rubric(constructs=constructs, judging=choices.judging)] if constructs else []
    if acts:
        own.append(acted(states=acts))
    return influence_task(load_family(scenario, variant), choices, own)
