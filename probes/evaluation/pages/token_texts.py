"""The words that stored token ids stand for, token by token."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from probes.activations.capture_spec import CaptureSpec
from probes.activations.mapped import Activations

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
LONGEST = 8
"""Tokens that may make up one character before they are shown as they are."""


class TokenizerError(ValueError):
    """Token ids that cannot be read. Says of which model."""


def read_tokenizer(spec: CaptureSpec, folder: Path | None = None) -> "PreTrainedTokenizerBase":
    """The tokenizer that the conversations were captured with.

    Args:
        spec: What was captured.
        folder: Where the tokenizer lies now; the model of the spec if not given.

    Raises:
        TokenizerError: It cannot be found, or it is not one.
    """
    from transformers import AutoTokenizer

    name = spec.model if folder is None else str(folder)
    if Path(name).is_dir():
        revision = None
    elif folder is not None or Path(name).is_absolute():
        raise TokenizerError(_lacking(name, "there is no such folder"))
    else:
        revision = spec.revision
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        raise TokenizerError(_lacking(name, str(error).splitlines()[0])) from error


def conversation_texts(tokenizer: "PreTrainedTokenizerBase", activations: Activations) -> list[str]:
    """What a monitor gets to read of each row: the kept tokens as text, without special tokens.

    Raises:
        TokenizerError: Ids that the tokenizer does not have.
    """
    rows = [activations.token_ids(row) for row in range(len(activations))]
    for ids in rows:
        _check(tokenizer, ids)
    return [str(tokenizer.decode(ids.tolist(), skip_special_tokens=True)) for ids in rows]


def token_groups(
    tokenizer: "PreTrainedTokenizerBase", token_ids: np.ndarray, message: np.ndarray
) -> list[tuple[str, int]]:
    """The text of a row in pieces, each with the number of tokens that it is made of.

    Mostly that is one. Tokens that only together make up a character are one piece. A token is read after
    the one before it in the same message: many tokenizers drop the space of a token that stands alone.

    Args:
        tokenizer: Of the model.
        token_ids: [tokens].
        message: [tokens]: number of the message that each belongs to.

    Raises:
        TokenizerError: Ids that the tokenizer does not have.
    """
    _check(tokenizer, token_ids)
    pieces: list[tuple[str, int]] = []
    before: list[int] = []
    pending: list[int] = []
    for place, number in enumerate(token_ids.tolist()):
        if place and message[place] != message[place - 1]:
            before = []
        pending.append(number)
        text = _after(tokenizer, before, pending)
        ends = place + 1 == len(token_ids) or message[place + 1] != message[place]
        if text.endswith(UNFINISHED) and len(pending) < LONGEST and not ends:
            continue
        pieces.append((text, len(pending)))
        before, pending = pending, []
    return pieces


def _after(tokenizer: "PreTrainedTokenizerBase", before: Sequence[int], ids: Sequence[int]) -> str:
    first, both = _decoded(tokenizer, before), _decoded(tokenizer, [*before, *ids])
    return both[len(first) :] if both.startswith(first) else _decoded(tokenizer, ids)


def _decoded(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> str:
    return cast(str, cast(Any, tokenizer).decode(list(ids), clean_up_tokenization_spaces=False))


def _check(tokenizer: "PreTrainedTokenizerBase", ids: np.ndarray) -> None:
    if int(ids.max()) >= len(tokenizer) or int(ids.min()) < 0:
        raise TokenizerError(
            f"token {int(ids.max())} is not in the tokenizer of {tokenizer.name_or_path}, which has "
            f"{len(tokenizer)}: it is not the one that the conversations were captured with"
        )


def _lacking(name: str, why: str) -> str:
    return (
        f"no tokenizer for {name}: {why}. Say where it lies with --tokenizer FOLDER, or leave out what "
        "needs words"
    )
