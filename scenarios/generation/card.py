"""The card beside generated states: what is there, how each run went, what the set is like."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from scenarios.family import Family, Kind
from scenarios.files.located_yaml import ScenarioError
from scenarios.files.whole import write_text
from scenarios.generation.files import Written
from scenarios.samples import sample_of
from scenarios.schema import Split
from scenarios.set_card import SetFigures, figure_lines, set_figures


class PoolTally(BaseModel):
    """How one pool of a run went."""

    model_config = ConfigDict(extra="forbid")

    topic: str
    kind: Kind
    split: Split
    wanted: int
    passed: int = 0
    rejected: dict[str, int] = Field(default_factory=dict)
    """Candidates not taken, by reason."""

    examples: dict[str, str] = Field(default_factory=dict)
    """The first one's detail, by reason."""

    def line(self) -> str:
        """For the reader."""
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(self.rejected.items())) or "none"
        return f"{self.topic}, {self.kind}, {self.split}: {self.passed} of {self.wanted}; rejected: {reasons}"


class RunRecord(BaseModel):
    """One run of the generator."""

    model_config = ConfigDict(extra="forbid")

    family: str
    date: str
    model: str | None
    """None: composed from facets."""

    seed: int
    prompt_hash: str | None
    temperature: float | None
    per_call: int | None
    rounds: int
    calls: int
    similarity: float
    language: str | None
    starts: dict[str, int]
    """Number of the first new state, by pool."""

    pools: list[PoolTally]


def card_paths(out: Path) -> tuple[Path, Path]:
    """Where the card of `out` lies, for readers and for programs."""
    return out.with_name(f"{out.name}.card.md"), out.with_name(f"{out.name}.card.json")


def write_card(out: Path, family: Family, states: Sequence[Written], run: RunRecord) -> None:
    """Write the card of all `states` of `out`, with `run` after the earlier ones.

    Raises:
        ScenarioError: The card that is there cannot be read.
    """
    readable, data = card_paths(out)
    runs = [*(r for r in _runs(data) if (r.date, r.starts) != (run.date, run.starts)), run]
    counts = Counter((w.topic, "gameable" if w.state.gameable else "other", w.state.split) for w in states)
    figures = _figures(family, states)
    content = {
        "counts": [
            {"topic": t, "kind": k, "split": s, "states": n} for (t, k, s), n in sorted(counts.items())
        ],
        "figures": figures.model_dump(mode="json") if figures else None,
        "runs": [r.model_dump(mode="json") for r in runs],
    }
    write_text(data, json.dumps(content, indent=1) + "\n")
    lines = [f"# Initial states in {out.name}", "", *_count_lines(counts), "", "## What they are like", ""]
    lines += ["```", *(figure_lines("all", figures) if figures else ["no states"]), "```", ""]
    lines += [
        "Near-duplicates: Jaccard similarity of word triples of 0.5 or more. Give-away: how well a bag of",
        "words tells gameable users from the others on unseen states (0.5: not at all, 1: always; 95 %",
        "intervals).",
        "Not checked: whether a state describes a real person, and whether it fits its kind. Read some.",
        "",
        *(line for number, r in enumerate(runs, 1) for line in _run_lines(number, r)),
    ]
    write_text(readable, "\n".join(lines))


def _runs(path: Path) -> list[RunRecord]:
    if not path.exists():
        return []
    try:
        return [RunRecord.model_validate(run) for run in json.loads(path.read_text(encoding="utf-8"))["runs"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ScenarioError(f"{path}: is no card of this command ({error}); move it away") from None


def _figures(family: Family, states: Sequence[Written]) -> SetFigures | None:
    samples = [sample_of(family, family.topics[w.topic], w.state) for w in states if w.topic in family.topics]
    return set_figures(samples) if samples else None


def _count_lines(counts: Counter[tuple[str, str, Any]]) -> list[str]:
    rows = [f"| {topic} | {kind} | {split} | {n} |" for (topic, kind, split), n in sorted(counts.items())]
    return ["| topic | kind of user | split | states |", "|---|---|---|---|", *rows]


def _run_lines(number: int, run: RunRecord) -> list[str]:
    source = "composed from facets" if run.model is None else f"written by {run.model}"
    lines = [f"## Run {number}", "", f"{run.date}, family {run.family}, {source}, seed {run.seed}."]
    if run.model is not None:
        lines.append(
            f"Prompt {run.prompt_hash}, temperature {run.temperature:g}, {run.per_call} states per call, "
            f"{run.calls} calls in {run.rounds} rounds."
        )
    lines.append(f"Similarity limit {run.similarity:g}, language {run.language or 'not checked'}.")
    lines.append("")
    lines += [f"- {pool.line()}" for pool in run.pools]
    examples: dict[str, str] = {}
    for pool in run.pools:
        examples = pool.examples | examples
    lines += [f"- e.g. {reason}: `{detail}`" for reason, detail in sorted(examples.items())]
    return [*lines, ""]
