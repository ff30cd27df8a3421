"""The realism card: how simulated users write, beside how real ones do."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from analysis.intervals import Interval, mean_interval, share_interval
from analysis.ranking import Ranked, auroc
from analysis.user_messages.chats import Chats, RealismError
from analysis.user_messages.measures import MEASURES, Measure, is_english, users_side

MEANS = "Means over conversations with 95 % intervals, clustered by initial state."

DISTANCES = (
    " Distance: the chance that a simulated conversation has more of it than a real one, less the chance that"
    " it has less (Cliff's delta); 0: they cannot be told apart. A distance is no judgement: other topics"
    " have other users."
)


class Side(NamedTuple):
    """One measure of many conversations."""

    interval: Interval | None
    """Mean over conversations; None if none has a number."""

    values: list[float]
    clusters: list[Hashable]
    without: int
    """Conversations that are too short for a number."""


class Line(NamedTuple):
    """One measure of the card."""

    name: str
    measure: Measure
    ours: Side
    real: Side | None
    distance: Ranked | None
    """Cliff's delta: the chance that a simulated conversation has more than a real one, less the chance that
    it has less; -1 to 1, 0 if they cannot be told apart. None without real ones."""


class Card(NamedTuple):
    """All of it."""

    ours: str
    real: str | None
    lines: list[Line]
    conversations: tuple[int, int]
    """Ours and real ones that were measured."""

    messages: tuple[int, int]
    left_out: tuple[Counter[str], Counter[str]]
    scripted: int
    """Of our users' messages, those that a data set wrote: openings."""


def card_of(ours: Chats, real: Chats | None) -> Card:
    """Measure both, and tell how far they lie apart.

    Raises:
        RealismError: No conversation of a side can be measured.
    """
    first, second = _measured(ours), None if real is None else _measured(real)
    lines: list[Line] = []
    for name, measure in MEASURES.items():
        mine = _side(first, name, measure)
        theirs = None if second is None else _side(second, name, measure)
        lines.append(Line(name, measure, mine, theirs, None if theirs is None else _distance(mine, theirs)))
    return Card(
        ours=ours.title,
        real=None if real is None else real.title,
        lines=lines,
        conversations=(len(first.clusters), 0 if second is None else len(second.clusters)),
        messages=(first.messages, 0 if second is None else second.messages),
        left_out=(first.left_out, Counter() if second is None else second.left_out),
        scripted=ours.scripted,
    )


class _Measured(NamedTuple):
    values: dict[str, list[float]]
    clusters: list[Hashable]
    messages: int
    left_out: Counter[str]


def _measured(chats: Chats) -> _Measured:
    found = _Measured({name: [] for name in MEASURES}, [], 0, Counter(chats.left_out))
    messages = 0
    for chat in chats.chats:
        users = users_side(chat)
        if not is_english(users):
            found.left_out["not in English"] += 1
            continue
        messages += len(users.texts)
        found.clusters.append(chat.cluster)
        for name, measure in MEASURES.items():
            found.values[name].append(measure.of(users))
    if not found.clusters:
        told = ", ".join(f"{n} {why}" for why, n in found.left_out.items())
        raise RealismError(
            f"{chats.title}: no conversation can be measured ({told}); the words looked for are English"
        )
    return found._replace(messages=messages)


def _side(found: _Measured, name: str, measure: Measure) -> Side:
    pairs = [(v, c) for v, c in zip(found.values[name], found.clusters, strict=True) if not math.isnan(v)]
    values, clusters = [v for v, _ in pairs], [c for _, c in pairs]
    interval = None
    if values:
        interval = (share_interval if measure.is_share else mean_interval)(values, clusters)
    return Side(interval, values, clusters, len(found.clusters) - len(values))


def _distance(ours: Side, real: Side) -> Ranked | None:
    """Source: Cliff 1993 (Psychological Bulletin 114); it is 2 AUROC - 1."""
    if not ours.values or not real.values:
        return None
    labels = np.array([1.0] * len(ours.values) + [0.0] * len(real.values))
    groups = [("ours", c) for c in ours.clusters] + [("real", c) for c in real.clusters]
    found = auroc(labels, np.array(ours.values + real.values), groups)
    return Ranked(*(2 * end - 1 for end in found))


# -- as a page -------------------------------------------------------------------------------------


def page(card: Card) -> str:
    """The card as markdown."""
    head = ["measure", "unit", "simulated"] + (["real", "distance"] if card.real else [])
    rows = [_row(line) for line in card.lines]
    text = [
        "# Realism card",
        "",
        f"Simulated: {card.ours}; {card.conversations[0]} conversations, {card.messages[0]} messages of users"
        + (f", {card.scripted} of them openings that the scenarios wrote" if card.scripted else "")
        + f"{_left_out(card.left_out[0])}.",
        "",
    ]
    if card.real:
        text += [
            f"Real: {card.real}; {card.conversations[1]} conversations, {card.messages[1]} messages of users"
            f"{_left_out(card.left_out[1])}.",
            "",
        ]
    text += [_cells(head), _cells(["---"] * len(head)), *map(_cells, rows), ""]
    text += [*_alike(card.lines), MEANS + (DISTANCES if card.real else "")]
    if short := [f"{line.measure.title}: {line.ours.without}" for line in card.lines if line.ours.without]:
        text += ["", f"Simulated conversations too short for a number: {'; '.join(short)}."]
    if short := [
        f"{line.measure.title}: {s.without}" for line in card.lines if (s := line.real) and s.without
    ]:
        text += ["", f"Real conversations too short for a number: {'; '.join(short)}."]
    return "\n".join(text) + "\n"


def rows_of(card: Card) -> list[dict[str, object]]:
    """The card's numbers, a row per measure."""
    return [
        {
            "measure": line.name,
            "title": line.measure.title,
            "unit": line.measure.unit,
            **_figures("simulated", line.ours),
            **(_figures("real", line.real) if line.real else {}),
            **(
                {}
                if line.distance is None
                else {
                    "distance": line.distance.value,
                    "distance_low": _or_none(line.distance.low),
                    "distance_high": _or_none(line.distance.high),
                }
            ),
        }
        for line in card.lines
    ]


def _alike(lines: Sequence[Line]) -> list[str]:
    """How many measures cannot be told apart, in RealUserSim's manner."""
    known = [d for line in lines if (d := line.distance) is not None and not math.isnan(d.low)]
    if not known:
        return []
    alike = sum(d.low <= 0 <= d.high for d in known)
    return [
        f"{alike} of {len(known)} measures cannot be told from the real ones (their interval holds 0).",
        "",
    ]


def _row(line: Line) -> list[str]:
    cells = [line.measure.title, line.measure.unit, _interval(line.ours.interval)]
    if line.real is not None:
        cells.append(_interval(line.real.interval))
        distance = line.distance
        shown = "-" if distance is None else f"{distance.value:+.2f}{_ends(distance.low, distance.high)}"
        cells.append(shown)
    return cells


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{interval.mean:.2f}{_ends(interval.low, interval.high)}"


def _ends(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]"


def _left_out(counts: Counter[str]) -> str:
    told = ", ".join(f"{n} {why}" for why, n in sorted(counts.items()))
    return f"; left out: {told}" if told else ""


def _figures(name: str, side: Side) -> dict[str, object]:
    found = side.interval
    return {
        name: None if found is None else found.mean,
        f"{name}_low": None if found is None else _or_none(found.low),
        f"{name}_high": None if found is None else _or_none(found.high),
        f"{name}_n": len(side.values),
        f"{name}_without": side.without,
    }


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
