"""GRPO on the conversations of a log: every conversation pushes with its rating above or below its group's mean.

The trainer is TRL's; in place of generating it is handed the logged conversations, whole: one sequence of
tokens each, the agent's own marked (`training/algorithms/token_trajectories.py`).

What is estimated. With rewards r_1..r_n of the conversations from one initial state, each token that the agent
wrote in conversation i gets the advantage (r_i - mean(r)) / (sd(r) + 1e-4), sd with n - 1. A step follows the
mean over the batch's agent tokens of advantage times gradient of the token's log-probability, minus `beta` times
the gradient of the divergence from the reference. There is one inner iteration, so the ratio to the old policy
is 1 and its clipping idle.

In the first step this is the on-policy policy gradient, because the checkpoint that is trained is the one that
talked. From the second step on the conversations are those of an older policy, weighted as if they were the
current one's: REINFORCE on replayed data, advantage-normalised, without importance weights. It is biased, and
with many steps or a high learning rate negative advantages can push probabilities down without bound; few
passes per iteration and `beta` keep it close. `grpo_online` draws new conversations in each step instead.

The loss stays near 0 (advantages sum to 0) and says nothing of progress; `reward` in the history is that of
the log. Log-probabilities are those at temperature 1; if the rollouts had another, say so with
trainer_options temperature=.

Source: Shao et al. 2024, arXiv:2402.03300, sec. 4.1 (advantages, objective); Yu et al. 2025,
arXiv:2503.14476, sec. 3.3 (mean over tokens); Le Roux et al. 2025, arXiv:2503.14286 (replay and its bias).
"""

import logging
import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from training.algorithms.token_trajectories import (
    Group,
    TokenTrajectory,
    groups_of,
    in_order,
    trajectories,
)
from training.base_models import LONG_RUN, CannotTrain, common_arguments, load_policy, load_tokenizer, processes
from training.examples import Example
from training.job import Job, Trained
from training.settings import Tuning

Rollout = Callable[[list[str], GRPOTrainer], dict[str, Any]]
"""TRL's `rollout_func`: prompts, each repeated for its group, to tokens and rewards in the same order."""

FIXED = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "generation_batch_size",
    "steps_per_generation",
    "num_generations",
    "num_iterations",
    "shuffle_dataset",
    "use_vllm",
)
"""What follows from `batch_size` and `generations`, and from where the conversations come."""


class Layout(NamedTuple):
    """How conversations are put into optimizer steps: whole groups, shared among the devices."""

    generations: int
    """Places in a group."""

    groups: int
    """In a step."""

    device_batch: int
    """Conversations on a device at once."""

    accumulation: int
    """Such batches in a step."""


