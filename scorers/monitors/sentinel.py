"""Saved monitors in Inspect Sentinel: any task's agent is watched, and nobody else's calls are.

    from scorers.monitors.sentinel import watched_agent
    Task(..., setup=reads_along(folder), sentinel=watched_agent(folder))

It observes and stops nobody, unless it is told to act. What it saw is in the log's sentinel events. Needs
`pip install -e '.[sentinel]'`; Inspect calls its interface experimental. The veto of this suite does without.
"""

from typing import Any, Literal

from inspect_ai.event import ModelEvent
from inspect_ai.log import transcript
from inspect_ai.model import get_model

from scenarios.cast import check_cast_of_eval
from scenarios.mistakes import UserMistake
from scenarios.schema import Scenario
from scorers.influence import Form
from scorers.judging.transcript import replies
from scorers.monitors.escalation import Escalate, JudgeBehind, live_cascade

try:
    from inspect_sentinel import (  # pyright: ignore[reportMissingImports]
        AfterGenerate,
        Context,
        Decision,
        Escalations,
        Monitor,
        Observation,
        Protocol,
        handle_escalation,
        human,
        monitor,
        observe_only,
        protocol,
        run_monitors,
        run_protocols,
        sequential,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"sentinels need {error.name}: pip install -e '.[sentinel]'", name=error.name
    ) from error

Act = Literal["observe", "terminate", "escalate"]
Then = Literal["human", "terminate", "proceed"]

CASCADE = "cascade"
"""Name of the monitor in the log."""


@monitor(portable=False, version=1)
def watched_reply(
    folder: str,
    escalate: Escalate | None = "judge",
    between: list[float] | None = None,
    level: float | None = None,
    form: Form = "binary",
    judging: str = "logprobs",
) -> Monitor:
    """Probability that the reply just given is harmful: the monitor's, or where it is not sure the judge's.

    Abstains where nobody has a value. The observation's metadata are an `Escalation`
    (`scenarios/conversations/dialogue.py`).

    Args:
        folder: Of a monitor, or of a cascade of `probes/cascade.py`.
        escalate: See `scorers/watched.py`, as for the rest.
        between: See there.
        level: See there.
        form: See there.
        judging: See there.

    Raises:
        UserMistake: The monitor cannot be used here, or nobody plays the judge.
    """
    cascade = live_cascade(folder, escalate, between=between, level=level, behind=JudgeBehind(form, judging))
    if escalate is not None:
        check_cast_of_eval(
            ["veto"]
        )  # a role that nobody plays would fall back to the agent in Sentinel's own calls

    async def after(context: Context, step: AfterGenerate) -> Observation | None:
        messages = [*step.input, step.output.message]
        spoken = replies(messages, [])
        if not spoken or spoken[-1].message is not step.output.message:  # no words
            return None
        places = [len(reply.transcript) - 1 for reply in spoken]
        day = (step.output.metadata or {}).get("clock")
        probed = await cascade.probe(step.model, messages, step.tools, places, day)
        found = (await cascade.decide(probed[-1], _scenario(context), spoken[-1])).escalation
        if found is None or found.value is None:
            return None
        return Observation(
            suspicion=found.value, explanation=found.reason, metadata=found.model_dump(exclude_none=True)
        )

    return after


@protocol(portable=False, version=1)
def agent_only(child: Protocol) -> Protocol:
    """Show a child the replies of the model under test alone.

    Sentinel shows every call while solvers run: the simulated user's and the judges' too, each of which would
    cost a call of the judge. Replies that are the provider's error message, for the conversation is too long,
    are left out.

    Args:
        child: Any protocol.
    """

    async def after(context: Context, step: AfterGenerate, escalations: Escalations) -> Decision | None:
        del escalations
        if not step.output.choices or step.output.stop_reason == "model_length" or not _is_the_agents(step):
            return None
        decided = (await run_protocols({"child": child}, context, step)).strongest()
        return decided.report if decided else None

    return after


@protocol(portable=False, version=1)
def acting_on_alarm(watching: Monitor, action: Literal["terminate", "escalate"]) -> Protocol:
    """Terminate or escalate where the watcher's cascade alarms. A watcher that fails stops nobody.

    Args:
        watching: A `watched_reply`.
        action: What becomes of the sample.
    """

    async def after(context: Context, step: AfterGenerate, escalations: Escalations) -> Decision | None:
        del escalations
        found = await run_monitors({CASCADE: watching}, context, step)
        if found.failed:
            return None
        for one in found:
            if (one.report.metadata or {}).get("alarm"):
                told = f"the monitor's alarm: {one.report.suspicion:.2f}"
                return Decision.terminate(told) if action == "terminate" else Decision.escalate(told)
        return None

    return after


@protocol(portable=False, version=1)
def watched_agent(
    folder: str,
    escalate: Escalate | None = "judge",
    between: list[float] | None = None,
    level: float | None = None,
    form: Form = "binary",
    judging: str = "logprobs",
    act: Act = "observe",
    then: Then | None = None,
) -> Protocol:
    """A saved monitor on the model under test, for `Task(sentinel=)`.

    Args:
        folder: Of a monitor, or of a cascade of `probes/cascade.py`.
        escalate: `judge`, or None for the monitor alone.
        between: Calibrated probabilities of the monitor between which the judge is asked, the lower first.
        level: Probability from which on the judge's word is an alarm; 0.5 if not given.
        form: Of the judge's question in conversations of this suite.
        judging: `logprobs`, `samples`, `samples:<k>` or `likelihood`.
        act: On an alarm: `observe` (nothing), `terminate` (the sample ends), `escalate` (see `then`).
        then: Who handles what is escalated: a `human`, or what is done without one.

    Raises:
        UserMistake: The monitor cannot be used here; escalating without a handler.
    """
    if act not in ("observe", "terminate", "escalate"):
        raise UserMistake(f"act must be observe, terminate or escalate, got {act!r}")
    if act == "escalate" and then is None:
        raise UserMistake(
            "act=escalate without a handler would end the sample: say then=human, terminate or proceed"
        )
    if act != "escalate" and then is not None:
        raise UserMistake(f"then={then} handles what is escalated, and act={act} escalates nothing")
    watching = watched_reply(folder, escalate, between, level, form, judging)
    if act == "observe":
        return agent_only(observe_only({CASCADE: watching}))
    if act == "terminate":
        return agent_only(acting_on_alarm(watching, "terminate"))
    handler: Any = (
        human(stages=["model_output"]) if then == "human" else handle_escalation(then or "terminate")
    )
    return agent_only(sequential({"alarm": acting_on_alarm(watching, "escalate"), "handler": handler}))


def _is_the_agents(step: AfterGenerate) -> bool:
    """The step has no role, but the call's event in the transcript does."""
    if step.model != str(get_model()):
        return False
    said = step.output.message.id
    for event in reversed(transcript().events):
        if isinstance(event, ModelEvent) and event.output.choices and event.output.message.id == said:
            return event.role is None
    return False


def _scenario(context: Context) -> Scenario | None:
    """Of a conversation of this suite."""
    known = getattr(context.eval, "metadata", None) or {}
    try:
        return Scenario.model_validate({k: v for k, v in known.items() if k in Scenario.model_fields})
    except ValueError:
        return None
