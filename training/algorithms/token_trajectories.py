"""Conversations as the policy gradient needs them: one sequence of tokens each, with what the agent wrote marked."""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from training.examples import Example

Messages = Sequence[Mapping[str, Any]]

Render = Callable[[Messages, Sequence[Mapping[str, Any]] | None, bool], list[int]]
"""Token ids of messages and tools by the chat template; True adds the head of the agent's next message."""


class TokenTrajectory(NamedTuple):
    """A conversation, or the first part of it, in tokens."""

    sample: str
    """Id of the initial state."""

    prompt: list[int]
    """What the agent saw before it first wrote."""

    completion: list[int]
    """Everything after: the agent's generations and, between them, users, tool results and headers."""

    mask: list[int]
    """As long as the completion: 1 where the agent wrote, its end-of-turn token included; 0 elsewhere."""

    reward: float | None
    """Of the whole conversation; None if it was not scored."""

    generations: int
    """Of the agent, in the completion."""


class Group(NamedTuple):
    """Conversations that started alike, whose rewards are compared."""

    name: str
    """Sample, and number of the group among those of the sample."""

    members: tuple[TokenTrajectory, ...]


def conversations(rows: Iterable[Example]) -> list[list[Example]]:
    """Rows by conversation, each in order of turns; the order of the file otherwise.

    Rows of static data belong to none and are not returned.
    """
    found: dict[tuple[str, str, int], list[Example]] = {}
    for row in rows:
        if row["log"] is not None and row["sample"] is not None and row["epoch"] is not None:
            found.setdefault((row["log"], row["sample"], row["epoch"]), []).append(row)
    return [sorted(c, key=lambda r: r["turn"] or 0) for c in found.values()]


def token_trajectory(
    conversation: Sequence[Example], render: Render, end_tokens: Collection[int]
) -> TokenTrajectory | None:
    """The tokens of a conversation up to where they are what the agent saw and wrote.

    Each generation's prompt is rendered as it was for the rollout, and must begin with all the tokens so far.
    Where it does not (the template takes reasoning out of earlier messages, or writes the system message
    elsewhere) the trajectory ends before: the policy's probabilities for what follows are those of another
    prompt. Text is tokenized again, so a reply that the model spelled in unusual tokens is trained on in
    the usual ones.

    Args:
        conversation: Its rows in order.
        render: The chat template.
        end_tokens: Any of them ends what the agent wrote; what the template puts after it the agent did not.

    Returns:
        None if not even the first generation can be told from its prompt.
    """
    first = conversation[0]
    ids = render(first["prompt"], first["tools"], True)
    start, mask, generations = len(ids), list[int](), 0
    for row in conversation:
        prompt = render(row["prompt"], row["tools"], True)
        whole = render([*row["prompt"], *row["completion"]], row["tools"], False)
        if prompt[: len(ids)] != ids or whole[: len(prompt)] != prompt:
            break
        wrote = _until_end(whole[len(prompt) :], end_tokens)
        mask += [0] * (len(prompt) - len(ids)) + [1] * len(wrote)
        ids = prompt + wrote
        generations += 1
    if not any(mask):
        return None
    score = first["score"]
    reward = None if score is None or math.isnan(score) else score
    return TokenTrajectory(str(first["sample"]), ids[:start], ids[start:], mask, reward, generations)


def _until_end(tokens: list[int], end_tokens: Collection[int]) -> list[int]:
    ends = [place for place, token in enumerate(tokens) if token in end_tokens]
    return tokens[: ends[-1] + 1] if ends else tokens


def trajectories(
    rows: Sequence[Example], render: Render, end_tokens: Collection[int], max_length: int
) -> tuple[list[TokenTrajectory], Counter[str]]:
    """The trajectories of all conversations, and why rows are in none of them.

    Reasons: `static` (no conversation of a log), `first_turn_missing`, `unscored`, `cut_by_template` (see
    `token_trajectory`), `too_long` (more than `max_length` tokens).
    """
    left_out: Counter[str] = Counter()
    made: list[TokenTrajectory] = []
    of_logs = conversations(rows)
    left_out["static"] = len(rows) - sum(map(len, of_logs))
    for conversation in of_logs:
        reason = _unusable(conversation)
        if reason is None:
            made_one = token_trajectory(conversation, render, end_tokens)
            kept = made_one.generations if made_one else 0
            left_out["cut_by_template"] += len(conversation) - kept
            if made_one is None:
                continue
            if len(made_one.prompt) + len(made_one.completion) <= max_length:
                made.append(made_one)
                continue
            left_out["too_long"] += kept
        else:
            left_out[reason] += len(conversation)
    return made, +left_out


def _unusable(conversation: Sequence[Example]) -> str | None:
    if (conversation[0]["turn"] or 1) != 1:
        return "first_turn_missing"
    score = conversation[0]["score"]
    return "unscored" if score is None or math.isnan(score) else None


def groups_of(
    trajectories: Iterable[TokenTrajectory], generations: int
) -> tuple[list[Group], Counter[str]]:
    """Groups of conversations with one initial state and the same first prompt.

    A state with more than `generations` conversations gives several groups of nearly equal size; one with
    fewer gives a group of its own size, whose advantages are taken over the conversations that are there.

    Returns:
        The groups, and reason -> generations in none: `alone` (nothing to compare with), `equal_rewards`
        (every advantage is 0).
    """
    states: dict[tuple[str, tuple[int, ...]], list[TokenTrajectory]] = defaultdict(list)
    for trajectory in trajectories:
        states[trajectory.sample, tuple(trajectory.prompt)].append(trajectory)
    groups: list[Group] = []
    left_out: Counter[str] = Counter()
    for (sample, _), members in states.items():
        parts = math.ceil(len(members) / generations)
        for number in range(parts):
            group = Group(f"{sample}/{number + 1}", tuple(members[number::parts]))
            reason = _worthless(group.members)
            if reason is None:
                groups.append(group)
            else:
                left_out[reason] += sum(m.generations for m in group.members)
    return groups, left_out


def _worthless(members: Sequence[TokenTrajectory]) -> str | None:
    if len(members) < 2:
        return "alone"
    return "equal_rewards" if len({m.reward for m in members}) == 1 else None


def in_order(groups: Sequence[Group], passes: float, seed: int) -> list[Group]:
    """The groups `passes` times over, each time in another order; of a part of a pass the first of its order."""
    rng = random.Random(seed)
    order: list[Group] = []
    for _ in range(math.ceil(passes)):
        order += rng.sample(groups, len(groups))
    return order[: max(1, round(passes * len(groups)))]
