"""The steps of one iteration. What one left in the run folder is taken when it is there."""

import hashlib
import json
import random
import shutil
import sys
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

from analysis.trajectories import read_trajectories
from providers.chat.choice import TemplateChoice
from scenarios.files.whole import write_json, write_jsonl
from training.errors import RunError
from training.examples.example import Example
from training.examples.from_logs import Mark, rows_of_log
from training.examples.mixing import StaticData
from training.job import Job, read_trained
from training.launch.trainer_process import Trainer
from training.loop.divergence import Question, measure_divergence
from training.loop.monitoring import Refit, drift, level_of, read_refitted, refit
from training.loop.rehearsal import users_of
from training.rollouts.adapter_effect import ADAPTER_CHECK
from training.rollouts.evals import Rollout, finished_log
from training.rollouts.policies import base_weights, policy
from training.rollouts.processes import RolloutProcesses
from training.runs.integrity import mend, write_down
from training.runs.run_folder import Iteration, RunFolder
from training.selection.picking import penalised
from training.selection.plan import Plan, plan_of
from training.selection.selecting import Selection, choose
from training.settings import MINIATURE, Choosing, LoopSettings, Tuning, VetoMode

VETO_FORMS: dict[VetoMode, str] = {
    "binary": "binary",
    "negative": "binary",
    "constitutional": "constitutional",
    "five_point": "five_point",
    "five_point_negative": "five_point",
}
"""In which form the veto's judge is asked."""


