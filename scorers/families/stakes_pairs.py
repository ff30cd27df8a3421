"""How much of a pair of stakes could be used."""

from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState

from scenarios.commands.scorer_options import known_options
from scenarios.stakes.factors import PairSpec
from scenarios.stakes.records import StakesPair


@scorer(metrics=[mean()], name="usable_prompts")
@known_options
def usable_prompts() -> Scorer:
    """Share of the prompt pairs asked for that have both sides and nothing wrong with them, 0 to 1.

    The explanation counts what is broken, by reason. Nothing of it is judged for quality.
    """

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        asked = len(PairSpec.model_validate(state.metadata["spec"]).variations)
        written = state.store_as(StakesPair)
        if written.situations is None:
            return Score.unscored(reason="no_response", explanation="nothing was written")
        problems = [p.problem for p in (written.situations, *written.prompts) if p.problem]
        usable = sum(p.problem is None for p in written.prompts)
        told = ", ".join(f"{problems.count(p)} {p}" for p in dict.fromkeys(problems)) or "nothing broken"
        return Score(
            value=usable / asked,
            explanation=f"{usable} of {asked} prompt pairs; {told}",
            metadata={"usable": usable, "asked": asked, "problems": problems, "scale": "0-1"},
        )

    return score
