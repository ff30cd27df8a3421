"""What writing a pair leaves in the log: made by the solver, read by the scorer and the corpus."""

from typing import Literal

from inspect_ai.util import StoreModel
from pydantic import BaseModel, Field

from scenarios.stakes.factors import Variation

Problem = Literal[
    "refusal", "no answer", "unreadable", "one-sided", "both sides are equal", "gives the label away"
]
"""Why a pair is broken.

`refusal`: the model declined or its provider held the words back. `no answer`: nothing came. `unreadable`: no
JSON object with the two sides, or one that was cut. `one-sided`: one of the two is missing or empty. `both
sides are equal`, `gives the label away`: as they say.
"""


class Sides(BaseModel):
    """Two texts, or why there are not two."""

    high: str = ""
    low: str = ""
    problem: Problem | None = None


class PromptPair(Sides):
    """A situation told both ways, in one variation."""

    variation: Variation


class StakesPair(StoreModel):
    """All that was written for one pair."""

    situations: Sides | None = None
    prompts: list[PromptPair] = Field(default_factory=list)
    metadata: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Side (`high`, `low`) -> property -> value, of those that were answered as asked."""

    metadata_problems: int = 0
    """Values that were not answered, or not with one of those listed."""
