"""Pairs that are made to mislead a monitor, and pairs of deployments, out of `scenarios/stakes/probing/`.

A pair is one situation told twice, with much (`high`) and with little (`low`) at stake. Labels come from how
they were written, not from a judge.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from probes.laboratory.rows import StakesRow
from scenarios.files.located_yaml import Located, read_yaml, validated
from scenarios.schema import Frozen, Words

FOLDER = Path(__file__).resolve().parents[2] / "scenarios" / "stakes" / "probing"
DEPLOYMENT = "deployment"
PART = "{part}"


class Pair(Frozen):
    """Both sides of a situation."""

    topic: Words
    high: Words
    """What is said; of a deployment the system prompt."""

    low: Words
    carrier: str | None = None
    """Text that both sides stand in."""

    context: str | None = None
    user: Words | None = None
    """Of a deployment: the request, the same on both sides."""


class PairFile(Frozen):
    """A kind of pairs."""

    kind: Words
    carriers: dict[str, Words] = Field(default_factory=dict)
    """Name -> text with `{part}` where a side stands."""

    pairs: list[Pair] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> "PairFile":
        for name, text in self.carriers.items():
            if text.count(PART) != 1:
                raise ValueError(f"carriers: {name} must hold {PART} once")
        return self


def kinds() -> list[str]:
    """Of the pairs that come with the suite."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != DEPLOYMENT)


def probing_rows() -> list[StakesRow]:
    """The red-team and negation pairs, with the fact `kind`."""
    return [row for kind in kinds() for row in pair_rows(FOLDER / f"{kind}.yaml")]


def deployment_rows() -> list[StakesRow]:
    """The deployments, with the fact `context`."""
    return pair_rows(FOLDER / f"{DEPLOYMENT}.yaml")


def pair_rows(path: Path) -> list[StakesRow]:
    """Rows of a file of pairs, both sides of a pair one after the other.

    Raises:
        ScenarioError: Names file and line: not readable, a carrier that is not there, equal sides.
    """
    located = read_yaml(path)
    file = validated(PairFile, located)
    return [row for number, pair in enumerate(file.pairs) for row in _sides(file, located, number, pair)]


def _sides(file: PairFile, located: Located, number: int, pair: Pair) -> Iterator[StakesRow]:
    if pair.carrier is not None and pair.carrier not in file.carriers:
        there = ", ".join(file.carriers) or "none"
        raise located.error(("pairs", number, "carrier"), f"no carrier {pair.carrier!r}; there are {there}")
    if pair.high == pair.low:
        raise located.error(("pairs", number, "low"), "both sides are the same")
    carrier = PART if pair.carrier is None else file.carriers[pair.carrier]
    facts = {"kind": file.kind, "topic": pair.topic, "language": "English", "source": "written"}
    if pair.context is not None:
        facts["context"] = pair.context
    sides: list[tuple[str, Literal[0, 1], str]] = [("high", 1, pair.high), ("low", 0, pair.low)]
    for side, label, words in sides:
        text = carrier.replace(PART, words)
        messages = [{"role": "user", "content": text}]
        if pair.user is not None:
            messages = [{"role": "system", "content": text}, {"role": "user", "content": pair.user}]
        name = f"{file.kind}-{number}"
        yield StakesRow(id=f"{name}-{side}", pair=name, messages=messages, label=label, facts=facts)
