"""Reads conversations that the earlier system stored: JSON lines, one conversation each.

A line holds the last turn of a conversation with its whole transcript, what the judges said, and labels.
Every row is checked once before anything is made of it; what is wrong is named with file and line.
Columns: Williams et al. 2024, arXiv:2411.02306, and the stored files of its authors.
"""

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scenarios.earlier.influence_scale import NamedScale
from scenarios.earlier.names import identifier
from scenarios.files.located_yaml import ScenarioError
from scenarios.files.strict_json import check_texts
from scenarios.schema import Scale

UNKNOWN_MODEL = "none/unknown"
"""Inspect's provider of no model: `inspect score` accepts it, and nothing can be generated with it."""

LABELS: dict[str, Scale] = {
    **dict.fromkeys(("harm", "deception", "manipulation", "gaslighting"), "1-10"),
    **dict.fromkeys(("consequences", "dissuade", "not_going_to_judge", "encouragement"), "1-10"),
    **dict.fromkeys(("omission", "convincing_not_to_book", "implies_booking_succeeded"), "1-10"),
    **dict.fromkeys(("error_mentioning", "agreement", "inappropriateness"), "1-10"),
    **dict.fromkeys(("political_agreement", "political_inappropriateness"), "1-10"),
}
"""Columns that are labels, with their scale. Other columns go into the sample's metadata."""

LENGTH_PENALTY = "-1"
"""Key of the length penalty among the ratings' probabilities; it is in the stored rating already."""

SLACK = 1e-6
"""Sums of probabilities end a little beside 1."""

ONE_TO_TEN = {str(i) for i in range(1, 11)}

PICKLE = """\
{path}: this is a pickle, and loading a pickle runs whatever code is in it, so it is not read here.
Convert it where you trust the file:

    import pandas
    frame = pandas.read_pickle({name!r})
    for column in frame: frame[column] = [sorted(v) if isinstance(v, set) else v for v in frame[column]]
    frame.to_json({jsonl!r}, orient="records", lines=True, double_precision=15)"""

_PICKLED = re.compile(r"\.(pkl|pickle)(\.\w+)?$")

# -- a row of the file ----------------------------------------------------------------------------


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["environment", "agent", "tool_call", "tool_response", "environment_system"]
    content: str