def layout(largest: int, tuning: Tuning, count: int, *, most_groups: int | None = None) -> Layout:
    """Steps of about `batch_size` conversations: as many whole groups as fit, at least one.

    Args:
        largest: Conversations in the largest group.
        tuning: Its batch sizes.
        count: Processes. More groups are taken if the conversations cannot be shared among them otherwise.
        most_groups: In a step, if there are no more.
    """
    groups = max(1, min(tuning.batch_size // largest, most_groups or tuning.batch_size))
    while groups * largest % count:
        groups += 1
    share = groups * largest // count
    most = tuning.device_batch_size or share
    device_batch = max(n for n in range(1, min(most, share) + 1) if share % n == 0)
    return Layout(largest, groups, device_batch, share // device_batch)


def train(job: Job, rows: Sequence[Example]) -> tuple[GRPOTrainer, Trained]:
    """Train on conversations of a log.

    Args:
        job: What is to be trained.
        rows: All generations of all scored conversations, whatever their label.

    Raises:
        CannotTrain: There is nothing to train on; says what was left out.
    """
    tokenizer = load_tokenizer(job)
    made, left_out = trajectories(rows, renderer(tokenizer), end_tokens(job, tokenizer), job.tuning.max_length)
    groups, without = groups_of(made, job.tuning.generations)
    left_out += without
    if not groups:
        raise CannotTrain(_nothing(job, len(rows), left_out))
    shape = layout(max(len(g.members) for g in groups), job.tuning, processes())
    order = in_order(groups, job.tuning.passes, job.seed)
    steps = math.ceil(len(order) / shape.groups)
    # TRL drops groups that do not fill a step; empty ones fill the last
    places = [f"{place} {order[place].name if place < len(order) else 'empty'}" for place in range(steps * shape.groups)]
    replay = Replay(order, shape.generations, int(tokenizer.eos_token_id))  # pyright: ignore[reportArgumentType]
    used = sum(m.generations for g in {g.name: g for g in order}.values() for m in g.members)
    left_out["beyond_passes"] = sum(m.generations for g in groups for m in g.members) - used
    return run(job, tokenizer, places, shape, replay, used, +left_out)


def _nothing(job: Job, rows: int, left_out: Counter[str]) -> str:
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()) if count)
    advice = {
        "cut_by_template": "the chat template does not write the agent's message after its own generation prompt; "
        "use algorithm=ei or kto, or another template",
        "too_long": f"raise max_length, now {job.tuning.max_length}",
        "alone": "grpo compares conversations from the same initial state: raise epochs",
        "equal_rewards": "all conversations of a state got the same reward: raise epochs, or the temperature",
        "unscored": "look at the judges: they gave no rating",
    }
    worst = left_out.most_common(1)[0][0] if left_out else ""
    return f"{job.examples}: nothing to train on: of {rows} rows {told or 'none is there'}; {advice.get(worst, '')}"


class Replay:
    """Hands logged conversations to the trainer.

    Args:
        order: Groups as they are trained on.
        generations: Places of a group; those that it does not fill, and groups behind the last, are left
            without reward and without gradient.
        filler: Token that stands in such a place.
    """

    def __init__(self, order: Sequence[Group], generations: int, filler: int) -> None:
        self.order, self.generations, self.filler = order, generations, filler

    def __call__(self, prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        """The conversations in the places named, this process's part of the step."""
        first = trainer.accelerator.process_index * len(prompts)
        members = [
            self._member(int(prompt.split()[0]), (first + number) % self.generations)
            for number, prompt in enumerate(prompts)
        ]
        return as_rollout(members, self.filler)

    def _member(self, place: int, number: int) -> TokenTrajectory | None:
        if place >= len(self.order) or number >= len(self.order[place].members):
            return None
        return self.order[place].members[number]


def as_rollout(members: Sequence[TokenTrajectory | None], filler: int) -> dict[str, Any]:
    """Conversations as TRL's `rollout_func` returns them.

    One that is missing or unscored has reward None, which TRL leaves out of the group's mean and gives
    advantage 0, and an empty mask, so that the divergence from the reference does not move it either and
    its tokens are not counted.
    """
    empty = TokenTrajectory("", [filler], [filler], [0], None, 0)
    whole = [empty if m is None else m for m in members]
    return {
        "prompt_ids": [m.prompt for m in whole],
        "completion_ids": [m.completion for m in whole],
        "env_mask": [[0] * len(m.mask) if m.reward is None else m.mask for m in whole],
        "logprobs": None,
        "conversation_reward": [m.reward for m in whole],
    }


def rating(completions: Sequence[Any], conversation_reward: list[float | None], **_: Any) -> list[float | None]:
    """TRL's reward function: what the log says."""
    del completions
    return conversation_reward


def run(
    job: Job,
    tokenizer: Any,
    prompts: Sequence[str],
    shape: Layout,
    rollout: Rollout,
    examples: int,
    left_out: Counter[str],
) -> tuple[GRPOTrainer, Trained]:
    """One training with conversations from `rollout`.

    Args:
        job: What is to be trained.
        tokenizer: Of the base.
        prompts: One for each group, in order; a multiple of the groups in a step.
        shape: Of the steps.
        rollout: Gives the conversations.
        examples: Rows that are trained on.
        left_out: Reason -> rows that are not.
    """
    arguments = configuration(job, shape, len(prompts) // shape.groups)
    model, adapter = load_policy(job)
    with _without_noise():
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=rating,  # pyright: ignore[reportArgumentType]
            args=arguments,
            train_dataset=Dataset.from_list([{"prompt": p} for p in prompts]),
            processing_class=tokenizer,
            peft_config=adapter,
            rollout_func=rollout,  # pyright: ignore[reportArgumentType]
        )
        started = time.monotonic()
        done = trainer.train()
    state = trainer.state
    return trainer, Trained(
        train_loss=done.training_loss if done.global_step else None,
        steps=done.global_step,
        examples=examples,
        left_out=dict(left_out),
        seconds=time.monotonic() - started,
        tokens=int(state.num_input_tokens_seen) or None,
        processes=processes(),
        history=state.log_history,
        kind="model" if job.tuning.tuning == "full" else "adapter",
    )


def configuration(job: Job, shape: Layout, steps: int) -> GRPOConfig:
    """TRL's configuration.

    Raises:
        CannotTrain: `trainer_options` name something that follows from other options.
    """
    options = job.tuning.trainer_options
    if fixed := sorted(set(options) & set(FIXED)):
        raise CannotTrain(f"trainer_options {', '.join(fixed)}: set batch_size, device_batch_size and generations")
    arguments = common_arguments(job) | {
        "num_train_epochs": 1,
        "per_device_train_batch_size": shape.device_batch,
        "gradient_accumulation_steps": shape.accumulation,
        "num_generations": shape.generations,
        "shuffle_dataset": False,
        "max_completion_length": job.tuning.max_length,
        "beta": job.tuning.beta,
        "save_strategy": "steps" if steps > LONG_RUN else "no",
    }
    return GRPOConfig(**arguments | options)


@contextmanager
def _without_noise() -> Iterator[None]:
    """Keep back that `rollout_func` is experimental, and that places without a reward have none."""

    def wanted(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("All reward functions returned None")

    logger = logging.getLogger(GRPOTrainer.__module__)
    logger.addFilter(wanted)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are using 'rollout_func'")
            yield
    finally:
        logger.removeFilter(wanted)
