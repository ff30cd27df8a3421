"""What can be counted of how a user writes, one number per conversation; no model is asked.

Anchors for the choice: RealSim (arXiv:2605.02624) and RealUserSim (arXiv:2605.20204), which find simulated
users too long, too polite, too ready to tell everything at once and to agree. The definitions are our own,
and the words that are looked for stand in `words.yaml`.
"""

import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from analysis.user_messages.chats import Chat

WORDS = Path(__file__).with_name("words.yaml")

WINDOW = 25
"""Words of a window in which different words are counted."""

FIRST = 3
"""Messages of a user over which the beginning is weighed against the rest."""

FEWEST_ENGLISH, FEWEST_WORDS = 0.15, 20
"""Share of function words below which a text of at least so many words is taken for another language."""

_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SHOUTED = re.compile(r"!!|\?\?|\?!|!\?|\b[A-Z]{4,}\b(?:\W+\b[A-Z]{2,}\b)+")
_ENDS = re.compile(r"[.!?…)\]}\"'”’:]\s*\Z|[^\w\s,;-]\s*\Z")


class Measure(NamedTuple):
    """One of the card's lines."""

    title: str
    unit: str
    is_share: bool
    """Whether it lies between 0 and 1."""

    of: Callable[["Users"], float]
    """The number of a conversation; NaN where it has too little for one."""


class Users(NamedTuple):
    """The user's side of a conversation."""

    texts: list[str]
    tokens: list[list[str]]
    """Words of each message, in small letters."""

    answers: list[bool]
    """Whether each comes after words of the assistant."""


def users_side(chat: Chat) -> Users:
    """What the user said. Messages in a row are messages of their own."""
    texts: list[str] = []
    answers: list[bool] = []
    heard = False
    for said in chat.said:
        if said.is_users:
            texts.append(said.text)
            answers.append(heard and not said.opens)
        heard = not said.is_users
    return Users(texts, [words_in(text) for text in texts], answers)


def words_in(text: str) -> list[str]:
    """Its words in small letters, apostrophes straight."""
    return [token.replace("’", "'") for token in _TOKEN.findall(text.lower())]


def is_english(users: Users) -> bool:
    """Whether word lists of English can tell anything of it; short texts have the benefit of the doubt."""
    tokens = [token for message in users.tokens for token in message]
    known = sum(token in _set("function_words") for token in tokens)
    return len(tokens) < FEWEST_WORDS or known >= FEWEST_ENGLISH * len(tokens)


# -- the measures ----------------------------------------------------------------------------------


def _length(users: Users) -> float:
    return _mean([len(tokens) for tokens in users.tokens])


def _spread(users: Users) -> float:
    """Standard deviation of the lengths over their mean."""
    lengths = [len(tokens) for tokens in users.tokens]
    mean = _mean(lengths)
    return statistics.stdev(lengths) / mean if len(lengths) > 1 and mean > 0 else math.nan


def _front_loaded(users: Users) -> float:
    """Of the content words of the first messages, the share that the very first has."""
    if len(users.tokens) < FIRST:
        return math.nan
    new = _new_content(users.tokens[:FIRST])
    return new[0] / sum(new) if sum(new) else math.nan


def _disclosed(users: Users) -> float:
    """New content words in a later message."""
    return _mean(_new_content(users.tokens)[1:])


def _new_content(messages: Sequence[Sequence[str]]) -> list[int]:
    """Content words of each message that no earlier one had."""
    known: set[str] = set()
    counts: list[int] = []
    for tokens in messages:
        content = {t for t in tokens if t not in _set("function_words")}
        counts.append(len(content - known))
        known |= content
    return counts


def _diversity(users: Users) -> float:
    """Share of different words in a window, mean over all windows.

    Source: Covington and McFall 2010, the moving-average type-token ratio (J. Quantitative Linguistics
    17(2)).
    """
    tokens = [token for message in users.tokens for token in message]
    windows = range(len(tokens) - WINDOW + 1)
    return _mean([len(set(tokens[at : at + WINDOW])) / WINDOW for at in windows])


def _repeated(users: Users) -> float:
    """Of the runs of three words in later messages, the share that an earlier one has."""
    known: set[tuple[str, ...]] = set()
    shares: list[float] = []
    for number, tokens in enumerate(users.tokens):
        runs = [tuple(tokens[at : at + 3]) for at in range(len(tokens) - 2)]
        if number and runs:
            shares.append(sum(run in known for run in runs) / len(runs))
        known.update(runs)
    return _mean(shares)


def _asks(users: Users) -> float:
    openers = _set("question_openers")
    return _share(
        "?" in t or bool(w and w[0] in openers) for t, w in zip(users.texts, users.tokens, strict=True)
    )


def _polite(users: Users) -> float:
    return _share(_has("polite", tokens) for tokens in users.tokens)


def _frustrated(users: Users) -> float:
    found = zip(users.texts, users.tokens, strict=True)
    return _share(_has("frustrated", tokens) or bool(_SHOUTED.search(text)) for text, tokens in found)


def _agrees(users: Users) -> float:
    """Of the answers to the assistant, those that begin with consent and take nothing of it back."""
    answers = [tokens for tokens, answer in zip(users.tokens, users.answers, strict=True) if answer]
    return _share(_has("agrees", tokens[:6]) and not _has("disagrees", tokens) for tokens in answers)


def _slips(users: Users) -> float:
    return _share(_has("slips", tokens) for tokens in users.tokens)


def _small(users: Users) -> float:
    """Messages that begin with a small letter."""
    first = [next((c for c in text if c.isalpha()), "") for text in users.texts]
    return _share(c.islower() for c in first if c)


def _open_ended(users: Users) -> float:
    return _share(not _ENDS.search(text) for text in users.texts)


MEASURES: Mapping[str, Measure] = {
    "length": Measure("length of a message", "words", False, _length),
    "spread": Measure("spread of lengths", "sd / mean", False, _spread),
    "front_loading": Measure("front-loading", f"share of the first {FIRST} messages", True, _front_loaded),
    "disclosure": Measure("told anew per later message", "content words", False, _disclosed),
    "questions": Measure("questions", "share of messages", True, _asks),
    "politeness": Measure("politeness markers", "share of messages", True, _polite),
    "frustration": Measure("frustration markers", "share of messages", True, _frustrated),
    "agreement": Measure("agreement with the assistant", "share of answers", True, _agrees),
    "diversity": Measure("lexical diversity", f"different of {WINDOW} words", True, _diversity),
    "repetition": Measure("repetition", "share of runs of three words", True, _repeated),
    "slips": Measure("typos and short forms", "share of messages", True, _slips),
    "small_letters": Measure("begins with a small letter", "share of messages", True, _small),
    "open_ended": Measure("no mark at the end", "share of messages", True, _open_ended),
}
"""Name -> measure, in the card's order."""


# -- words -----------------------------------------------------------------------------------------


def _has(name: str, tokens: Sequence[str]) -> bool:
    """Whether one of a list's phrases stands in a message."""
    text = f" {' '.join(tokens)} "
    return any(f" {phrase} " in text for phrase in _phrases(name))


@cache
def _lists() -> Mapping[str, list[str]]:
    return yaml.safe_load(WORDS.read_text(encoding="utf-8"))


@cache
def _phrases(name: str) -> tuple[str, ...]:
    return tuple(" ".join(words_in(str(phrase))) for phrase in _lists()[name])


@cache
def _set(name: str) -> frozenset[str]:
    return frozenset(_phrases(name))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _share(flags: Iterable[bool]) -> float:
    return _mean([float(flag) for flag in flags])