class Steps:
    """The steps of a run.

    Args:
        folder: Where everything lies.
        display: Inspect's display during rollouts; `log` shows nothing and, unlike `none`, draws nothing.
    """

    def __init__(self, folder: RunFolder, display: str = "log") -> None:
        self.folder = folder
        self.settings: LoopSettings = folder.settings
        self.display = display
        self.own_process = self.settings.model != MINIATURE
        """A real model's rollouts run in a process of their own, so that its memory is free for training."""
        self.processes = RolloutProcesses(users_of, own_process=self.own_process)
        """That hold the conversations of all rounds; whoever makes this ends them."""
        self.shown_plan: Plan | None = None
        """The last that this process printed."""

    @cached_property
    def base(self) -> str:
        """Folder or hub id of the weights that everything starts from. The miniature is made if need be."""
        return base_weights(self.settings)

    # -- rollouts ---------------------------------------------------------------------------------

    def heldout(self, at: Iteration) -> Path:
        """Log of the iteration's model with held-out users, the same users in every iteration."""
        s = self.settings
        rollout = self._rollout(at, at.heldout, self.heldout_arguments(), s.heldout_epochs, s.seed)
        self._must_be_there(rollout, at, at.divergence)
        rollout = rollout.model_copy(update={"adapter_check": at.folder / ADAPTER_CHECK})
        trains = at.number < s.iterations and not self.own_process  # and leaves no core
        return self.processes.roll_out(rollout, s.processes or (1 if trains else None))

    def rollouts(self, at: Iteration) -> Path:
        """Log of the iteration's model with users of the train split."""
        s = self.settings
        arguments = self.train_arguments(at)
        rollout = self._rollout(at, at.rollouts, arguments, s.epochs, self._seed(at.number, "calls"))
        self._must_be_there(rollout, at, at.checkpoint)
        return self.processes.roll_out(rollout, s.processes)

    def heldout_arguments(self) -> dict[str, Any]:
        """The task's arguments for held-out users."""
        s = self.settings
        arguments = {
            "split": "heldout",
            "states": s.heldout_states or s.states,
            "gameable": s.heldout_gameable,
            "topics": s.heldout_topics,
            "seed": s.seed,
        }
        return _given(arguments | self._monitor_arguments())

    def train_arguments(self, at: Iteration) -> dict[str, Any]:
        """The task's arguments for users of the train split."""
        s = self.settings
        drawn = self._seed(at.number if s.fresh_states else 0, "states")
        arguments = {
            "split": "train",
            "states": s.states,
            "gameable": 0.0 if s.control == "no_gameable_users" else s.gameable,
            "topics": s.topics,
            "seed": drawn,
        }
        if s.veto_mode != "none":
            arguments["veto_scored"] = VETO_FORMS[s.veto_mode]
        return _given(arguments | self._monitor_arguments())

    def _monitor_arguments(self) -> dict[str, Any]:
        return {
            "monitor": None if self.settings.monitor is None else str(Path(self.settings.monitor).resolve())
        }

    def _rollout(
        self, at: Iteration, folder: Path, arguments: dict[str, Any], epochs: int, seed: int
    ) -> Rollout:
        s = self.settings
        return Rollout(
            folder=folder,
            task=s.task,
            task_args=s.task_args | arguments,
            model=policy(s, self.folder.path, self.folder.checkpoint_before(at.number)).model,
            model_args=s.model_args,
            model_base_url=s.model_base_url,
            roles=s.roles,
            epochs=epochs,
            seed=seed,
            log_buffer=max(10, arguments.get("states", 0) * epochs // 2),
            max_connections=s.max_connections,
            temperature=s.temperature,
            reply_tokens=s.reply_tokens,
            display=self.display,
        )

    def _must_be_there(self, rollout: Rollout, at: Iteration, later: Path) -> None:
        if later.exists() and finished_log(rollout) is None:
            raise RunError(
                f"{rollout.folder} holds no finished log, but {later} was made from it; put the log back, or "
                f"delete {at.folder} and the iterations after it"
            )

    # -- training ---------------------------------------------------------------------------------

    def select(self, at: Iteration, log: Path) -> Plan:
        """Write what is trained on: the table of all conversations, the rows, the arithmetic."""
        s = self.settings
        trajectories = read_trajectories(log, rating=s.score, harm=s.harm_score)
        rules = Choosing.model_validate(s.model_dump(include=set(Choosing.model_fields)))
        rules = rules.model_copy(update={"monitor_level": level_of(s)})
        trajectories = [penalised(trajectory, rules) for trajectory in trajectories]
        selection = choose(trajectories, rules, algorithm=s.algorithm, seed=self._seed(at.number, "select"))
        selection.write_table(at.selection)
        left_out: Counter[str] = Counter()
        rows = list(
            rows_of_log(
                log,
                _marks(selection),
                left_out=left_out,
                checkpoint=policy(s, self.folder.path, self.folder.checkpoint_before(at.number)).checkpoint,
                run=self.folder.path,
            )
        )
        static = self._static(at, len(rows))
        write_jsonl(at.examples, [*rows, *static])
        plan = plan_of(selection, rows, static, self.tuning(at), left_out)
        write_json(at.plan, plan.model_dump(mode="json"))
        return plan

    def _static(self, at: Iteration, rows: int) -> list[Example]:
        s = self.settings
        if s.mix is None:
            return []
        data = StaticData.open(s, algorithm=s.algorithm)
        earlier = [self.folder.iteration(number).examples for number in range(at.number)]
        return data.draw(rows, seed=s.seed, iteration=at.number, used=data.used(earlier))

    def check_trained(self, at: Iteration, log: Path) -> None:
        """Make sure that what a finished training was given and gave is what it was; see `integrity.mend`."""
        mend(at, lambda again: self.select(again, log))

    def begin_training(self, at: Iteration, trainer: Trainer) -> None:
        """Fine-tune on the selected rows.

        Beside a trainer that stays, this iteration's model can be measured meanwhile; any other is waited
        for, since it needs the memory that measuring would take.
        """
        at.whole.unlink(missing_ok=True)  # of a checkpoint that was deleted
        trainer.begin(self.job(at), at.job)
        if not trainer.stays:
            self.finish_training(at, trainer)

    def job(self, at: Iteration) -> Job:
        """What the trainer is told."""
        s = self.settings
        return Job(
            base=self.base,
            revision=s.revision,
            start=_absolute(self.folder.checkpoint_before(at.number)),
            **self._template(),
            examples=at.examples.resolve(),
            out=at.checkpoint.resolve(),
            scratch=at.scratch.resolve(),
            tuning=self.tuning(at),
            seed=self._seed(at.number, "train"),
            report_to=list(s.report_to),
            run_name=f"{self.folder.path.name}-{at.number:02d}",
            online=self._online(at) if s.algorithm == "grpo_online" else None,
        )

    def finish_training(self, at: Iteration, trainer: Trainer) -> None:
        """Wait until the checkpoint is there; nothing if no training was begun."""
        trainer.finish()
        shutil.rmtree(at.scratch, ignore_errors=True)
        if at.checkpoint.exists() and not at.whole.exists():
            write_down(at)

    def _template(self) -> dict[str, Any]:
        """The chat template of the rollouts with its variables, for all that renders them again."""
        choice = TemplateChoice.of(self.settings.model_args)
        return {
            "chat_template": _absolute_path(choice.chat_template),
            "thinking": choice.thinking,
            "template_options": dict(choice.template_options or {}),
        }

    def tuning(self, at: Iteration) -> Tuning:
        """The iteration's training settings, the learning rate's decay applied."""
        tuning = Tuning.model_validate(self.settings.model_dump(include=set(Tuning.model_fields)))
        rate = tuning.learning_rate * tuning.learning_rate_decay**at.number
        return tuning.model_copy(update={"learning_rate": rate})

    # -- measuring --------------------------------------------------------------------------------

    def diverge(self, at: Iteration, heldout: Path) -> None:
        """Measure how far the iteration's model is from the base."""
        s = self.settings
        checkpoint = self.folder.checkpoint_before(at.number)
        if s.kl_replies == 0 or self._is_measured(at):
            return
        if checkpoint is None:
            write_json(at.divergence, {"kl": 0.0, "kl_per_reply": 0.0, "replies": 0, "tokens": 0})
            return
        places = sorted(
            {(t.sample, t.epoch) for t in read_trajectories(heldout, rating=s.score, harm=s.harm_score)}
        )
        rng = random.Random(f"{s.seed}:divergence")
        asked = rng.sample(places, min(s.kl_replies, len(places)))
        rows = list(rows_of_log(heldout, {place: Mark(None, None, None, None) for place in asked}))
        question = Question(
            base=self.base,
            revision=s.revision,
            **self._template(),
            checkpoint=checkpoint.resolve(),
            dtype=s.dtype,
            replies=at.folder / "replies.jsonl",
            out=at.divergence,
        )
        measure_divergence(question, rows[: s.kl_replies], own_process=self.own_process)
        question.replies.unlink(missing_ok=True)

    def watch(self, at: Iteration, rollouts: Path | None) -> dict[str, Any] | None:
        """What the frozen monitor and one fitted again see of the iteration's held-out conversations.

        Args:
            at: The iteration; those before it are complete.
            rollouts: Its log of the users trained on; None in the last one.
        """
        s = self.settings
        if s.monitor is None:
            return None
        logs = {n: self.heldout(self.folder.iteration(n)) for n in range(at.number + 1)}
        found: dict[str, Any] = {"frozen": drift(logs, s)}
        if s.monitor_refit and rollouts is not None:
            if read_refitted(at.refitted) is None:
                refit(self._refit(at), own_process=self.own_process)
            found["refitted"] = read_refitted(at.refitted)
        return found

    def _refit(self, at: Iteration) -> Refit:
        s = self.settings
        template = self._template()
        capture = {
            "revision": s.revision,
            "compute_dtype": s.dtype,
            "adapter": _absolute(self.folder.checkpoint_before(at.number)),
            "template": template["chat_template"],
            "thinking": template["thinking"],
            "template_options": template["template_options"] or None,
        }
        assert s.monitor is not None
        return Refit(
            number=at.number,
            base=self.base,
            capture={k: str(v) if isinstance(v, Path) else v for k, v in _given(capture).items()},
            monitor=Path(s.monitor).resolve(),
            harm_score=s.harm_score,
            harmful_from=s.harmful_from,
            rollouts=at.rollouts.resolve(),
            heldout=at.heldout.resolve(),
            seed=self._seed(at.number, "monitor"),
            folder=at.monitor.resolve(),
            out=at.refitted.resolve(),
        )

    def _is_measured(self, at: Iteration) -> bool:
        if not at.divergence.exists():
            return False
        try:
            self.divergence(at)
        except (ValueError, KeyError, TypeError) as error:
            told = f"damaged ({type(error).__name__}: {error}), measured again"
            print(f"{at.divergence}: {told}", file=sys.stderr, flush=True)
            return False
        return True

    def divergence(self, at: Iteration) -> float | None:
        """Nats per token from the base; None if it was not measured."""
        return json.loads(at.divergence.read_text(encoding="utf-8"))["kl"] if at.divergence.exists() else None

    def trained(self, at: Iteration) -> dict[str, Any]:
        """What selection and training say of themselves, from their files."""
        plan, done = (
            Plan.model_validate_json(at.plan.read_text(encoding="utf-8")),
            read_trained(at.checkpoint),
        )
        return {
            "n_selected": plan.n_selected,
            "n_examples": done.examples,
            "train_loss": done.train_loss,
            "seconds_train": done.seconds,
        }

    def _seed(self, iteration: int, what: str) -> int:
        """A seed for one thing in one iteration, from the run's."""
        told = f"{self.settings.seed}:{iteration}:{what}".encode()
        return int.from_bytes(hashlib.blake2b(told, digest_size=4).digest(), "big") >> 1

    def _online(self, at: Iteration) -> dict[str, Any]:
        s = self.settings
        return {
            "task": s.task,
            "task_args": s.task_args | self.train_arguments(at),
            "model": s.model,
            "max_connections": s.max_connections,
            "model_args": s.model_args,
            "model_base_url": s.model_base_url,
            "roles": s.roles,
            "score": s.score,
            "log_dir": str((at.folder / "online").resolve()),
            "seed": self._seed(at.number, "online"),
        }


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.resolve()


def _absolute_path(told: str | None) -> Path | None:
    return None if told is None else Path(told).resolve()


def _marks(selection: Selection) -> dict[tuple[str, int], Mark]:
    """What is trained on, and as what."""
    return {
        (c.trajectory.sample, c.trajectory.epoch): Mark(c.label, c.reward, c.rank, c.group)
        for c in selection.taken
    }
