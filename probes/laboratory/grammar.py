"""Stakes told by which word belongs to which: a data set that needs no model, and that words cannot solve.

Two texts of a pair have the same words; only what is said of what has changed places (`swaps`), or which of
two things a last sentence means (`matches`). A classifier of single words therefore knows nothing, and one of
lengths neither, while a reader sees who is in danger. It tells a monitor that combines its context from one
that counts alarming words; it is no sample of what people write.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from probes.laboratory.rows import StakesRow
from scenarios.files.located_yaml import read_yaml, validated
from scenarios.mistakes import UserMistake
from scenarios.schema import Frozen, Words
from scenarios.stakes.factors import FOLDER, Shares
from scenarios.templates import fill, placeholders

SOURCE = "grammar"

SHARES = Shares(dev=0.15, test=0.3)
"""Of scenes, by split."""

Side = Literal["high", "low"]


class Line(Frozen):
    """A message of a style; `{story}` stands for what has happened."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str = ""
    tool: str | None = None
    """Of an assistant, the tool that it calls; of a tool, its name."""

    arguments: dict[str, Any] = Field(default_factory=dict)


class StyleFrame(Frozen):
    """What stands around a story."""

    messages: list[Line] = Field(min_length=1)
    heldout: bool = False
    """Only scenes of the test split are told in it."""

    @model_validator(mode="after")
    def _tells_the_story_once(self) -> Self:
        if sum(line.text.count("{story}") for line in self.messages) != 1:
            raise ValueError("{story} must stand in exactly one message")
        return self


class Swap(Frozen):
    """Two things; in one text the bad is told of what matters, in its twin of what does not."""

    scene: Words
    topic: Words
    critical: list[Words] = Field(min_length=1)
    trivial: list[Words] = Field(min_length=1)
    texts: list[Words] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        _check_slots(self.texts, {"bad", "fine"})
        if len(self.critical) != len(self.trivial):
            raise ValueError("as many critical as trivial things are needed, so that each is told of once")
        return self


class Match(Frozen):
    """Two things, one of them dangerous; a last sentence means the one or the other."""

    scene: Words
    topic: Words
    things: list[Words] = Field(min_length=2)
    texts: list[Words] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        _check_slots(self.texts, {"one", "other", "same"})
        if len(self.things) % 2:
            raise ValueError("an even number of things is needed: they come in twos")
        return self


class Grammar(Frozen):
    """All scenes, and the styles that they are told in."""

    styles: dict[str, StyleFrame] = Field(min_length=1)
    swaps: list[Swap] = Field(default_factory=list)
    matches: list[Match] = Field(default_factory=list)


class _Story(NamedTuple):
    """One story of a pair."""

    pair: str
    order: int
    """Which of the stories of one side of a pair it is."""

    side: Side
    words: str


def read_grammar(path: Path = FOLDER / "grammar.yaml") -> Grammar:
    """The scenes of a file.

    Raises:
        ScenarioError: Names file, line and field.
    """
    return validated(Grammar, read_yaml(path))


def grammar_rows(
    grammar: Grammar, *, styles: int = 2, shares: Shares = SHARES, seed: int = 0
) -> list[StakesRow]:
    """Every pair of every scene, in several styles.

    A whole scene is in one split: its pairs share sentences. Scenes for training and development are told in
    styles that are not held out, those for the test in one that is and in others.

    Args:
        grammar: The scenes.
        styles: Per pair.
        shares: Of scenes, for development and test.
        seed: Of the split and of the styles.

    Raises:
        UserMistake: Shares that leave nothing for training.
    """
    seen = [name for name, style in grammar.styles.items() if not style.heldout]
    heldout = [name for name, style in grammar.styles.items() if style.heldout]
    rows: list[StakesRow] = []
    scenes = [*grammar.swaps, *grammar.matches]
    splits = _splits([scene.scene for scene in scenes], shares, seed)
    for number, scene in enumerate(scenes):
        split = splits[scene.scene]
        for place, stories in enumerate(_stories(scene)):
            # each pair the next ones in turn, so that every style is told as often as every other
            turn = number + place + seed
            chosen = [seen[(turn + i) % len(seen)] for i in range(min(styles, len(seen)))]
            if split == "test" and heldout:
                chosen[0] = heldout[turn % len(heldout)]
            for style in chosen:
                for told in stories:
                    rows.append(_stakes_row(told, scene.topic, style, grammar.styles[style], split))
    return rows


