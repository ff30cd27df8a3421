"""The task of a run, looked at before anybody is paid to talk: its options, its users, its scores."""

import difflib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalLog
from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    get_model,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from scenarios.conversations.roles import ROLES
from training.errors import RunError
from training.examples.from_logs import Mark, rows_of_log
from training.rollouts.evals import Rollout, begun

STAND_IN = "stand_in"
"""Provider whose model plays everybody, at no cost."""

CONVERSATIONS = 8
"""That are held with it at most."""

SAID = "I see."

OWN_MODEL = ("monitor", "escalate", "between")
"""Task arguments that look at the weights of the model under test, which are not loaded here."""


class StandIn(ModelAPI):
    """Says always the same."""

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """The answer; with its size, so that no tokenizer is fetched to count it."""
        del input, tools, tool_choice, config
        output = ModelOutput.from_content(self.model_name, SAID)
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output


@modelapi(name=STAND_IN)
def _stand_in() -> type[ModelAPI]:
    return StandIn


def scores_of(rollout: Rollout) -> list[str]:
    """Names of the scores that a task gives. Nobody talks.

    Raises:
        RunError: The task cannot be made with these options; says why.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = _begun(rollout, Path(folder), run_samples=False)
    if not log.eval.dataset.samples:
        raise RunError(f"{rollout.task} has no users with {_options_line(rollout.task_args)}")
    return [scorer.name for scorer in log.eval.scorers or []]


def users_of(rollout: Rollout) -> list[str]:
    """Ids of a task's initial states, in the order of its data set. Nobody talks.

    Raises:
        RunError: The task cannot be made with these options; says why.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = _begun(rollout, Path(folder), run_samples=False)
    return [str(name) for name in log.eval.dataset.sample_ids or []]


def check_scores(names: Sequence[str], wanted: Mapping[str, str], optional: Sequence[str] = ()) -> None:
    """Check that scores exist which a run reads.

    Args:
        names: Of the task's scores.
        wanted: Option -> score, or `score.value`.
        optional: Options that may name one that is not there.

    Raises:
        RunError: Names the option, and the nearest score that there is.
    """
    for option, told in wanted.items():
        score = told.partition(".")[0]
        if score in names or option in optional:
            continue
        near = difflib.get_close_matches(score, names, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(names) or 'none'}"
        raise RunError(f"{option}: the task has no score {score!r}; {advice}")


def prompts_of(rollout: Rollout) -> list[dict[str, Any]]:
    """What the agent is given to answer first, in a few conversations with a stand-in.

    Returns:
        `messages` and `tools` of each, for a chat template. None at all if the stand-in does not do for this
        task.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = _begun(rollout, Path(folder), limit=CONVERSATIONS, fail_on_error=False)
        if log.status != "success":
            return []
        # judges that say nothing end a conversation with an error, after the agent's first reply
        places = {(str(s.id), s.epoch): Mark(None, None, None, None) for s in log.samples or []}
        rows = list(rows_of_log(log.location.removeprefix("file://"), places))
    return [{"messages": row["prompt"], "tools": row["tools"]} for row in rows if row["turn"] == 1]


def _begun(rollout: Rollout, folder: Path, **how: Any) -> EvalLog:
    arguments = {k: v for k, v in rollout.task_args.items() if k not in OWN_MODEL}
    stand_in = get_model(f"{STAND_IN}/model", memoize=False)
    logs = begun(
        rollout.model_copy(update={"task_args": arguments}),
        model=stand_in,
        model_roles=dict.fromkeys(ROLES, stand_in),
        log_dir=str(folder),
        display="none",
        log_realtime=False,
        score_display=False,
        **how,
    )
    if not logs or logs[0].status == "cancelled":
        raise KeyboardInterrupt
    return logs[0]


def _options_line(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in arguments.items()) or "no options"
