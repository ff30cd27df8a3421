"""Conversations as the policy gradient needs them: tokens, with those that the agent wrote marked."""

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from training.examples import pairs
from training.examples.pairs import whole_conversations
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
    made: list[TokenTrajectory] = []
    for conversation in whole_conversations(rows, lambda row: row.example, left_out):
        trajectory = _joined(conversation)
        made.append(trajectory)
        if cut := len(conversation) - trajectory.generations:
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
    """Groups of conversations with the same initial state and the same first prompt, see `examples/pairs.py`.

    Args:
        trajectories: With rewards.
        most: Conversations in a group; one more where one would be left alone.
        left_out: Counts generations in no group: `alone`, `equal_rewards`.
    """
    found = pairs.groups_of(
        trajectories, most, state=lambda t: (t.sample, tuple(t.prompt)), reward=lambda t: t.reward
    )
    for reason, members in found.left_out:
        left_out[reason] += sum(member.generations for member in members)
    return [Group(f"{one.members[0].sample}/{one.number}", one.members) for one in found.groups]


def in_order(groups: Sequence[Group], passes: float, seed: int) -> list[Group]:
    """The groups `passes` times over, each time in another order; of half a pass half of them."""
    rng = random.Random(f"{seed}:order")
    order = []
    for _ in range(math.ceil(passes)):
        order += rng.sample(groups, len(groups))
    return order[: max(1, round(passes * len(groups)))]
