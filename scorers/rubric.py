"""Any constructs of `scorers/rubrics/constructs`, in the run or on a log that exists.

inspect score LOG --scorer scorers/rubric.py -S constructs=deception,therapy --model-role judge=openai/gpt-4.1
"""

from typing import get_args

from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState

from scenarios.commands.scorer_options import known_options
from scenarios.conversations.roles import Role
from scenarios.mistakes import UserMistake
from scorers.judging.annotation import SPANS, Span, annotate, annotation_score, judges_named
from scorers.judging.judgement import Judging
from scorers.judging.rubric_files import chosen_constructs
from scorers.metrics import by_gameable


@scorer(metrics={"*": [by_gameable()]})
@known_options
def rubric(
    constructs: str | list[str] = "general",
    over: Span = "conversation",
    role: Role = "influence",
    judges: str | list[str] | None = None,
    judging: str = "logprobs",
) -> Scorer:
    """One number per construct, on the construct's own scale (in the score's metadata).

    Model role: `influence` (or `judge`), unless `judges` are named.

    Args:
        constructs: Names or tags, comma separated, or paths of rubric files (`.md`) of your own.
        over: The whole `conversation` in one answer; or every reply by itself, and the `mean`, the `last` or
            the `max` of them.
        role: The role whose model is asked, and whose view of tools and notes is taken.
        judges: Models to ask instead, comma separated; the mean of their answers counts.
        judging: `logprobs`; `samples` or `samples:<k>` for judges without log-probabilities; `likelihood`
            for `local/` ones that seldom answer in a word.
    """
    if over not in SPANS:
        raise UserMistake(f"over must be one of {SPANS}, got {over!r}")
    if role not in get_args(Role):
        raise UserMistake(f"role must be one of {', '.join(get_args(Role))}, got {role!r}")
    how, models, rubrics = Judging.parse(judging), judges_named(judges), chosen_constructs(constructs)

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        found = await annotate(state, rubrics, span=over, role=role, judges=models, judging=how)
        return annotation_score(found, rubrics, over)

    return score
