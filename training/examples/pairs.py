"""What is compared with what: pairs of a best and a worst reply (dpo), groups of conversations (grpo).

The plan counts them, the trainers train on them and the exporters write them: all ask here.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from training.examples.example import Example

Row = TypeVar("Row")
Member = TypeVar("Member")


class Reply(NamedTuple, Generic[Row]):
    """A generation of the agent, as far as it is compared."""

    row: Row
    """What the caller has of it: messages, or tokens."""

    example: Example
    prompt: Hashable
    """Equal for two replies before which the agent saw the same, tools included."""

    words: Hashable
    """Equal for two replies that are the same."""


class Group(NamedTuple, Generic[Member]):
    """Conversations that are compared with each other."""

    state: Hashable
    number: int
    """Among the groups of the state, from 1."""

    members: tuple[Member, ...]


class Grouped(NamedTuple, Generic[Member]):
    """Groups, and conversations of which nothing can be learned."""

    groups: list[Group[Member]]
    left_out: list[tuple[str, tuple[Member, ...]]]
    """Reason (`alone`: nothing to compare with; `equal_rewards`: every advantage is 0) and members."""


def reply_of(row: Example) -> Reply[Example]:
    """A row by its messages; ids of tool calls are drawn, and so are nothing that differs."""
    return Reply(row, row, _canonical([row["prompt"], row.get("tools")]), _canonical(row["completion"]))


def pairs_of(replies: Iterable[Reply[Row]], left_out: Counter[str]) -> list[tuple[Row, Row]]:
    """Best and worst conversations of a state, joined where the agent first spoke differently.

    The best is joined with the worst, the second best with the second worst, and so on. Up to the reply that
    is in the pair, the two conversations are the same, word for word.

    Args:
        replies: With labels. Those of static data are joined by their prompt.
        left_out: Counts replies that are in no pair: `no_partner` (more of one label than of the other in
            this state), `tie` (conversations with the same score), `other_prompt` (the conversations part
            before the agent speaks differently), `same_reply` (they never do), `around_the_pair` (turns
            before and after it).

    Returns:
        The best and the worst of each pair.
    """
    pairs: list[tuple[Row, Row]] = []
    for best, worst in _opposed(replies, left_out):
        size = len(best) + len(worst)
        found = _first_difference(best, worst)
        if isinstance(found, str):
            left_out[found] += size
            continue
        if size > 2:
            left_out["around_the_pair"] += size - 2
        pairs.append(found)
    return pairs


def with_reward(rows: Sequence[Example], left_out: Counter[str]) -> list[Example]:
    """The rows that a reward can be given to.

    Args:
        rows: What there is.
        left_out: Counts the others: `static` (of no conversation in a log), `unscored`.
    """
    kept: list[Example] = []
    for row in rows:
        if row["sample"] is None:
            left_out["static"] += 1
        elif row["score"] is None or math.isnan(row["score"]):
            left_out["unscored"] += 1
        else:
            kept.append(row)
    return kept


def whole_conversations(
    rows: Iterable[Row], example: Callable[[Row], Example], left_out: Counter[str]
) -> list[list[Row]]:
    """The conversations that rows are of, each in the order of its turns.

    Args:
        rows: Generations, of any number of conversations.
        example: The row in the data that one of them is made of.
        left_out: Counts generations `without_beginning`: of a conversation whose first is not there.
    """
    conversations: dict[Hashable, list[Row]] = defaultdict(list)
    for row in rows:
        of = example(row)
        conversations[of["log"], of["sample"], of["epoch"]].append(row)
    whole: list[list[Row]] = []
    for conversation in conversations.values():
        ordered = sorted(conversation, key=lambda row: example(row)["turn"] or 1)
        if (example(ordered[0])["turn"] or 1) == 1:
            whole.append(ordered)
        else:
            left_out["without_beginning"] += len(ordered)
    return whole


def groups_of(
    members: Iterable[Member],
    most: int,
    *,
    state: Callable[[Member], Hashable],
    reward: Callable[[Member], float | None],
) -> Grouped[Member]:
    """Groups of conversations that began alike.

    A state with more than `most` conversations gives several groups of nearly equal size. One with fewer
    gives a group of its own size: dropping it would lose states where judges failed or a veto struck, and
    an advantage over two conversations is as unbiased as one over eight, only noisier.

    Args:
        members: Conversations with rewards.
        most: Conversations in a group; one more where one would be left alone.
        state: What conversations of one group have in common: the initial state, and the first prompt.
        reward: Of a conversation.
    """
    states: dict[Hashable, list[Member]] = defaultdict(list)
    for member in members:
        states[state(member)].append(member)
    found = Grouped[Member]([], [])
    for name, alike in states.items():
        parts = min(math.ceil(len(alike) / most), max(1, len(alike) // 2))  # nobody is left alone
        for number in range(parts):
            group = tuple(alike[number::parts])
            if len(group) < 2:
                found.left_out.append(("alone", group))
            elif len({reward(member) for member in group}) == 1:
                found.left_out.append(("equal_rewards", group))
            else:
                found.groups.append(Group(name, number + 1, group))
    return found


def _opposed(
    replies: Iterable[Reply[Row]], left_out: Counter[str]
) -> Iterable[tuple[list[Reply[Row]], list[Reply[Row]]]]:
    states: dict[Hashable, dict[Hashable, list[Reply[Row]]]] = defaultdict(lambda: defaultdict(list))
    for number, reply in enumerate(replies):
        of = reply.example
        static = of.get("sample") is None
        state = (of.get("source"), reply.prompt if static else of["sample"])
        states[state][number if static else (of["log"], of["epoch"])].append(reply)
    for state in states.values():
        conversations = [sorted(c, key=lambda r: r.example["turn"] or 0) for c in state.values()]
        ranked = sorted(conversations, key=lambda c: c[0].example.get("rank") or 0)
        best = [c for c in ranked if c[0].example["label"] is True]
        worst = [c for c in reversed(ranked) if c[0].example["label"] is False]
        count = min(len(best), len(worst))
        if spare := sum(map(len, best[count:] + worst[count:])):
            left_out["no_partner"] += spare
        yield from zip(best[:count], worst[:count], strict=True)


def _first_difference(best: Sequence[Reply[Row]], worst: Sequence[Reply[Row]]) -> tuple[Row, Row] | str:
    """The first turn with different replies to the same prompt, or why there is none."""
    scores = (best[0].example.get("score"), worst[0].example.get("score"))
    if None not in scores and scores[0] == scores[1]:
        return "tie"
    for one, other in zip(best, worst, strict=False):
        if one.example.get("turn") != other.example.get("turn") or one.prompt != other.prompt:
            return "other_prompt"
        if one.words != other.words:
            return one.row, other.row
    return "same_reply"


def _canonical(value: Any) -> str:
    return json.dumps(_without_ids(value), sort_keys=True)


def _without_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_ids(item) for item in value]
    if isinstance(value, dict) and "role" in value:
        calls = [call["function"] for call in value.get("tool_calls") or []]
        return {k: v for k, v in value.items() if k not in ("tool_calls", "tool_call_id")} | {"calls": calls}
    return value
