"""Tokens of a conversation as pieces of text with a colour each: what pages of tokens are made of.

The colours themselves are in `token_colours.css.jinja`, which such pages include.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from probes.evaluation.pages.token_texts import token_groups
from probes.tokens.roles import ROLES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STEPS = 6
"""Shades on either side of the middle."""

FULL = 0.98
"""Quantile of the distances from the middle, over the page's tokens, from which a colour is full."""


class Scale(NamedTuple):
    """Which scores have which colour."""

    middle: float
    """Without colour: the threshold, or 0."""

    full: float
    """Distance from it at which a colour is full."""


class Piece(NamedTuple):
    """Some text with one colour."""

    text: str
    step: int
    """From -`STEPS` to `STEPS`."""

    title: str
    """Shown when the reader points at it."""


class MarkedMessage(NamedTuple):
    """Kept tokens of one message, or of what stands between messages."""

    role: str
    number: int
    """-1: of no message."""

    pieces: list[Piece]
    mean: float
    """Logit, over its tokens."""


def scale_of(scores: Sequence[np.ndarray], threshold: float | None) -> Scale:
    """Of the tokens of a page.

    Args:
        scores: For each conversation [tokens], logits.
        threshold: Logit; None: 0 is in the middle.
    """
    middle = 0.0 if threshold is None else threshold
    distances = np.abs(np.concatenate(scores) - middle) if len(scores) else np.zeros(1)
    return Scale(middle, max(float(np.quantile(distances, FULL)), 1e-6))


def marked_messages(
    tokenizer: "PreTrainedTokenizerBase",
    token_ids: np.ndarray,
    message: np.ndarray,
    role: np.ndarray,
    scores: np.ndarray,
    scale: Scale,
) -> list[MarkedMessage]:
    """Runs of tokens of the same message, in order.

    Args:
        tokenizer: That the conversation was captured with.
        token_ids: [tokens].
        message: [tokens], number of the message that each belongs to; -1 of none.
        role: [tokens], numbers of `ROLES`.
        scores: [tokens], logits.
        scale: Of the page.

    Raises:
        TokenizerError: Ids that the tokenizer does not have.
    """
    found: list[MarkedMessage] = []
    start = 0
    for text, count in token_groups(tokenizer, token_ids, message):
        of, end = int(message[start]), start + count
        if not found or found[-1].number != of:
            inside = _run(message, start)
            found.append(MarkedMessage(ROLES[role[start]], of, [], float(scores[start:inside].mean())))
        strongest = start + int(np.abs(scores[start:end] - scale.middle).argmax())
        score = float(scores[strongest])
        step = round(max(-1.0, min(1.0, (score - scale.middle) / scale.full)) * STEPS)
        found[-1].pieces.append(Piece(text, step, f"{score:+.2f}"))
        start = end
    return found


def page_environment(*folders: Path) -> Environment:
    """Templates of pages of tokens: everything that is put into them is escaped.

    Args:
        folders: Of the templates; that of the colours comes with them.
    """
    return Environment(
        loader=FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def colour_names() -> dict[str, Any]:
    """What `token_colours.css.jinja` needs."""
    return {"steps": list(range(-STEPS, STEPS + 1)), "most": STEPS}


def _run(message: np.ndarray, start: int) -> int:
    """Where the run of tokens of the same message ends."""
    other = np.flatnonzero(message[start:] != message[start])
    return start + int(other[0]) if len(other) else len(message)
