"""GRPO with new conversations in each step: the policy as it is talks with simulated users through Inspect.

In a step, each of its initial states is talked about `generations` times in one Inspect eval of the task, so
tools, several turns, the run-time veto and every family work as in an evaluation, and every reward stands in
a log: `<log_dir>/step_0000-<digest>/*.eval`, with what was counted in `step_0000.json` beside it. From the
log the trajectories are built as in `training/trainers/grpo.py`, whose docstring says what is estimated;
here the policy that talked is the one that is trained, in every step. A conversation that was not scored, or
ended in an error, has no reward and gives no gradient; it is never 0.

One process. The rollouts run in it, beside the model in training: of a model of `local/` there are two copies
in memory, one that talks and one that is trained, and the adapters of all steps stay with the first. For
more, let a vLLM server talk (`vllm/...` with model_base_url).

A step that was rolled out before the process was killed is not rolled out again if training comes to the same
weights again: policies are named after their content.

Source: Shao et al. 2024, arXiv:2402.03300, sec. 4.1.
"""

import hashlib
import json
import math
import random
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase

from analysis.trajectories import Trajectory, read_trajectories
from scenarios.files.whole import write_json
from training.errors import RunError
from training.examples.example import Example
from training.examples.from_logs import Mark, rows_of_log
from training.examples.pairs import with_reward
from training.job import Job, Trained
from training.rollouts.evals import Rollout, roll_out
from training.trainers.base_models import CannotTrain, load_tokenizer, processes, write_weights
from training.trainers.fitting import Prepared, fit
from training.trainers.grpo import as_rollout, filler, layout, quiet, trainer_of
from training.trainers.rows import token_rows
from training.trainers.token_trajectories import TokenTrajectory, token_trajectories

SAVE_EVERY = 10
"""Steps after which the trainer keeps a checkpoint to resume from; a step takes as long as its rollouts."""


class Online(BaseModel):
    """How conversations are rolled out; `job.online`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    """Task file, as in `training/rollouts/evals.py`."""

    task_args: dict[str, Any] = {}
    model: str
    """The model under training without a checkpoint: `miniature/agent`, `local/<base>`, `vllm/<base>`."""

    model_args: dict[str, Any] = {}
    model_base_url: str | None = None
    roles: dict[str, str] = {}
    score: str = "preference"
    """The reward."""

    log_dir: Path
    """Gets a folder with a log for each step, and beside it what was counted in the step."""

    seed: int
    samples: list[str] | None = None
    """Ids of the initial states; by default those that the job's examples are of."""

    max_connections: int | None = None


def train(job: Job, rows: Sequence[Example]) -> Trained:
    """Fine-tune on conversations that are held during the training, and save the checkpoint.

    Args:
        job: `passes` counts how often each initial state is talked about.
        rows: Tell the initial states, if `job.online` does not; they are not trained on.

    Raises:
        CannotTrain: More than one process; an eval that failed; a step without a single reward.
    """
    with quiet():
        return fit(prepare(job, rows), job)


