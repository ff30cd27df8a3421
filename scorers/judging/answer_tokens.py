"""The tokens of an answer as text, put back where providers leave some out or name others."""

import codecs
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from inspect_ai.model import Logprob, TopLogprob

from scorers.judging.answers import after_thought

_SPACES = {"Ġ": " ", "▁": " ", "Ċ": "\n", "ĉ": "\t"}
_SPECIAL = re.compile(r"(?:\s|<\|?[^<>|\n]{0,40}\|?>|<｜[^<>｜\n]{0,40}｜>)*\Z")
_MANY_DIGITS = re.compile(r"\s*\d{2,}\s*")


class Step(NamedTuple):
    """One token of the path."""

    piece: str
    """Its text."""

    probability: float
    others: dict[str, float]
    """Text of each alternative -> probability."""


def answer_tokens(tokens: Sequence[Logprob], text: str | None = None) -> tuple[list[Logprob], bool]:
    """The tokens that make up what was said, and whether a thought before them was left out.

    Servers count the tokens of a thought among the others. Inspect's hf provider names the likeliest token in
    place of the chosen one, which is then found among the alternatives. Its google provider leaves out tokens
    whose log-probability is exactly 0; what is said and has no token is put back with probability 1.
    """
    pieces = _pieces(tokens)
    written = "".join(pieces)
    if text is not None:
        said = text[after_thought(text) :].strip()
        at = written.rfind(said)
        if said and at >= 0 and _SPECIAL.match(written, at + len(said)):
            return _from(tokens, pieces, at), bool(written[:at].strip())
        if said and (found := _chosen(tokens, said) or _with_certain(tokens, pieces, said)) is not None:
            return found, False
    at = after_thought(written)
    return _from(tokens, pieces, at), at > 0


def _from(tokens: Sequence[Logprob], pieces: Sequence[str], character: int) -> list[Logprob]:
    """The tokens from that on which holds a character, or its first bytes."""
    first = place_of(pieces, character)
    while first and not pieces[first - 1]:
        first -= 1
    return list(tokens[first:])


def _chosen(tokens: Sequence[Logprob], said: str) -> list[Logprob] | None:
    """The tokens with the chosen one in place of the likeliest; None if what was said is not among them."""
    chosen: list[Logprob] = []
    at = 0
    for token in tokens:
        top = token.top_logprobs or []
        spelled = [(_decoded(_encoded(t))[0], t) for t in (token, *top)]
        if at >= len(said):
            chosen.append(token)
            continue
        fitting = [(p if at else p.lstrip(), t) for p, t in spelled]
        fitting = [(p, t) for p, t in fitting if p and said.startswith(p, at)]
        if not fitting:
            if not _SPECIAL.match(spelled[0][0]):
                return None
            chosen.append(token)
            continue
        piece, own = max(fitting, key=lambda f: len(f[0]))
        chosen.append(Logprob(token=own.token, logprob=own.logprob, bytes=own.bytes, top_logprobs=top))
        at += len(piece)
    return chosen if at >= len(said) else None


def _with_certain(tokens: Sequence[Logprob], pieces: Sequence[str], said: str) -> list[Logprob] | None:
    """The tokens with certain ones where what was said is left out; None if they are tokens of another
    text."""
    filled: list[Logprob] = []
    at = 0
    for token, piece in zip(tokens, pieces, strict=True):
        words = piece.strip()
        if _SPECIAL.match(words):  # nothing said
            filled.append(token)
            continue
        place = said.find(words, at)
        if place < 0:
            return None
        if said[at:place].strip():
            filled.append(_certain(said[at:place]))
        filled.append(token)
        at = place + len(words)
    if said[at:].strip():
        filled.append(_certain(said[at:]))
    return filled


def _certain(text: str) -> Logprob:
    return Logprob(token=text, logprob=0.0, top_logprobs=[TopLogprob(token=text, logprob=0.0)])


def _pieces(tokens: Sequence[Logprob]) -> list[str]:
    pieces: list[str] = []
    pending = b""
    for token in tokens:
        piece, pending = _decoded(pending + _encoded(token))
        pieces.append(piece)
    return pieces


def steps_of(tokens: Sequence[Logprob]) -> list[Step]:
    """Tokens and alternatives as text; a character in several tokens belongs to the one that completes it."""
    steps: list[Step] = []
    pending = b""
    for token in tokens:
        others: dict[str, float] = defaultdict(float)
        own = _encoded(token)
        probability = math.exp(min(0.0, token.logprob))
        for other in token.top_logprobs or []:
            if _encoded(other) == own:
                probability = math.exp(min(0.0, other.logprob))
            else:
                others[_decoded(pending + _encoded(other))[0]] += math.exp(min(0.0, other.logprob))
        piece, pending = _decoded(pending + own)
        steps.append(Step(piece, probability, dict(others)))
    return steps


def _encoded(token: Logprob | TopLogprob) -> bytes:
    if token.bytes and max(token.bytes) < 256:  # some providers give code points
        return bytes(token.bytes)
    if token.token.isascii() and "<" not in token.token:
        return token.token.encode()
    if byte := re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", token.token):
        return bytes.fromhex(byte[1])
    bare = token.token.lstrip("".join(_SPACES))
    lead = token.token[: len(token.token) - len(bare)]
    return ("".join(_SPACES[c] for c in lead) + bare).encode("utf-8", "replace")


def _decoded(data: bytes) -> tuple[str, bytes]:
    """The text of the bytes, and those that begin a character without completing it."""
    if data.isascii():
        return data.decode(), b""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    return text, decoder.getstate()[0]


def joins_digits(tokens: Sequence[Logprob]) -> bool:
    """Whether the tokenizer is seen to write several digits in one token."""
    spelled = (a.token for t in tokens for a in (t, *(t.top_logprobs or [])) if len(a.token) > 1)
    return any(_MANY_DIGITS.fullmatch(piece.lstrip("".join(_SPACES))) for piece in spelled)


def place_of(pieces: Sequence[str], character: int) -> int:
    """Number of the piece that holds a character of the text that the pieces make."""
    end = 0
    for number, piece in enumerate(pieces):
        end += len(piece)
        if end > character:
            return number
    return len(pieces)
