"""GRPO on the conversations of a log: each pushes with its rating above or below its group's mean.

The trainer is TRL's; in place of generating it is handed the logged conversations, whole: one sequence of
tokens each, the agent's own marked (`training/trainers/token_trajectories.py`).

What is estimated. With rewards r_1..r_n of the conversations from one initial state, each token that the
agent wrote in conversation i gets the advantage A = (r_i - mean(r)) / (sd(r) + 1e-4), sd with n - 1. A step
follows the gradient of the mean, over the agent's tokens in it, of min(q A, clip(q) A) less `beta` times the
divergence from the reference. q is the token's probability now over that of the policy that talked. In the
first step q is 1 and this is the on-policy policy gradient, because the checkpoint that is trained is the
one that talked. Later q says how far the replayed conversations are from the policy's own, and clipping
ends a token's pull once its probability has changed by a fifth (trainer_options epsilon, epsilon_high).
Without it, replayed negative advantages push probabilities down without bound: on the
miniature four passes made every logged reply, good ones too, e^3 times less likely.

The policy that talked is the reference where `reference` is `moving`, so its log-probabilities are at hand.
With reference=base they are only in the first iteration; later q is held at 1, each step is taken as if
the policy of that moment had talked, and `beta` and few passes alone keep the training close. `grpo_online`
draws new conversations in each step instead.

The loss is no measure of progress: without `beta` it begins at 0, because advantages sum to 0 in a group.
`reward` in the history is that of the log. Log-probabilities are those at temperature 1; if the rollouts had
another, say so with trainer_options temperature=.

Source: Shao et al. 2024, arXiv:2402.03300, sec. 4.1 (advantages, objective); Yu et al. 2025,
arXiv:2503.14476, sec. 3.3 (mean over tokens); Le Roux et al. 2025, arXiv:2503.14286 (replay without ratios).
"""

import logging
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from training.examples.example import Example
from training.examples.pairs import with_reward
from training.job import Job, Trained
from training.settings import Tuning
from training.trainers.base_models import LONG_RUN, CannotTrain, load_policy, load_tokenizer, processes
from training.trainers.fitting import Prepared, configuration, fit
from training.trainers.kto import refer_to_base
from training.trainers.rows import token_rows
from training.trainers.token_trajectories import (
    Group,
    TokenTrajectory,
    groups_of,
    in_order,
    token_trajectories,
)

Rollout = Callable[[list[str], Any], dict[str, Any]]
"""TRL's `rollout_func`: prompts, each repeated for its group, to tokens and rewards in the same order."""

FIXED = ("generation_batch_size", "shuffle_dataset", "steps_per_generation", "use_vllm")
"""TRL's options that follow from where the conversations come from."""

NEGLIGIBLE = 1e-9
"""In place of a `beta` of 0: TRL computes the reference's log-probabilities only if they have a weight."""

ADVICE = {
    "alone": "conversations of one initial state are compared; raise epochs",
    "cut_by_template": "the chat template does not write the agent's messages as they were generated",
    "equal_rewards": "all conversations of a state have the same rating; raise epochs",
    "static": "grpo needs conversations with ratings, not static data",
    "unscored": "the judges gave no rating",
    "without_beginning": "the first replies were cut off; raise max_tokens of the rollouts",
}


class Layout(NamedTuple):
    """How conversations are put into optimizer steps: whole groups, shared among the processes."""

    generations: int
    """Places in a group."""

    groups: int
    """In a step."""

    device_batch: int
    """Conversations on a device at once."""

    accumulation: int
    """Such batches in a step."""