class _Prompt(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system"]
    content: str


class RunRow(BaseModel):
    """One stored conversation. Columns that are not named here are in `model_extra`."""

    model_config = ConfigDict(extra="allow", strict=True)

    env_name: str = Field(min_length=1)
    initial_state_id: int
    trajectory_id: int
    iteration_number: int = Field(ge=0, le=9999)
    turn: int = Field(ge=1)
    """Replies that the agent's model generated; agent messages before them were written for it."""

    agent_system_prompt: list[_Prompt]
    history: list[_Said]
    preferences: dict[str, float]
    """Rating -> probability in the last turn."""

    influence_scores: dict[str, float]
    traj_rew: float | None
    traj_infl: float | None
    transition_probs: dict[str, float] = Field(default_factory=dict)
    visited_states: list[str] = Field(default_factory=list)
    all_visited_states: list[str] = Field(default_factory=list)
    """Neither list is in the order of the visits."""

    @property
    def replies(self) -> list[int]:
        """Places in `history` of what the agent's model generated."""
        return [i for i, said in enumerate(self.history) if said.role == "agent"][-self.turn :]

    @property
    def visited(self) -> set[str]:
        """States that the conversation was in, as far as they are stored."""
        return {*self.visited_states, *self.all_visited_states}

    @property
    def id(self) -> str:
        """Id of the sample, the same in every import."""
        return f"{identifier(self.env_name)}-{self.initial_state_id}-{self.trajectory_id}"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if unknown := sorted(set(self.preferences) - ONE_TO_TEN - {LENGTH_PENALTY}):
            raise ValueError(f"preferences: ratings are 1 to 10, got {unknown}")
        if unknown := sorted(set(self.influence_scores) - set("012345")):
            raise ValueError(f"influence_scores: answers are 0 to 5, got {unknown}")
        for name in ("preferences", "influence_scores", "transition_probs"):
            _check_shares(name, getattr(self, name))
        if len(self.replies) < self.turn:
            raise ValueError(f"history: {len(self.replies)} agent messages, but turn is {self.turn}")
        open_calls = 0
        for index, said in enumerate(self.history):
            open_calls += {"tool_call": 1, "tool_response": -1}.get(said.role, 0)
            if open_calls < 0:
                raise ValueError(f"history.{index}: tool_response without a tool_call before it")
            if said.role == "environment_system" and index < self.replies[0]:
                raise ValueError(f"history.{index}: environment_system before the agent's first reply")
        return self


def _check_shares(name: str, shares: Mapping[str, float]) -> None:
    for key, share in shares.items():
        if key == LENGTH_PENALTY and name == "preferences":
            if not math.isfinite(share):
                raise ValueError(f"{name}.{key}: the length penalty is {share}")
        elif not 0 <= share <= 1 + SLACK:  # NaN neither
            raise ValueError(f"{name}.{key}: {share} is no probability")
    total = math.fsum(share for key, share in shares.items() if key != LENGTH_PENALTY)
    if total > 1 + SLACK:
        raise ValueError(f"{name}: probabilities that add up to {total:g}, more than 1")


def _parsed(path: Path, number: int, line: bytes) -> RunRow:
    where = f"{path}:{number}"
    try:
        value = json.loads(line, object_pairs_hook=without_repeats)
        check_texts(value)  # a number that is none is unscored, but half a character cannot be written
        return RunRow.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field_name = ".".join(map(str, first["loc"]))
        message = "missing column" if first["type"] == "missing" else first["msg"]
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        text = message.removeprefix("Value error, ") + more
        raise ScenarioError(f"{where}: {field_name}: {text}" if field_name else f"{where}: {text}") from None
    except json.JSONDecodeError as error:
        raise ScenarioError(f"{where}: not valid JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise ScenarioError(f"{where}: lists and objects too deep in one another") from None
    except ValueError as error:  # a repeated key, bytes that are no text, a number too long
        raise ScenarioError(f"{where}: {error}") from None


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The JSON object of these pairs.

    Raises:
        ValueError: A key is there twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [k for k, _ in pairs]
        raise ValueError(f"{next(k for k in keys if keys.count(k) > 1)}: this key is here twice")
    return found


# -- the file -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImportOptions:
    """How a file is read."""

    name: str
    """Name of the task and of the family."""

    model: str = UNKNOWN_MODEL
    """Who was the agent, for the record. A name that Inspect can load is loaded by `inspect score`."""

    influence_scale: Scale | None = None
    """Needed where the keys do not tell: 0 to 5 stood under questions on 0-1 and on 1-5 alike."""

    influence_scale_in: Sequence[tuple[int, int, Scale]] = ()
    """(first iteration, last iteration, scale): of some iterations; before `influence_scale`."""

    labels: Mapping[str, Scale] = field(default_factory=lambda: LABELS)
    skip_bad: bool = False


@dataclass
class Runs:
    """A checked file: where the rows of each iteration begin. Holds no row."""

    path: Path
    sha256: str = ""
    places: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Iteration -> byte offset and line number of its rows, in the file's order."""

    influence_scales: dict[int, Scale] = field(default_factory=dict)
    """Iteration -> scale that influence was judged on."""

    labels: dict[str, Scale] = field(default_factory=dict)
    kept_columns: list[str] = field(default_factory=list)
    """Columns that are neither known nor labels; they go into the metadata."""

    refused: list[str] = field(default_factory=list)
    """What was wrong with the rows left out."""

    def rows(self, iteration: int) -> Iterator[RunRow]:
        """Read the rows of one iteration."""
        with self.path.open("rb") as file:
            for offset, number in self.places[iteration]:
                file.seek(offset)
                yield _parsed(self.path, number, file.readline())


def check_runs(path: Path, options: ImportOptions, progress: Callable[[int], None] | None = None) -> Runs:
    """Read and check every row once.

    Args:
        path: JSON lines.
        options: How to read them.
        progress: Is told how many bytes have been read.

    Raises:
        ScenarioError: A pickle, or the first thing that is wrong, with file and line; with `skip_bad`
            rows that are wrong are left out and listed in `refused`.
    """
    runs, digest, seen = Runs(path), hashlib.sha256(), dict[tuple[int, str], int]()
    named = NamedScale(options.influence_scale, options.influence_scale_in)
    columns: dict[str, None] = {}
    for number, offset, line in _lines(path):
        digest.update(line)
        if progress is not None:
            progress(offset + len(line))
        if not line.strip():
            continue
        try:
            row = _parsed(path, number, line)
            _admit(runs, row, number, options, named, seen)
        except ScenarioError as error:
            if not options.skip_bad:
                raise
            runs.refused.append(str(error))
            continue
        named.count(row.influence_scores, row.iteration_number)
        runs.places[row.iteration_number].append((offset, number))
        columns |= dict.fromkeys(row.model_extra or {})
    if not runs.places:
        raise ScenarioError(f"{path}: no rows to import ({len(runs.refused)} refused)")
    named.check(path)
    runs.sha256 = digest.hexdigest()
    runs.labels = {c: options.labels[c] for c in columns if c in options.labels}
    runs.kept_columns = [c for c in columns if c not in options.labels]
    return runs


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Number from 1, byte offset and bytes of every line."""
    try:
        with path.open("rb") as file:
            if file.peek(1)[:1] == b"\x80" or _PICKLED.search(path.name):
                jsonl = f"{path.name.partition('.')[0]}.jsonl"
                raise ScenarioError(PICKLE.format(path=path, name=path.name, jsonl=jsonl))
            offset = 0
            for number, line in enumerate(file, start=1):
                yield number, offset, line
                offset += len(line)
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error}") from None


def _admit(
    runs: Runs,
    row: RunRow,
    number: int,
    options: ImportOptions,
    named: NamedScale,
    seen: dict[tuple[int, str], int],
) -> None:
    """Check what a row's own schema cannot see."""
    where = f"{runs.path}:{number}"
    for name in options.labels:
        value = (row.model_extra or {}).get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ScenarioError(f"{where}: {name}: a label must be a number, got {value!r:.40}")
    scale = named.scale_of(row.influence_scores, row.iteration_number, where)
    known = runs.influence_scales.setdefault(row.iteration_number, scale)
    if scale != known:
        raise ScenarioError(
            f"{where}: influence_scores: on {scale}, but on {known} before in this iteration, "
            f"{row.iteration_number}"
        )
    before = seen.setdefault((row.iteration_number, row.id), number)
    if before != number:
        raise ScenarioError(
            f"{where}: env_name, initial_state_id, trajectory_id and iteration_number as on line {before}"
        )
