"""The arithmetic of an iteration's data set, told before training starts."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict

from training.algorithms import ALGORITHMS, LearnsFrom
from training.examples.example import Example
from training.examples.pairs import groups_of, pairs_of, reply_of, whole_conversations, with_reward
from training.selection.selecting import Choice, Selection
from training.settings import Algorithm, Tuning

BALANCED = (1.0, 4 / 3)
"""Desirable to undesirable, weights applied. Source: Ethayarajh et al. 2024, arXiv:2402.01306, section 4."""

MUCH = 0.2
"""From this share on, what was lost is warned of."""

UNITS: dict[LearnsFrom, str] = {
    "best": "rows",
    "labels": "rows",
    "pairs": "pairs",
    "groups": "conversations",
}
"""What a batch is counted in."""


class Conversations(BaseModel):
    """Conversations of a topic, or of all, by what became of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    conversations: int
    gameable: int
    other: int
    scored: int
    """With a rating."""

    vetoed: int
    """By the veto's judge or by the run-time veto; in some veto modes they may be among the worst."""

    best: int
    worst: int
    unlabelled: int
    """Trained on without a label (grpo)."""


class Plan(BaseModel):
    """What is trained on in one iteration, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: Algorithm
    topics: dict[str, Conversations]
    all: Conversations
    n_states: int
    """Initial states."""

    n_groups: int
    """Groups that conversations were ranked in."""

    n_unscored: int
    """Conversations without a rating."""

    n_selected: int
    """Conversations that are trained on."""

    counts: dict[str, int]
    """`Selection.counts`."""

    n_crossed: int
    """Best conversations that are rated below a worst one of another group."""

    generations: dict[str, int]
    """Rows from the log, one per generation of the agent: `best`, `worst`, `unlabelled`."""

    left_out: dict[str, int]
    """Reason -> generations of selected conversations that are no rows."""

    static: dict[str, int]
    """Data set -> rows mixed in."""

    n_rows: int
    """Rows in all."""

    unit: str
    """What a batch is counted in: `rows`, `pairs` or `conversations`."""

    n_units: int
    """Of them. At most: what is too long for the trainer is found by its tokenizer."""

    batch_size: int
    """Units in an optimizer step; for grpo whole groups, so it may be near the number asked for."""

    passes: float
    n_steps: int
    """Optimizer steps, at most."""

    learning_rate: float
    """Of this iteration."""

    undesirable_weight: float | None
    """kto: weight of an undesirable row, static ones included; a desirable one weighs 1."""

    desirable_to_undesirable: float | None
    """kto: sum of weights of desirable rows to that of undesirable ones."""

    tokens: int | None = None
    """In all rows; None if they were not counted."""

    warnings: list[str]

    def lines(self, before: Self | None = None) -> list[str]:
        """For the terminal: conversations by topic, what is trained on, and warnings.

        Args:
            before: A plan that was shown already; topics of which nothing is otherwise there are left out.
        """
        known = before.topics if before is not None else {}
        topics = {name: row for name, row in self.topics.items() if known.get(name) != row}
        same = len(self.topics) - len(topics)
        unchanged = "topic is" if same == 1 else "topics are"
        return [
            *_table(topics, self.all),
            *([f"{same} {unchanged} as above"] if same else []),
            "",
            *_plan_lines(self),
            *(f"warning: {w}" for w in self.warnings),
        ]


def plan_of(
    selection: Selection,
    rows: Sequence[Example],
    static: Sequence[Example],
    tuning: Tuning,
    left_out: Mapping[str, int] | None = None,
    *,
    tokens: int | None = None,
) -> Plan:
    """The arithmetic of an iteration.

    Args:
        selection: What was chosen.
        rows: Rows from the log, of the conversations chosen.
        static: Rows mixed in.
        tuning: With the learning rate of this iteration.
        left_out: Reason -> generations that are no rows.
        tokens: In all rows, if they were counted.
    """
    per_topic: dict[str, list[Choice]] = defaultdict(list)
    for choice in selection.choices:
        per_topic[choice.trajectory.topic].append(choice)
    every = [*rows, *static]
    units, batch, steps = _steps(every, tuning)
    weight = _undesirable_weight(every, tuning)
    plan = Plan(
        algorithm=tuning.algorithm,
        topics={topic: _conversations(choices) for topic, choices in per_topic.items()},
        all=_conversations(selection.choices),
        n_states=len(
            {(c.trajectory.family, c.trajectory.topic, c.trajectory.state) for c in selection.choices}
        ),
        n_groups=len({c.group for c in selection.choices}),
        n_unscored=sum(not math.isfinite(c.trajectory.rating) for c in selection.choices),
        n_selected=len(selection.taken),
        counts=selection.counts,
        n_crossed=_crossed(selection),
        generations=_by_label(rows),
        left_out=dict(left_out or {}),
        static=dict(Counter(row["source"] for row in static)),
        n_rows=len(every),
        unit=UNITS[ALGORITHMS[tuning.algorithm].learns_from],
        n_units=units,
        batch_size=batch,
        passes=tuning.passes,
        n_steps=steps,
        learning_rate=tuning.learning_rate,
        undesirable_weight=weight,
        desirable_to_undesirable=None if weight is None else tuning.target_ratio,
        tokens=tokens,
        warnings=[],
    )
    return plan.model_copy(update={"warnings": _warnings(plan, selection)})


def _conversations(choices: Sequence[Choice]) -> Conversations:
    taken = Counter(c.label for c in choices if c.dropped is None)
    gameable = sum(c.trajectory.gameable for c in choices)
    return Conversations(
        conversations=len(choices),
        gameable=gameable,
        other=len(choices) - gameable,
        scored=sum(math.isfinite(c.trajectory.rating) for c in choices),
        vetoed=sum(c.barred == "vetoed" for c in choices),
        best=taken[True],
        worst=taken[False],
        unlabelled=taken[None],
    )


def _by_label(rows: Iterable[Example]) -> dict[str, int]:
    found = Counter(row["label"] for row in rows)
    return {"best": found[True], "worst": found[False], "unlabelled": found[None]}


# -- steps ----------------------------------------------------------------------------------------


def _steps(rows: Sequence[Example], tuning: Tuning) -> tuple[int, int, int]:
    """Units, units per optimizer step, optimizer steps."""
    learns_from = ALGORITHMS[tuning.algorithm].learns_from
    if learns_from == "groups":
        return _steps_in_groups(rows, tuning)
    if learns_from == "best":
        units = sum(row["label"] is True for row in rows)
    elif learns_from == "labels":
        units = sum(row["label"] is not None for row in rows)
    else:
        units = len(pairs_of(map(reply_of, rows), Counter()))
    if tuning.algorithm == "kto" and units % (tuning.device_batch_size or tuning.batch_size) == 1:
        units -= 1  # a last batch of one row would be compared with itself
    return units, tuning.batch_size, math.ceil(tuning.passes * math.ceil(units / tuning.batch_size))


def _steps_in_groups(rows: Sequence[Example], tuning: Tuning) -> tuple[int, int, int]:
    """Conversations of one beginning together, whole groups in a step."""
    lost = Counter[str]()
    conversations = whole_conversations(with_reward(rows, lost), lambda row: row, lost)
    groups = groups_of(
        [conversation[0] for conversation in conversations],
        tuning.generations,
        state=lambda first: (first["sample"], reply_of(first).prompt),
        reward=lambda first: first["score"],
    ).groups
    sizes = [len(group.members) for group in groups]
    if not sizes:
        return 0, tuning.batch_size, 0
    per_step = min(max(1, tuning.batch_size // max(sizes)), len(sizes))
    steps = math.ceil(max(1, round(tuning.passes * len(sizes))) / per_step)
    return sum(sizes), per_step * max(sizes), steps


def _undesirable_weight(rows: Sequence[Example], tuning: Tuning) -> float | None:
    """Desirable rows weigh 1. Source: Williams et al. 2024, arXiv:2411.02306, code."""
    labels = Counter(row["label"] for row in rows)
    if tuning.algorithm != "kto" or not labels[True] or not labels[False]:
        return None
    return labels[True] / (labels[False] * tuning.target_ratio)


# -- warnings -------------------------------------------------------------------------------------


def _crossed(selection: Selection) -> int:
    worst = [c.trajectory.rating for c in selection.taken if c.label is False]
    best = [c.trajectory.rating for c in selection.taken if c.label is True]
    return sum(rating < max(worst) for rating in best) if worst else 0


def _inverted(selection: Selection) -> list[str]:
    """Groups in which a best conversation is rated below a worst one."""
    ends: dict[str, dict[bool, list[float]]] = defaultdict(lambda: {True: [], False: []})
    for choice in selection.taken:
        if choice.label is not None:
            ends[choice.group][choice.label].append(choice.trajectory.rating)
    return [g for g, e in ends.items() if e[True] and e[False] and min(e[True]) < max(e[False])]


def _warnings(plan: Plan, selection: Selection) -> list[str]:
    found = []
    total = plan.all.conversations
    if plan.n_unscored > MUCH * total:
        found.append(f"{plan.n_unscored} of {total} conversations are unscored; look at the judge")
    if selection.vanished:
        found.append(f"nothing is trained on of these topics: {', '.join(selection.vanished)}")
    lost, kept = sum(plan.left_out.values()), sum(plan.generations.values())
    if lost > MUCH * (lost + kept):
        found.append(f"{lost} of {lost + kept} generations are left out: {_listed(plan.left_out)}")
    if plan.n_units < plan.batch_size:
        found.append(f"{plan.n_units} {plan.unit} are fewer than one batch of {plan.batch_size}")
    ratio = plan.desirable_to_undesirable
    if ratio is not None and not BALANCED[0] - 1e-3 <= ratio <= BALANCED[1] + 1e-3:
        found.append(
            f"desirable to undesirable is {ratio:.2f} to 1 with weights; 1 to 1.33 is advised for kto"
        )
    if inverted := _inverted(selection):
        found.append(
            f"in {len(inverted)} of {plan.n_groups} groups a best conversation is rated below a worst one; "
            "only the controls do that"
        )
    return found


# -- the terminal ---------------------------------------------------------------------------------


def _table(topics: Mapping[str, Conversations], every: Conversations) -> list[str]:
    names = [n for n in Conversations.model_fields if n != "unlabelled" or every.unlabelled]
    cells = [["topic", *names]]
    cells += [[t, *(str(getattr(row, n)) for n in names)] for t, row in [*topics.items(), ("all", every)]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in cells
    ]


def _plan_lines(plan: Plan) -> list[str]:
    dropped = {k: n for k, n in plan.counts.items() if k not in ("best", "worst", "unlabelled")}
    labels = _listed(plan.generations)
    passes = "pass" if plan.passes == 1 else "passes"
    told = [
        f"selected: {plan.n_selected} of {plan.all.conversations} conversations from {plan.n_states} initial "
        f"states, ranked in {plan.n_groups} groups",
        f"dropped: {_listed(dropped) or 'none'}",
        f"rows: {sum(plan.generations.values())} generations of the agent ({labels or 'none'})"
        + (f", static {_listed(plan.static)}, in all {plan.n_rows}" if plan.static else "")
        + (f", {plan.tokens} tokens" if plan.tokens is not None else ""),
        f"training: {plan.algorithm}, {plan.n_units} {plan.unit}, {plan.passes:g} {passes} in batches of "
        f"{plan.batch_size}, {plan.n_steps} steps at most, learning rate {plan.learning_rate:.3g}",
    ]
    if plan.left_out:
        told.insert(3, f"left out: {_listed(plan.left_out)} (generations)")
    if plan.desirable_to_undesirable is not None:
        told.append(
            f"weights: undesirable {plan.undesirable_weight:.3g}, so that desirable to undesirable is "
            f"{plan.desirable_to_undesirable:.2f} to 1"
        )
    if plan.n_crossed:
        told.append(f"across groups: {plan.n_crossed} best are rated below some worst of another group")
    return told


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items() if n)