def layout(places: int, tuning: Tuning, *, most_groups: int | None = None) -> Layout:
    """Steps of about `batch_size` conversations: as many whole groups as fit, at least one.

    Args:
        places: In a group.
        tuning: Its batch sizes.
        most_groups: In a step, if there are no more.
    """
    count = processes()
    groups = max(1, min(tuning.batch_size // places, most_groups or tuning.batch_size))
    while groups * places % count:  # each process gets as many conversations
        groups += 1
    share = groups * places // count
    most = min(tuning.device_batch_size or share, share)
    device_batch = max(n for n in range(1, most + 1) if share % n == 0)
    return Layout(places, groups, device_batch, share // device_batch)


def train(job: Job, rows: Sequence[Example]) -> Trained:
    """Fine-tune on the conversations that rows are of, whatever their labels, and save the checkpoint.

    Raises:
        CannotTrain: Nothing to compare, or something else that the message tells.
    """
    with quiet():
        return fit(prepare(job, rows), job)


def prepare(job: Job, rows: Sequence[Example]) -> Prepared:
    """The trainer with its data. Raises as `train`."""
    left_out = Counter[str]()
    tokenizer = load_tokenizer(job)
    scored = with_reward(rows, left_out)
    trajectories = token_trajectories(token_rows(scored, tokenizer, job, left_out), left_out)
    groups = groups_of(trajectories, job.tuning.generations, left_out)
    if not groups:
        raise CannotTrain(_nothing(job, len(rows), left_out))
    order = in_order(groups, job.tuning.passes, job.seed)
    used = {id(group): group.generations for group in order}
    if unused := sum(group.generations for group in groups) - sum(used.values()):
        left_out["beyond_passes"] = unused
    shape = layout(max(len(group.members) for group in order), job.tuning)
    # TRL leaves out groups that do not fill a step; empty ones fill the last
    steps = math.ceil(len(order) / shape.groups)
    names = [group.name for group in order] + ["empty"] * (steps * shape.groups - len(order))
    replay = Replay(order, shape.generations, filler(tokenizer))
    at_hand = job.start is None or job.tuning.reference == "moving"
    trainer = trainer_of(job, tokenizer, names, shape, replay, kind=ReplayTrainer if at_hand else GRPOTrainer)
    return Prepared(trainer, tokenizer, sum(used.values()), left_out)


def _nothing(job: Job, rows: int, left_out: Mapping[str, int]) -> str:
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
    most = max(left_out, key=lambda reason: left_out[reason], default="")
    advice = f"; {ADVICE[most]}" if most in ADVICE else ""
    return f"{job.examples}: of {rows} rows none is left to train on: {told}{advice}"


class ReplayTrainer(GRPOTrainer):
    """TRL's trainer for conversations that its reference policy held, which need not be its own any more."""

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        batch = super()._generate_and_score_completions(inputs)
        batch["old_per_token_logps"] = batch["ref_per_token_logps"]
        return batch


class Replay:
    """Hands conversations of a log to the trainer.

    Args:
        order: The groups as they are trained on.
        places: In a group. What a group does not fill, and what comes after the last, stays empty.
        filler: Token that stands in an empty place.
    """

    def __init__(self, order: Sequence[Group], places: int, filler: int) -> None:
        self.order, self.places, self.filler = order, places, filler

    def __call__(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """The conversations of this process's part of a step."""
        first = trainer.accelerator.process_index * len(prompts)
        members = [
            self._member(place_of(prompt), (first + number) % self.places)
            for number, prompt in enumerate(prompts)
        ]
        return as_rollout(members, self.filler)

    def _member(self, place: int, number: int) -> TokenTrajectory | None:
        if place >= len(self.order) or number >= len(self.order[place].members):
            return None
        return self.order[place].members[number]


def as_rollout(members: Sequence[TokenTrajectory | None], filler: int) -> dict[str, Any]:
    """Conversations as TRL wants them of a `rollout_func`.

    One that is missing or has no reward is given the reward None, which TRL leaves out of its group's mean
    and answers with advantage 0; and an empty mask, so that the divergence from the reference does
    not move it and its tokens are not counted.
    """
    empty = TokenTrajectory("", 0, [filler], [filler], [0], None, 0)
    whole = [empty if m is None else m for m in members]
    return {
        "prompt_ids": [m.prompt for m in whole],
        "completion_ids": [m.completion for m in whole],
        "env_mask": [[0] * len(m.mask) if m.reward is None else m.mask for m in whole],
        "logprobs": None,
        "of_log": [m.reward for m in whole],
    }


def rating(completions: Sequence[Any], of_log: list[float | None], **_: Any) -> list[float | None]:
    """TRL's reward function: what the log says."""
    del completions
    return of_log


def trainer_of(
    job: Job,
    tokenizer: PreTrainedTokenizerBase,
    names: Sequence[str],
    shape: Layout,
    rollout: Rollout,
    *,
    kind: type[GRPOTrainer] = GRPOTrainer,
    save_every: int | None = None,
) -> GRPOTrainer:
    """The trainer.

    Args:
        job: What is to be trained.
        tokenizer: Of the base.
        names: Of the groups in the order of training; as many as fill their steps. `rollout` gets the
            place and the name, see `place_of`.
        shape: Of the steps.
        rollout: Gives the conversations.
        kind: Of the trainer.
        save_every: Steps after which the trainer keeps a checkpoint to resume from; if not given, as for the
            other algorithms.

    Raises:
        CannotTrain: An option that cannot be used; a checkpoint to start from that is broken.
    """
    if fixed := sorted(set(job.tuning.trainer_options) & set(FIXED)):
        raise CannotTrain(
            f"trainer_options: {', '.join(fixed)} cannot be set; batch_size, device_batch_size and "
            "generations say how conversations are put into steps"
        )
    full = job.tuning.tuning == "full"
    config = configuration(
        GRPOConfig,
        job,
        examples=None,
        num_train_epochs=1,
        per_device_train_batch_size=shape.device_batch,
        gradient_accumulation_steps=shape.accumulation,
        num_generations=shape.generations,
        shuffle_dataset=False,
        max_completion_length=job.tuning.max_length,
        beta=max(job.tuning.beta, NEGLIGIBLE) if kind is ReplayTrainer else job.tuning.beta,
        save_strategy="steps" if save_every or len(names) / shape.groups > LONG_RUN else "no",
        save_steps=save_every or LONG_RUN // 2,
        # TRL loads the reference of a full model itself
        model_init_kwargs={"revision": job.revision} if full and job.revision else None,
    )
    model, adapter = load_policy(job)
    if full and job.tuning.reference == "base":
        model.config._name_or_path = job.base  # where TRL loads it from
    trainer = kind(
        model=model,
        reward_funcs=rating,  # pyright: ignore[reportArgumentType]
        args=config,
        train_dataset=Dataset.from_list([{"prompt": f"{at} {name}"} for at, name in enumerate(names)]),
        processing_class=tokenizer,
        peft_config=adapter,
        rollout_func=rollout,  # pyright: ignore[reportArgumentType]
    )
    refer_to_base(trainer, job)
    return trainer


def place_of(prompt: str) -> int:
    """Place of a group in the order of training, from 0."""
    return int(prompt.partition(" ")[0])


def filler(tokenizer: PreTrainedTokenizerBase) -> int:
    """A token for places without a conversation; no gradient comes from it."""
    return int(tokenizer.eos_token_id or 0)  # pyright: ignore[reportArgumentType]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back TRL's notes that `rollout_func` is experimental and that empty places have no reward."""

    def wanted(record: logging.LogRecord) -> bool:
        return "All reward functions returned None" not in record.getMessage()

    logger = logging.getLogger(GRPOTrainer.__module__)
    logger.addFilter(wanted)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are using 'rollout_func'")
            yield
    finally:
        logger.removeFilter(wanted)
