"""What pairs of stakes are drawn from, and the draw: the same seed always gives the same pairs and splits."""

import hashlib
import random
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from scenarios.files.located_yaml import read_front_matter, read_yaml, validated
from scenarios.mistakes import UserMistake
from scenarios.schema import Frozen, Words

FOLDER = Path(__file__).parent

StakesSplit = Literal["train", "dev", "test"]

Several = Annotated[list[Words], Field(min_length=1)]


class Style(Frozen):
    """A kind of text."""

    text: Words
    heldout: bool = False
    """Only pairs of the test split are written in it."""


class Property(Frozen):
    """A question about a situation, with the answers that it has."""

    question: Words
    values: Several


class Factors(Frozen):
    """Everything that is drawn from; name -> description where there is one."""

    topics: Several
    roles: Several
    impacts: Several
    styles: dict[str, Style] = Field(min_length=1)
    tones: dict[str, Words] = Field(min_length=1)
    languages: dict[str, Annotated[float, Field(gt=0)]] = Field(min_length=1)
    """Weights of the draw."""

    lengths: dict[str, Words] = Field(min_length=1)
    metadata: dict[str, Property] = Field(default_factory=dict)
    never: list[Words] = Field(default_factory=list)


class Variation(Frozen):
    """How one prompt pair is written."""

    style: str
    tone: str
    language: str
    length: str


class PairSpec(Frozen):
    """One pair of situations and the ways in which it is told."""

    pair: str
    """10 hexadecimal digits of the SHA-256 of topic, role and impact."""

    topic: str
    role: str
    impact: str
    split: StakesSplit
    variations: list[Variation]


class Shares(NamedTuple):
    """Of pairs, by split; what is left is for training."""

    dev: float
    test: float


class StakesPrompt(Frozen):
    """A prompt of this folder."""

    ask: Words
    """A template; the user's message."""

    system: Words
    """A template where the file has placeholders."""


@cache
def read_factors(path: Path = FOLDER / "factors.yaml") -> Factors:
    """The lists that pairs are drawn from.

    Raises:
        ScenarioError: Names file, line and field.
    """
    return validated(Factors, read_yaml(path))


@cache
def read_stakes_prompt(name: str) -> StakesPrompt:
    """One of the prompts of this folder, by the stem of its file."""
    head, text = read_front_matter(FOLDER / f"{name}.md")
    return validated(StakesPrompt, head._replace(data=head.data | {"system": text}))


def draw_pairs(
    factors: Factors,
    *,
    pairs: int,
    styles: int,
    shares: Shares,
    heldout_styles: Sequence[str] | None = None,
    seed: int = 0,
) -> list[PairSpec]:
    """So many pairs, every one in several styles.

    A pair's split depends on its id and the seed alone: more pairs, or others, move none to another split.
    Pairs for training and development are written in styles that are not held out; those for the test in
    one held-out style at least, and in others.

    Args:
        factors: The lists.
        pairs: Drawn without replacement from all combinations of topic, role and impact.
        styles: Per pair, each in one tone, language and length.
        shares: Of the splits, see `stable_split`.
        heldout_styles: Instead of those that the lists say are held out.
        seed: Of all draws.

    Raises:
        UserMistake: More pairs or styles than there are, or a style that is not known.
    """
    heldout = _heldout(factors, heldout_styles)
    seen = [name for name in factors.styles if name not in heldout]
    combinations = list(product(factors.topics, factors.roles, factors.impacts))
    if not 1 <= pairs <= len(combinations):
        raise UserMistake(f"pairs={pairs}: there are 1 to {len(combinations)} combinations of the factors")
    if not 1 <= styles <= len(seen):
        raise UserMistake(
            f"styles={styles}: a pair for training can be told in 1 to {len(seen)} styles, {', '.join(seen)}"
        )
    drawn = random.Random(f"{seed}:pairs").sample(combinations, pairs)
    return [_pair(factors, one, seen, heldout, styles, shares, seed) for one in drawn]


def stable_split(identity: str, shares: Shares, seed: int) -> StakesSplit:
    """The split of a pair: where the SHA-256 of seed and id lies between 0 and 1.

    Python's own `hash` of a text is another one in every process.

    Raises:
        UserMistake: Shares that are negative, or leave nothing for training.
    """
    if min(shares) < 0 or sum(shares) >= 1:
        raise UserMistake(
            f"dev={shares.dev:g}, test={shares.test:g}: shares of 0 or more that leave some for training"
        )
    digest = hashlib.sha256(f"{seed}:{identity}".encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    if place < shares.test:
        return "test"
    return "dev" if place < shares.test + shares.dev else "train"


def _heldout(factors: Factors, names: Sequence[str] | None) -> list[str]:
    if names is None:
        return [name for name, style in factors.styles.items() if style.heldout]
    if unknown := [name for name in names if name not in factors.styles]:
        raise UserMistake(f"no style {unknown[0]!r}; there are {', '.join(factors.styles)}")
    return list(names)


def _pair(
    factors: Factors,
    combination: tuple[str, str, str],
    seen: Sequence[str],
    heldout: Sequence[str],
    styles: int,
    shares: Shares,
    seed: int,
) -> PairSpec:
    topic, role, impact = combination
    identity = hashlib.sha256("|".join(combination).encode()).hexdigest()[:10]
    split = stable_split(identity, shares, seed)
    rng = random.Random(f"{seed}:{identity}")
    chosen = rng.sample(list(seen), styles)
    if split == "test" and heldout:
        new = rng.sample(list(heldout), min(len(heldout), (styles + 1) // 2))
        chosen = [*new, *chosen[len(new) :]]
    return PairSpec(
        pair=identity,
        topic=topic,
        role=role,
        impact=impact,
        split=split,
        variations=[
            Variation(
                style=style,
                tone=rng.choice(list(factors.tones)),
                language=rng.choices(list(factors.languages), list(factors.languages.values()))[0],
                length=rng.choice(list(factors.lengths)),
            )
            for style in chosen
        ],
    )
