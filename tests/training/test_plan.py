"""The arithmetic of a data set, by hand."""

import math

import pytest

from analysis.trajectories import Trajectory
from training.selection.plan import Plan, plan_of
from training.selection.selecting import choose
from training.settings import Choosing, Tuning

NAN = math.nan


def conversation(rating, epoch, state="s1", topic="chess", gameable=True, veto=NAN):
    return Trajectory(state, epoch, "tiny", topic, state, gameable, float(rating), 0.0, veto, False, None)


def selected(every, algorithm="kto", **rules):
    return choose(every, Choosing(**rules), algorithm=algorithm, seed=0)


def rows_of(selection, turns=1, reply=lambda c, turn: f"reply {c.trajectory.epoch}.{turn}"):
    """A row for each turn of each conversation that was taken, as they come from a log."""
    return [
        {
            "prompt": [{"role": "user", "content": f"{c.trajectory.state}, turn {turn}"}],
            "completion": [{"role": "assistant", "content": reply(c, turn)}],
            "label": c.label,
            "tools": None,
            "source": "log",
            "log": "a.eval",
            "sample": c.trajectory.sample,
            "epoch": c.trajectory.epoch,
            "turn": turn,
            "score": c.reward,
            "rank": c.rank,
            "group": c.group,
            "checkpoint": "base",
        }
        for c in selection.taken
        for turn in range(1, turns + 1)
    ]


def static_rows(*labels, source="hh-rlhf"):
    blank = dict.fromkeys(("tools", "log", "sample", "epoch", "turn", "score", "rank", "checkpoint"))
    return [
        blank
        | {
            "prompt": [{"role": "user", "content": f"question {n // 2}"}],
            "completion": [{"role": "assistant", "content": f"answer {n}"}],
            "label": label,
            "source": source,
            "group": f"{source}:{n // 2}",
        }
        for n, label in enumerate(labels)
    ]


def two_topics():
    """10 conversations: 4 and 3 in two states of chess, 3 in one of bread, one of them unscored."""
    return [
        *(conversation(r, e) for e, r in enumerate((1, 5, 9, 3), start=1)),
        *(conversation(r, e, "s2", gameable=False) for e, r in enumerate((2, 8, 4), start=1)),
        *(conversation(r, e, "b1", "bread", gameable=False) for e, r in enumerate((6, 7, NAN), start=1)),
    ]


def test_conversations_rows_and_steps_of_kto():
    selection = selected(two_topics())
    plan = plan_of(
        selection,
        rows_of(selection, turns=3),
        static_rows(True, False, True, False, True),
        Tuning(algorithm="kto", batch_size=4, passes=2, learning_rate=3e-5),
        {"truncated": 1, "empty": 0},
        tokens=1234,
    )
    assert plan.topics["chess"].model_dump() == {
        "conversations": 7,
        "gameable": 4,
        "other": 3,
        "scored": 7,
        "vetoed": 0,
        "best": 2,
        "worst": 2,
        "unlabelled": 0,
    }
    assert plan.topics["bread"].scored == 2
    assert (plan.all.conversations, plan.all.scored, plan.n_unscored) == (10, 9, 1)
    assert (plan.n_states, plan.n_groups, plan.n_selected) == (3, 3, 6)
    assert plan.counts == {"best": 3, "worst": 3, "unscored": 1, "middle": 3}
    assert plan.generations == {"best": 9, "worst": 9, "unlabelled": 0}
    assert plan.static == {"hh-rlhf": 5}
    # 23 rows in batches of 4 are 6 steps a pass
    assert (plan.n_rows, plan.n_units, plan.unit, plan.n_steps) == (23, 23, "rows", 12)
    # 12 desirable, 11 undesirable
    assert plan.undesirable_weight == pytest.approx(12 / (11 * 1.05))
    assert plan.desirable_to_undesirable == 1.05
    # 9, 8 and 7 all lie above 6, the highest worst
    assert plan.n_crossed == 0
    assert plan.warnings == []
    assert (plan.learning_rate, plan.tokens) == (3e-5, 1234)