def prepare(job: Job, rows: Sequence[Example]) -> Prepared:
    """The trainer with its rollouts. Raises as `train`."""
    if processes() > 1:
        raise CannotTrain(
            f"grpo_online runs in one process, not {processes()}: drop the launcher and let a vLLM server "
            "talk, or use algorithm=grpo, which trains on a finished log"
        )
    online = _online(job)
    states = online.samples or list(dict.fromkeys(row["sample"] for row in rows if row["sample"] is not None))
    if not states:
        raise CannotTrain(f"{job.examples}: no initial state to talk about; give online.samples")
    tokenizer = load_tokenizer(job)
    shape = layout(job.tuning.generations, job.tuning, most_groups=len(states))
    names = states_in_order(states, job.tuning.passes, shape.groups, job.seed)
    rollouts = OnlineRollouts(job, online, tokenizer, len(names) // shape.groups)
    trainer = trainer_of(job, tokenizer, names, shape, rollouts, save_every=SAVE_EVERY)
    return Prepared(trainer, tokenizer, 0, {}, recount=rollouts.counted)


def states_in_order(states: Sequence[str], passes: float, groups: int, seed: int) -> list[str]:
    """The initial states for whole steps of `groups`, about `passes` times over.

    In each pass every state comes once, in another order, and no step has a state twice.

    Args:
        states: At least `groups`.
        passes: Over the states.
        groups: States in a step.
        seed: Of the order.
    """
    rng = random.Random(f"{seed}:order")
    count = groups * max(1, round(passes * len(states) / groups))
    order: list[str] = []
    while len(order) < count:
        begun = order[len(order) // groups * groups :]  # of a step that the last pass did not fill
        fresh = [s for s in states if s not in begun]
        rng.shuffle(fresh)
        room = groups - len(begun) if begun else 0
        later = fresh[room:] + begun
        rng.shuffle(later)
        order += fresh[:room] + later
    return order[:count]


def _online(job: Job) -> Online:
    try:
        return Online.model_validate(job.online or {})
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise CannotTrain(f"job.online does not say how to roll out: {told}") from error


class OnlineRollouts:
    """TRL's `rollout_func`: the conversations of one step.

    Args:
        job: What is trained.
        online: How to roll out.
        tokenizer: Of the base.
        steps: In the training.
    """

    def __init__(self, job: Job, online: Online, tokenizer: PreTrainedTokenizerBase, steps: int) -> None:
        self.job, self.online, self.tokenizer, self.steps = job, online, tokenizer, steps

    def __call__(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """Save the policy, let it talk, and read the log.

        Raises:
            CannotTrain: The eval failed, or gave no reward at all.
        """
        step = int(trainer.state.global_step)
        samples = [prompt.partition(" ")[2] for prompt in prompts]
        policy = self._saved(trainer, step)
        try:
            log = self._talked(policy, step, samples)
            found = self._trajectories(log, step, samples)
        except RunError as error:
            raise CannotTrain(str(error)) from error
        shutil.rmtree(policy)
        epochs = Counter[str]()
        members: list[TokenTrajectory | None] = []
        for sample in samples:
            epochs[sample] += 1
            members.append(found.get((sample, epochs[sample])))
        return as_rollout(members, filler(self.tokenizer))

    def counted(self) -> tuple[int, Mapping[str, int]]:
        """Generations that were trained on, and reason -> those that were not, over all steps."""
        trained, left_out = 0, Counter[str]()
        for step in range(self.steps):
            counts = json.loads(self._counts(step).read_text(encoding="utf-8"))
            trained += counts["trained"]
            left_out.update(counts["left_out"])
        return trained, left_out

    def _counts(self, step: int) -> Path:
        return self.online.log_dir / f"step_{step:04d}.json"

    def _saved(self, trainer: Any, step: int) -> Path:
        """Folder of the policy, named after the step and its weights, so that a name is never used again."""
        folder = self.job.scratch / "policies"
        unfinished = folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            write_weights(trainer.accelerator.unwrap_model(trainer.model), self.job, unfinished, None)
            self.tokenizer.save_pretrained(unfinished)
        except (OSError, SafetensorError) as error:
            raise CannotTrain(f"{folder}: the policy of step {step} could not be written: {error}") from error
        digest = hashlib.sha256()
        for file in sorted(unfinished.glob("*.safetensors")):
            digest.update(file.read_bytes())
        policy = folder / f"step_{step:04d}-{digest.hexdigest()[:12]}"
        shutil.rmtree(policy, ignore_errors=True)
        return unfinished.rename(policy)

    def _talked(self, policy: Path, step: int, samples: Sequence[str]) -> Path:
        """Log of the step's conversations; a finished one of the same policy is taken as it is."""
        online, full = self.online, self.job.tuning.tuning == "full"
        folder = online.log_dir / policy.name
        for other in online.log_dir.glob(f"step_{step:04d}-*"):
            if other != folder:
                shutil.rmtree(other)  # of a policy that was given up when the process was killed
        local = full and online.model.startswith("local/")
        rollout = Rollout(
            folder=folder,
            task=online.task,
            task_args=online.task_args,
            model=f"local/{policy}" if local else f"{online.model}:{policy}",
            model_args=online.model_args,
            model_base_url=online.model_base_url,
            roles=online.roles,
            epochs=self.job.tuning.generations,
            sample_ids=sorted(set(samples)),
            seed=online.seed + step,
            max_connections=online.max_connections,
            display="none",
        )
        # a full model is loaded anew for each step, and only the end of a process gives its memory back
        with torch.random.fork_rng():
            return roll_out(rollout, own_process=full)

    def _trajectories(
        self, log: Path, step: int, samples: Sequence[str]
    ) -> dict[tuple[str, int], TokenTrajectory]:
        """Trajectories by sample and epoch; writes what was counted."""
        talked = read_trajectories(log, rating=self.online.score, harm=self.online.score)
        if missing := sorted(set(samples) - {t.sample for t in talked}):
            raise CannotTrain(
                f"{log}: the task has no initial state {missing[0]}; job.online.task_args must draw the "
                "states that the examples are of"
            )
        left_out = Counter[str]()
        marks = {(t.sample, t.epoch): Mark(None, _reward(t), None, None) for t in talked}
        rows = list(rows_of_log(log, marks, left_out=left_out))
        scored = with_reward(rows, left_out)
        if not scored:
            raise CannotTrain(
                f"{log}: none of {len(talked)} conversations has a {self.online.score}; see its log"
            )
        made = token_trajectories(token_rows(scored, self.tokenizer, self.job, left_out), left_out)
        counts = {"step": step, "conversations": len(talked), "trained": sum(t.generations for t in made)}
        write_json(self._counts(step), counts | {"left_out": dict(left_out)})
        return {(t.sample, t.epoch): t for t in made}


def _reward(talked: Trajectory) -> float | None:
    usable = talked.problem is None and not math.isnan(talked.rating)
    return talked.rating if usable else None
