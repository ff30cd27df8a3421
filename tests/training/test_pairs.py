"""Plan, trainers and exporters compare the same conversations."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.agent_rows import says, short, trajectories
from tests.support.rated import chosen, group
from training.examples.pairs import pairs_of, reply_of, with_reward
from training.selection.plan import plan_of
from training.settings import Tuning
from training.trainers.dpo import reply_in_tokens
from training.trainers.grpo import layout
from training.trainers.rows import Text, TokenRow
from training.trainers.token_trajectories import groups_of, in_order

SELECTED = chosen(group(9, 1))


def grpo_rows(rewards):
    return [row for n, reward in enumerate(rewards, start=1) for row in short(f"r{n}", epoch=n, score=reward)]


def planned(rows, **tuning):
    plan = plan_of(SELECTED, rows, [], Tuning(**tuning))
    return plan.n_units, plan.n_steps


def trained(rows, tuning):
    """Conversations and optimizer steps of the trainer."""
    scored = with_reward(rows, Counter())
    groups = groups_of(trajectories(scored), tuning.generations, Counter())
    order = in_order(groups, tuning.passes, 0)
    if not groups:
        return 0, 0
    shape = layout(max(len(g.members) for g in order), tuning)
    return sum(len(g.members) for g in groups), -(-len(order) // shape.groups)


@pytest.mark.parametrize("count", [3, 5, 7])
def test_logs_13_grpo_plans_as_many_conversations_as_it_trains_on(count):
    rows = grpo_rows(range(count))
    tuning = Tuning(algorithm="grpo", generations=2, batch_size=4)
    assert planned(rows, algorithm="grpo", generations=2, batch_size=4) == trained(rows, tuning)
    assert planned(rows, algorithm="grpo", generations=2, batch_size=4)[0] == count


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([1.0, 2.0, 3.0, None, float("nan")]), min_size=1, max_size=9),
    st.integers(2, 4),
    st.integers(1, 9),
)
def test_grpo_plans_what_it_trains_on_whatever_the_rewards(rewards, generations, batch_size):
    rows = grpo_rows(rewards)
    tuning = Tuning(algorithm="grpo", generations=generations, batch_size=batch_size)
    told = planned(rows, algorithm="grpo", generations=generations, batch_size=batch_size)
    assert told == trained(rows, tuning)


def test_grpo_plans_no_conversation_whose_beginning_is_lost():
    rows = grpo_rows([1.0, 2.0, 3.0])
    rows[0]["turn"] = 2
    assert planned(rows, algorithm="grpo", generations=8)[0] == 2


def dpo_row(epoch, label, score, words, sample="s1"):
    (row,) = short(words, sample=sample, epoch=epoch, score=score)
    return row | {"label": label, "rank": epoch}


def in_tokens(row):
    """A row in made-up tokens: one for each word."""
    words = {w: n for n, w in enumerate(["a", "b", "c", "d", "hi"])}
    ids = [[words[m["content"]] for m in row[part]] for part in ("prompt", "completion")]
    return reply_in_tokens(TokenRow(row, Text("", ""), *ids))


def test_logs_13_dpo_plans_no_pair_of_equal_scores():
    rows = [dpo_row(1, True, 5.0, "a"), dpo_row(2, False, 5.0, "b")]
    rows += [dpo_row(1, True, 9.0, "a", "s2"), dpo_row(2, False, 5.0, "b", "s2")]
    left_out = Counter()
    assert len(pairs_of(map(in_tokens, rows), left_out)) == 1
    assert left_out == {"tie": 2}
    assert planned(rows, algorithm="dpo", batch_size=1) == (1, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([1.0, 2.0, 3.0]), st.sampled_from("abcd")), max_size=8)
)
def test_dpo_plans_the_pairs_that_it_trains_on_and_that_are_exported(found):
    rows = [dpo_row(n, *one) for n, one in enumerate(found, start=1)]
    left_out = Counter(), Counter()
    by_tokens = [
        (b.example["epoch"], w.example["epoch"]) for b, w in pairs_of(map(in_tokens, rows), left_out[0])
    ]
    by_messages = [(b["epoch"], w["epoch"]) for b, w in pairs_of(map(reply_of, rows), left_out[1])]
    assert by_tokens == by_messages
    assert left_out[0] == left_out[1]
    assert planned(rows, algorithm="dpo", batch_size=1)[0] == len(by_tokens)
    assert 2 * len(by_tokens) + left_out[0].total() == len(rows)


def test_ids_of_tool_calls_are_no_difference():
    call = {"type": "function", "function": {"name": "look", "arguments": {}}}
    said = [says("assistant", "a", tool_calls=[call | {"id": name}]) for name in ("x", "y")]
    rows = [dpo_row(1, True, 9.0, "a"), dpo_row(2, False, 1.0, "b")]
    for row, message in zip(rows, said, strict=True):
        row["completion"] = [message]
    left_out = Counter()
    assert pairs_of(map(reply_of, rows), left_out) == []
    assert left_out == {"same_reply": 2}