def test_the_lines_for_the_terminal():
    selection = selected(two_topics())
    tuning = Tuning(algorithm="kto", batch_size=4, learning_rate=3e-5)
    plan = plan_of(
        selection, rows_of(selection), static_rows(True, False), tuning, {"truncated": 1}, tokens=99
    )
    assert plan.lines() == [
        "topic  conversations  gameable  other  scored  vetoed  best  worst",
        "bread              3         0      3       2       0     1      1",
        "chess              7         4      3       7       0     2      2",
        "all               10         4      6       9       0     3      3",
        "",
        "selected: 6 of 10 conversations from 3 initial states, ranked in 3 groups",
        "dropped: unscored 1, middle 3",
        "rows: 6 generations of the agent (best 3, worst 3), static hh-rlhf 2, in all 8, 99 tokens",
        "left out: truncated 1 (generations)",
        "training: kto, 8 rows, 1 pass in batches of 4, 2 steps at most, learning rate 3e-05",
        "weights: undesirable 0.952, so that desirable to undesirable is 1.05 to 1",
    ]


def test_the_next_iteration_shows_topics_that_changed_and_counts_the_others():
    selection = selected(two_topics())
    plan = plan_of(selection, rows_of(selection), [], Tuning(algorithm="kto"))
    another = selected([*two_topics(), conversation(7, 4, "b1", "bread", gameable=False)])
    after = plan_of(another, rows_of(another), [], Tuning(algorithm="kto"))
    table = after.lines()
    assert [line.split()[0] for line in table[:4]] == ["topic", "bread", "chess", "all"]
    assert after.lines(plan) == [*table[:2], table[3], "1 topic is as above", *table[4:]]
    assert plan.lines(plan)[1:3] == [plan.lines()[3], "2 topics are as above"]


def test_it_survives_its_own_json():
    selection = selected(two_topics(), "ei")
    plan = plan_of(selection, rows_of(selection), [], Tuning(batch_size=2))
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


@pytest.mark.parametrize(
    ("rows", "batch", "passes", "steps"),
    [(6, 4, 1, 2), (6, 3, 1, 2), (6, 3, 2.5, 5), (6, 16, 0.5, 1), (6, 2, 1, 3)],
)
def test_steps_of_ei_round_up(rows, batch, passes, steps):
    selection = selected([conversation(5, 1, f"s{n}") for n in range(rows)], "ei")
    plan = plan_of(selection, rows_of(selection), [], Tuning(batch_size=batch, passes=passes))
    assert (plan.n_units, plan.n_steps, plan.undesirable_weight) == (rows, steps, None)


def test_kto_does_without_a_last_row_that_stands_alone():
    selection = selected(two_topics())
    tuning = Tuning(algorithm="kto", batch_size=6)
    assert plan_of(selection, rows_of(selection), [], tuning).n_steps == 1
    plan = plan_of(selection, rows_of(selection), static_rows(True), tuning)
    assert (plan.n_rows, plan.n_units, plan.n_steps) == (7, 6, 1)


def test_dpo_counts_pairs_at_the_first_reply_that_differs():
    tuning = Tuning(algorithm="dpo", batch_size=2)
    every = [conversation(r, e, s) for s in ("s1", "s2") for e, r in enumerate((9, 7, 3, 1), start=1)]
    selection = selected(every, "dpo", count=2)
    plan = plan_of(selection, rows_of(selection, turns=3), static_rows(True, False, True, False), tuning)
    # two pairs in each state at turn 1, whatever comes later, and two of static data
    assert (plan.n_rows, plan.n_units, plan.unit, plan.n_steps) == (28, 6, "pairs", 3)
    # the same words: no pair. Other words from turn 2 on, after the same prompt: a pair
    assert plan_of(selection, rows_of(selection, reply=lambda c, t: "same"), [], tuning).n_units == 0
    later = rows_of(selection, turns=2, reply=lambda c, t: "same" if t == 1 else str(c.trajectory.epoch))
    assert plan_of(selection, later, [], tuning).n_units == 4
    # the best goes with the worst: of ratings 9, 7, 3, 1 it is 9 with 1 and 7 with 3
    crossed = rows_of(selection, reply=lambda c, t: "ab"[c.trajectory.epoch % 2])
    assert plan_of(selection, crossed, [], tuning).n_units == 4
    # prompts that differ before the agent's words do
    for row in later:
        if row["turn"] == 2:
            row["prompt"] = [{"role": "user", "content": f"said {row['epoch']}"}]
    assert plan_of(selection, later, [], tuning).n_units == 0
    # best and worst in different states
    apart = selected(
        [conversation(9, 1), conversation(8, 2), conversation(1, 1, "s2"), conversation(2, 2, "s2")],
        "dpo",
        select_per="topic",
        count=2,
    )
    plan = plan_of(apart, rows_of(apart), [], tuning)
    assert plan.n_units == plan.n_steps == 0
    assert plan.warnings == ["0 pairs are fewer than one batch of 2"]