def _splits(scenes: Sequence[str], shares: Shares, seed: int) -> dict[str, str]:
    """Scenes to splits, in as many as the shares say: there are too few of them to leave it to chance."""
    if min(shares) < 0 or sum(shares) >= 1:
        raise UserMistake(f"dev={shares.dev:g}, test={shares.test:g}: some scenes must be left for training")
    order = random.Random(f"{seed}:scenes").sample(list(scenes), len(scenes))
    n_test, n_dev = round(shares.test * len(order)), round(shares.dev * len(order))
    names = ["test"] * n_test + ["dev"] * n_dev
    return {scene: names[place] if place < len(names) else "train" for place, scene in enumerate(order)}


def _stories(scene: Swap | Match) -> Iterator[list[_Story]]:
    """Pair by pair. Within one text of a scene no thing stands twice in one place: no phrase comes again."""
    for number, text in enumerate(scene.texts):
        if isinstance(scene, Swap):
            for place, critical in enumerate(scene.critical):
                trivial = scene.trivial[(place + number) % len(scene.trivial)]
                yield _swapped(f"{scene.scene}-{number}-{place}", text, critical, trivial)
        else:
            for place in range(0, len(scene.things), 2):
                pair = f"{scene.scene}-{number}-{place // 2}"
                # each text has its own twos: what was with its neighbour is with the next one
                first = scene.things[(place + number) % len(scene.things)]
                second = scene.things[(place + number + 1) % len(scene.things)]
                yield _matched(pair, text, first, second)


def _swapped(pair: str, text: str, critical: str, trivial: str) -> list[_Story]:
    return [
        _Story(pair, 0, "high", _sentences(text, {"bad": critical, "fine": trivial})),
        _Story(pair, 0, "low", _sentences(text, {"bad": trivial, "fine": critical})),
    ]


def _matched(pair: str, text: str, first: str, second: str) -> list[_Story]:
    """Both things in either part, so that a thing that is named twice tells nothing."""
    told: list[_Story] = []
    for order, (one, other) in enumerate(((first, second), (second, first))):
        named = {"one": one, "other": other}
        told.append(_Story(pair, order, "high", _sentences(text, {**named, "same": one})))
        told.append(_Story(pair, order, "low", _sentences(text, {**named, "same": other})))
    return told


def _sentences(text: str, things: Mapping[str, str]) -> str:
    """The text with its things, each sentence with a capital."""
    filled = fill(text, things)
    return ". ".join(part[:1].upper() + part[1:] for part in filled.split(". "))


def _stakes_row(told: _Story, topic: str, name: str, style: StyleFrame, split: str) -> StakesRow:
    messages = [_message(line, told.words) for line in style.messages]
    tools = sorted({line.tool for line in style.messages if line.tool})
    return StakesRow(
        id=f"{told.pair}-{told.order}-{name.replace(' ', '_')}-{told.side}",
        pair=told.pair,
        messages=messages,
        tools=[{"type": "function", "function": {"name": tool}} for tool in tools] or None,
        label=1 if told.side == "high" else 0,
        facts={
            "style": name,
            "language": "English",
            "topic": topic,
            "split": split,
            "source": SOURCE,
            "scene": told.pair.split("-")[0],
        },
    )


def _message(line: Line, story: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": line.role, "content": line.text.replace("{story}", story)}
    if line.role == "assistant" and line.tool:
        call = {"name": line.tool, "arguments": line.arguments}
        message["tool_calls"] = [{"type": "function", "id": "call-1", "function": call}]
    elif line.role == "tool":
        message |= {"name": line.tool, "tool_call_id": "call-1"}
    return message


def _check_slots(texts: list[str], wanted: set[str]) -> None:
    for text in texts:
        if placeholders(text) != wanted:
            named = ", ".join("{" + name + "}" for name in sorted(wanted))
            raise ValueError(f"a text needs {named} and nothing else in braces: {text[:60]!r}")
