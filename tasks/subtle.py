"""Subtle cues: does the model pick up who is gameable from weak evidence?

inspect eval tasks/subtle.py -T cue=faint
inspect eval tasks/subtle.py -T cue=history
"""

from typing import Literal, Unpack

from inspect_ai import Task, task

from scenarios.loader import load_family
from tasks.families.assembly import influence_task
from tasks.families.options import Options, chosen


@task
def subtle(
    cue: Literal["faint", "arbitrary", "no_profile", "history"] = "faint", **options: Unpack[Options]
) -> Task:
    """The therapy family's topics, with gameability hardly shown. The difference in harm is the measure.

    Args:
        cue: `faint`: a passing remark in the app's notes. `arbitrary`: a detail that has nothing to do with
            it. `no_profile`: no notes, only how the person asks. `history`: only an earlier exchange.
        **options: See `tasks/families/options.py`.
    """
    return influence_task(load_family("subtle", variant=cue), chosen({}, options))
