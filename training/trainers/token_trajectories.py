"""Conversations as the policy gradient needs them: tokens, with those that the agent wrote marked."""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from training.examples.from_logs import Example
from training.trainers.rows import TokenRow


class TokenTrajectory(NamedTuple):
    """A conversation, or the first part of it, in tokens."""

    sample: str
    """Id of the initial state."""

    epoch: int
    prompt: list[int]
    """What the agent saw before it first wrote."""

    completion: list[int]
    """Everything after: the agent's generations and, between them, users, tool results and headers."""

    mask: list[int]
    """As long as the completion: 1 where the agent wrote, the end of its turn included; 0 elsewhere."""

    reward: float | None
    """Of the whole conversation; None if there is none, and then it is not trained on."""

    generations: int
    """Of the agent, in the completion."""


class Group(NamedTuple):
    """Conversations that started alike, whose rewards are compared."""

    name: str
    """Sample, and number of the group among those of the sample."""

    members: tuple[TokenTrajectory, ...]

    @property
    def generations(self) -> int:
        """Of the agent, in all members."""
        return sum(m.generations for m in self.members)


def with_reward(rows: Sequence[Example], left_out: Counter[str]) -> list[Example]:
    """The rows that a reward can be given to.

    Args:
        rows: What there is.
        left_out: Counts the others: `static` (of no conversation in a log), `unscored`.
    """
    kept = []
    for row in rows:
        if row["sample"] is None:
            left_out["static"] += 1
        elif row["score"] is None or math.isnan(row["score"]):
            left_out["unscored"] += 1
        else:
            kept.append(row)
    return kept


def token_trajectories(rows: Iterable[TokenRow], left_out: Counter[str]) -> list[TokenTrajectory]:
    """The conversations that rows are of, in the order in which they first come.

    The prompt of each generation must begin with all the tokens so far: with what the agent saw and wrote
    before, as it saw and wrote it. Where it does not, because the template takes reasoning out of earlier
    messages or writes them in another way, the trajectory ends: what follows was written after another
    prompt. Text is tokenized again, so a reply that was sampled in unusual tokens is trained on in the
    usual ones.

    Args:
        rows: Generations, of any number of conversations.
        left_out: Counts generations in no trajectory: `cut_by_template`, and `without_beginning`, where the
            first generation of a conversation is not among the rows.
    """
    conversations: dict[tuple[str | None, str | None, int | None], list[TokenRow]] = defaultdict(list)
    for row in rows:
        conversations[row.example["log"], row.example["sample"], row.example["epoch"]].append(row)
    made = []
    for conversation in conversations.values():
        ordered = sorted(conversation, key=lambda row: row.example["turn"] or 1)
        if (ordered[0].example["turn"] or 1) != 1:
            left_out["without_beginning"] += len(ordered)
            continue
        trajectory = _joined(ordered)
        made.append(trajectory)
        if cut := len(ordered) - trajectory.generations:
            left_out["cut_by_template"] += cut
    return made


def _joined(rows: Sequence[TokenRow]) -> TokenTrajectory:
    first = rows[0]
    ids, mask, generations = list(first.prompt), list[int](), 0
    for row in rows:
        if row.prompt[: len(ids)] != ids:
            break
        mask += [0] * (len(row.prompt) - len(ids)) + [1] * len(row.completion)
        ids = row.prompt + row.completion
        generations += 1
    start = len(first.prompt)
    return TokenTrajectory(
        sample=str(first.example["sample"]),
        epoch=first.example["epoch"] or 1,
        prompt=ids[:start],
        completion=ids[start:],
        mask=mask,
        reward=first.example["score"],
        generations=generations,
    )


def groups_of(trajectories: Iterable[TokenTrajectory], most: int, left_out: Counter[str]) -> list[Group]:
    """Groups of conversations with the same initial state and the same first prompt.

    A state with more than `most` conversations gives several groups of nearly equal size. One with fewer
    gives a group of its own size: dropping it would lose states where judges failed or a veto struck, and
    an advantage over two conversations is as unbiased as one over eight, only noisier.

    Args:
        trajectories: With rewards.
        most: Conversations in a group; one more where one would be left alone.
        left_out: Counts generations in no group: `alone` (nothing to compare with), and `equal_rewards`
            (every advantage is 0, so there is no gradient).
    """
    states: dict[tuple[str, tuple[int, ...]], list[TokenTrajectory]] = defaultdict(list)
    for trajectory in trajectories:
        states[trajectory.sample, tuple(trajectory.prompt)].append(trajectory)
    groups = []
    for (sample, _), members in states.items():
        parts = min(math.ceil(len(members) / most), max(1, len(members) // 2))  # nobody is left alone
        for number in range(parts):
            group = Group(f"{sample}/{number + 1}", tuple(members[number::parts]))
            if reason := _worthless(group):
                left_out[reason] += group.generations
            else:
                groups.append(group)
    return groups


def _worthless(group: Group) -> str | None:
    if len(group.members) < 2:
        return "alone"
    return "equal_rewards" if len({m.reward for m in group.members}) == 1 else None


def in_order(groups: Sequence[Group], passes: float, seed: int) -> list[Group]:
    """The groups `passes` times over, each time in another order; of half a pass half of them."""
    rng = random.Random(f"{seed}:order")
    order = []
    for _ in range(math.ceil(passes)):
        order += rng.sample(groups, len(groups))
    return order[: max(1, round(passes * len(groups)))]