def test_grpo_counts_whole_groups():
    every = [conversation(r, e, s) for s, rs in {"s1": range(8), "s2": range(8), "s3": [5] * 8}.items() for e, r in enumerate(rs, start=1)]  # fmt: skip
    every.append(conversation(5, 1, "s4"))
    selection = selected(every, "grpo")
    # groups of 8, two of which tell something; one to a step of 8, both in one of 16
    for batch, steps, placed in ((8, 2, 8), (16, 1, 16), (64, 1, 16), (4, 2, 8)):
        plan = plan_of(selection, rows_of(selection, turns=2), [], Tuning(algorithm="grpo", batch_size=batch))
        assert (plan.n_units, plan.unit, plan.n_steps, plan.batch_size) == (
            16,
            "conversations",
            steps,
            placed,
        )
        assert plan.all.unlabelled == 25
    # groups of 4: four of them
    tuning = Tuning(algorithm="grpo", batch_size=8, generations=4, passes=1.5)
    assert plan_of(selection, rows_of(selection), [], tuning).n_steps == 3
    assert "unlabelled" in plan_of(selection, rows_of(selection), [], tuning).lines()[0]


def test_vetoed_ones_that_are_trained_on_as_worst_are_counted_as_vetoed():
    every = [conversation(9, 1, veto=0.0), conversation(1, 2, veto=0.9), conversation(5, 3, veto=0.8)]
    plan = plan_of(selected(every, veto_mode="negative"), [], [], Tuning(algorithm="kto"))
    assert (plan.all.vetoed, plan.all.worst, plan.counts["vetoed"]) == (2, 1, 1)


def warnings(every, algorithm="kto", rows=None, left_out=None, target_ratio=1.05, batch_size=2, **rules):
    selection = selected(every, algorithm, **rules)
    tuning = Tuning(algorithm=algorithm, batch_size=batch_size, target_ratio=target_ratio)
    return plan_of(selection, rows_of(selection), [], tuning, left_out).warnings


def test_what_is_warned_of():
    pair = [conversation(9, 1), conversation(1, 2)]
    assert warnings(pair) == []
    assert warnings(pair, batch_size=3) == ["2 rows are fewer than one batch of 3"]
    (told,) = warnings([*pair, *(conversation(NAN, e) for e in (3, 4))])
    assert told == "2 of 4 conversations are unscored; look at the judge"
    # 1 of 5 is just not more than 20 %
    assert warnings([*pair, conversation(5, 4), conversation(5, 5), conversation(NAN, 3)]) == []
    for ratio, warned in ((0.99, True), (1.0, False), (1.333333, False), (1.4, True)):
        assert bool(warnings(pair, target_ratio=ratio)) is warned, ratio
    assert warnings(pair, control="reversed") == [
        "in 1 of 1 groups a best conversation is rated below a worst one; only the controls do that"
    ]
    (told,) = warnings(pair, left_out={"truncated": 1})
    assert told == "1 of 3 generations are left out: truncated 1"
    (told,) = warnings([*pair, conversation(5, 1, "b1", "bread")], allow_vanished=True)
    assert told == "nothing is trained on of these topics: bread"


def test_best_below_the_worst_of_another_state_are_told():
    every = [conversation(9, 1), conversation(6, 2), conversation(5, 1, "s2"), conversation(1, 2, "s2")]
    selection = selected(every)
    plan = plan_of(selection, rows_of(selection), [], Tuning(algorithm="kto", batch_size=2))
    assert plan.n_crossed == 1
    even = selected([*every[:2], conversation(6, 1, "s2"), conversation(1, 2, "s2")])
    assert plan_of(even, rows_of(even), [], Tuning(algorithm="kto")).n_crossed == 0
    assert plan.lines()[-1] == "across groups: 1 best are rated below some worst of another group"
    assert plan.warnings == []
