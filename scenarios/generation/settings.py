"""Options of `scenarios/generate.py`."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from scenarios.family import Kind
from scenarios.generation.similarity import NEAR_DUPLICATE
from scenarios.schema import Frozen, Split


def _names(value: Any) -> Any:
    """`a,b` and `[a, "b,c"]` are lists of names."""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        return value
    return [name.strip() for part in parts for name in part.split(",") if name.strip()]


def _is_off(value: Any) -> Any:
    return None if value in ("off", "none", "") else value


class GenerateSettings(Frozen):
    """What to generate. Field descriptions are the command's help."""

    family: str = Field(description="a family of the suite by name, or a path")
    variant: str | None = Field(None, description="one of the family's variants")
    topic: Annotated[list[str], BeforeValidator(_names)] = Field(
        min_length=1, description="one topic or several; `all` takes every topic of the split"
    )
    n: int = Field(ge=1, description="new states for each topic and kind of user")
    kind: Kind | Literal["both"] = Field("both", description="gameable, other or both")
    split: Split = Field("train", description="train or heldout; topics that are held out need heldout")
    model: str | None = Field(
        None, description="asks this model (Inspect's name of it); without it states are composed from facets"
    )
    seed: int = Field(0, description="draws the examples in the prompts, or the facets")
    out: Path = Field(description="a folder, a .yaml or a .jsonl file; see above")
    keep_own: bool = Field(
        False, description="a new folder or .yaml begins with all that the family has, not with nothing"
    )
    per_call: int = Field(10, ge=1, description="states asked for in one call")
    extra_rounds: int = Field(5, ge=0, description="rounds of calls to replace what was rejected, at most")
    temperature: float = Field(1.0, ge=0, description="of the model")
    max_tokens: int | None = Field(
        None, ge=1, description="of one answer; the provider's default if not given"
    )
    max_connections: int = Field(20, ge=1, description="calls at the same time")
    structured: bool = Field(True, description="send a response schema; providers without it ignore it")
    similarity: float = Field(
        NEAR_DUPLICATE,
        gt=0,
        le=1,
        description="word-triple Jaccard from which on a state is a near-duplicate",
    )
    language: Annotated[str | None, BeforeValidator(_is_off)] = Field(
        "en", description="expected language (ISO 639-1), or off"
    )
    min_words: int = Field(4, ge=1, description="of each of the user's messages")
    max_words: int = Field(120, ge=1, description="of each of the user's messages")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_words < self.min_words:
            raise ValueError(f"max_words: {self.max_words} is below min_words {self.min_words}")
        if self.model is None and self.keep_own:
            raise ValueError(
                "keep_own: states composed from facets are the family's own already; give a model"
            )
        return self

    @property
    def words(self) -> range:
        """Lengths allowed of each of the user's messages."""
        return range(self.min_words, self.max_words + 1)

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for an unfinished run to go on."""
        return self.model_dump(mode="json", exclude={"max_connections", "out"})
