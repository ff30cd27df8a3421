"""Rows said in another way, to see whether a monitor reads stakes or how they are told.

Restyled: other case, marks, register and phrases, by rules and a seed or by a model, of the same situation.
Masked: the words that a bag of words goes by, fitted on other rows, are replaced by one that says nothing.
Rows keep their id, pair, label and split, so that a monitor's results on both can be compared row by row.
"""

import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import Pipeline

from probes.conversations.labels import DataError
from probes.evaluation.controls import fit_lexical
from probes.laboratory.rows import StakesRow
from scenarios.files.located_yaml import read_yaml, validated
from scenarios.schema import Frozen, Words
from scenarios.stakes.factors import FOLDER

CHANGED = "changed"
"""Fact of a changed row: how it was changed."""

Held = Literal["train", "test"]


class RestylingRule(Frozen):
    """One style, by rule."""

    split: Held
    """`test`: held out of whatever is fitted on restyled rows."""

    case: Literal["lower", "upper", "asis"] = "asis"
    marks: Literal["drop", "shout", "asis"] = "asis"
    chance: float = Field(1.0, gt=0, le=1)
    before: list[Words] = Field(default_factory=list)
    after: list[Words] = Field(default_factory=list)
    phrases: dict[str, list[str]] = Field(default_factory=dict)


class Restyling(Frozen):
    """All styles, and the word that stands for a masked one."""

    mask: Words
    styles: dict[str, RestylingRule]

    def rule(self, style: str) -> RestylingRule:
        """The rule of a style.

        Raises:
            DataError: There is none of this name.
        """
        if style not in self.styles:
            raise DataError(f"--style {style}: there are {', '.join(self.styles)}")
        return self.styles[style]

    def of_split(self, split: Held) -> list[str]:
        """Names of the styles for training rows, or of those that are held out."""
        return [name for name, rule in self.styles.items() if rule.split == split]


class Mask(NamedTuple):
    """The words that tell most, in the order of what they tell."""

    words: list[str]
    weights: list[float]
    """Logits that one occurrence of each adds."""

    n_rows: int
    """That the bag of words was fitted on."""

    pipeline: Pipeline


@cache
def read_restyling(path: Path = FOLDER / "restyling.yaml") -> Restyling:
    """The styles of a file.

    Raises:
        ScenarioError: Names file, line and field.
    """
    return validated(Restyling, read_yaml(path))


def changed_row(row: StakesRow, how: str, say: Callable[[str, str], str]) -> StakesRow:
    """A row with each message said otherwise; calls of tools stay.

    Args:
        row: The row.
        how: Goes into its facts.
        say: Of role and words, the other words.
    """
    messages = [
        message | ({"content": say(message["role"], message["content"])} if message.get("content") else {})
        for message in row.messages
    ]
    facts = row.facts | {CHANGED: how} | ({"style": how} if "style" in row.facts else {})
    return row.model_copy(update={"messages": messages, "facts": facts})


def restyled_row(row: StakesRow, style: str, rule: RestylingRule, seed: int) -> StakesRow:
    """A row in a style, by rule. What is drawn depends on the seed, the style and the row's id alone."""
    digest = hashlib.sha256(f"{seed}\0{style}\0{row.id}".encode()).digest()
    draw = random.Random(int.from_bytes(digest[:8]))

    def say(role: str, words: str) -> str:
        said = _replaced(words, rule, draw)
        if role == "user":
            around = [draw.choice(part) if part else "" for part in (rule.before, rule.after)]
            said = " ".join(part for part in (around[0], said, around[1]) if part)
        return _cased(_marked(said, rule), rule)

    return changed_row(row, f"restyled-{style}", say)


def telling_words(rows: Sequence[StakesRow], count: int, seed: int) -> Mask:
    """The words that tell most in a bag of words: of the largest weights times how many rows have them.

    Args:
        rows: To fit on; those without a label are left out.
        count: How many words.
        seed: Of the folds that choose the regularisation.

    Raises:
        DataError: One class only, or too few pairs.
    """
    labels = np.array([np.nan if row.label is None else row.label for row in rows], dtype=np.float64)
    texts = [row.text for row in rows]
    try:
        fitted = fit_lexical(texts, labels, [row.pair for row in rows], seed=seed)
    except ValueError as error:
        raise DataError(f"the words that tell most are fitted on training rows: {error}") from error
    counter = next(step for _, step in fitted.pipeline.steps if isinstance(step, CountVectorizer))
    occurrences: Any = counter.transform(
        [text for text, y in zip(texts, labels, strict=True) if not np.isnan(y)]
    )
    shares = np.asarray((occurrences > 0).mean(axis=0)).ravel()
    weights = np.asarray(fitted.pipeline.steps[-1][1].coef_).ravel()
    telling = np.argsort(-np.abs(weights) * shares, kind="stable")[:count]
    names = counter.get_feature_names_out()
    return Mask(
        [str(names[i]) for i in telling], [float(weights[i]) for i in telling], fitted.n_rows, fitted.pipeline
    )


def masked_row(row: StakesRow, words: Sequence[str], mask: str) -> StakesRow:
    """A row in which each of the words is replaced, whatever its case."""
    pattern = _any_of(tuple(words))
    return changed_row(row, "masked", lambda _, said: pattern.sub(mask, said))


def words_changed(before: StakesRow, after: StakesRow) -> float:
    """Share of a row's words that are not in the changed row, 0 to 1."""
    old, new = before.text.split(), set(after.text.split())
    return sum(word not in new for word in old) / len(old) if old else 0.0


@cache
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)


def _replaced(words: str, rule: RestylingRule, draw: random.Random) -> str:
    if not rule.phrases:
        return words
    known: Mapping[str, list[str]] = {phrase.casefold(): others for phrase, others in rule.phrases.items()}

    def other(match: re.Match[str]) -> str:
        chosen = draw.choice(known[match[0].casefold()])
        if draw.random() >= rule.chance:
            return match[0]
        return chosen.capitalize() if match[0][0].isupper() and chosen else chosen

    said = _any_of(tuple(known)).sub(other, words)
    return re.sub(r"[ \t]{2,}", " ", said)


def _marked(words: str, rule: RestylingRule) -> str:
    if rule.marks == "drop":
        # points within numbers stay
        return re.sub(r"[,;:!?\"()]|\.(?!\d)", "", words)
    if rule.marks == "shout":
        return re.sub(r"[.;](?=\s|$)", "!", words)
    return words


def _cased(words: str, rule: RestylingRule) -> str:
    return {"lower": words.lower(), "upper": words.upper()}.get(rule.case, words)
