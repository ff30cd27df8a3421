"""Conversations with every token coloured by a monitor's score, as one HTML file that needs nothing else.

    python probes/token_page.py --monitor monitors/mean-layer4 --data activations/mt --out tokens.html
    python probes/token_page.py --monitor monitors/mean-layer4 --data activations/mt --ids 17 203

Without --ids those are taken that a reader learns most from: false alarms, misses, and the surest of the
others.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
from pydantic import BeforeValidator, Field

from probes.activations.whole_files import StoreError, write_whole
from probes.evaluation.evaluation_data import EvaluationSet, read_set
from probes.evaluation.pages.token_colours import (
    MarkedMessage,
    colour_names,
    marked_messages,
    page_environment,
    scale_of,
)
from probes.evaluation.pages.token_texts import read_tokenizer
from probes.evaluation.scored import Named, check_monitors, read_monitors
from probes.heads.base import NotFiniteError
from scenarios.commands.command_line import read_settings
from scenarios.commands.exits import exit_status
from scenarios.schema import Frozen

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATE = "token_page.html.jinja"
HEADINGS = {
    "false alarm": "False alarms: flagged, though the label says no",
    "missed": "Missed: not flagged, though the label says yes",
    "flagged": "Rightly flagged",
    "passed": "Rightly not flagged",
    "asked for": "Asked for",
}


class Picked(NamedTuple):
    """A conversation to show."""

    row: int
    why: str
    """One of `HEADINGS`."""


class Shown(NamedTuple):
    """A conversation on the page."""

    identity: str
    why: str
    label: float
    logit: float
    probability: float
    flagged: bool | None
    facts: dict[str, str]
    tokens: int
    cut: int
    messages: list[MarkedMessage]


class TokenPageSettings(Frozen):
    """All options of the page."""

    monitor: Path = Field(description="folder of a monitor")
    data: str = Field(description="captured data set, <store>/<name>, or <store>/<name>:fact=value")
    ids: Annotated[list[str], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)] = Field(
        [], description="conversations to show; chosen by their scores if none"
    )
    rows: int = Field(12, ge=1, description="how many, if they are chosen")
    tokenizer: Path | None = Field(
        None, description="folder with the model's tokenizer, if the model is not there"
    )
    out: Path = Field(Path("tokens.html"), description="HTML file")


def choose(labels: np.ndarray, logits: np.ndarray, threshold: float | None, count: int) -> list[Picked]:
    """The rows that a reader learns most from, in the order of `HEADINGS`.

    A quarter each: false alarms with the highest logits, misses with the lowest, and the surest of those
    that are right. What one kind lacks the others get. Without a threshold 0 divides.

    Args:
        labels: [rows], in 0..1; ambiguous ones are not chosen.
        logits: [rows].
        threshold: Logit.
        count: At most.
    """
    flagged = logits >= (0.0 if threshold is None else threshold)
    positive, negative = labels > 0.5, labels < 0.5
    kinds = {
        "false alarm": (negative & flagged, -1),
        "missed": (positive & ~flagged, 1),
        "flagged": (positive & flagged, -1),
        "passed": (negative & ~flagged, 1),
    }
    queues = {
        why: [int(i) for i in np.argsort(sign * logits, kind="stable") if rows[i]]
        for why, (rows, sign) in kinds.items()
    }
    found: list[Picked] = []
    while len(found) < count and any(queues.values()):
        for why, queue in queues.items():
            if queue and len(found) < count:
                found.append(Picked(queue.pop(0), why))
    return sorted(found, key=lambda one: list(HEADINGS).index(one.why))


def write_token_page(
    named: Named,
    data: EvaluationSet,
    picked: Sequence[Picked],
    tokenizer: "PreTrainedTokenizerBase",
    out: Path,
) -> Path:
    """Score the tokens of some conversations and write the page. Returns its path.

    Args:
        named: The monitor.
        data: Captured as the monitor demands.
        picked: Rows of the data set.
        tokenizer: That the conversations were captured with.
        out: HTML file, written whole or not at all.

    Raises:
        ValueError: Activations that are not finite, or ids that the tokenizer does not have.
        StoreError: The file cannot be written.
    """
    card = named.monitor.card
    activations = data.activations(card.layers).take([one.row for one in picked])
    try:
        table = named.monitor.score(activations, tokens=True)
    except NotFiniteError as error:
        raise ValueError(f"data set {data.name}, {data.rows[picked[error.row].row].id}: {error}") from error
    scores = table.token_logits or []
    scale = scale_of(scores, None if card.threshold is None else card.threshold.logit)
    conversations: dict[str, list[Shown]] = {}
    for place, one in enumerate(picked):
        row = data.rows[one.row]
        conversations.setdefault(one.why, []).append(
            Shown(
                row.id,
                one.why,
                float(data.labels[one.row]),
                float(table.logits[place]),
                float(table.probabilities[place]),
                None if table.flagged is None else bool(table.flagged[place]),
                row.facts,
                row.n_tokens,
                row.truncated,
                marked_messages(
                    tokenizer,
                    activations.token_ids(place),
                    activations.message(place),
                    activations.role(place),
                    scores[place],
                    scale,
                ),
            )
        )
    page = (
        page_environment(Path(__file__).parent)
        .get_template(TEMPLATE)
        .render(
            title=f"{named.name} on {data.name}",
            card=card,
            source=data.name,
            conversations=conversations,
            headings=HEADINGS,
            middle=scale.middle,
            full=scale.full,
            **colour_names(),
        )
    )
    write_whole(out, page)
    return out


def _picked(settings: TokenPageSettings, named: Named, data: EvaluationSet) -> list[Picked]:
    if settings.ids:
        places = {row.id: number for number, row in enumerate(data.rows)}
        if lacking := [one for one in settings.ids if one not in places]:
            raise ValueError(f"data set {data.name} has no labelled conversation {lacking[0]!r}")
        return [Picked(places[one], "asked for") for one in settings.ids]
    try:
        logits = named.monitor.score(data.activations(named.monitor.card.layers)).logits
    except NotFiniteError as error:
        raise ValueError(f"data set {data.name}, {data.rows[error.row].id}: {error}") from error
    threshold = named.monitor.card.threshold
    found = choose(data.labels, logits, threshold.logit if threshold else None, settings.rows)
    if not found:
        raise ValueError(f"data set {data.name}: all labels are ambiguous; name conversations with --ids")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(
        lambda: _write(read_settings(TokenPageSettings, arguments, __doc__ or "")),
        mistakes=(StoreError, ValueError),
    )


def _write(settings: TokenPageSettings) -> int:
    monitors = read_monitors([settings.monitor])
    if len(monitors) > 1:
        names = ", ".join(named.name for named in monitors)
        raise ValueError(f"--monitor: one at a time; {settings.monitor} holds {names}")
    data = read_set(settings.data)
    check_monitors(monitors, [data])
    tokenizer = read_tokenizer(data.spec, settings.tokenizer)
    picked = _picked(settings, monitors[0], data)
    print(write_token_page(monitors[0], data, picked, tokenizer, settings.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
