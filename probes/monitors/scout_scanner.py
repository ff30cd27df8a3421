"""A saved monitor as an Inspect Scout scanner, for logs that are read again and again.

    scout scan probes/monitors/scout_scanner.py -S monitor=monitors/max-layer12 -T logs --max-processes 1

It gives what `scorers/stakes.py` gives, in Scout's tables and without a change to the logs. Needs
`pip install inspect-scout`, which nothing else here does.
"""

from pathlib import Path
from typing import Any

from inspect_ai.event import ModelEvent
from inspect_ai.model import ChatMessageAssistant, get_model
from inspect_scout import Result, Scanner, Transcript, scanner  # pyright: ignore[reportMissingImports]
from scipy.special import expit

from probes.monitors.agents import Reading
from probes.monitors.serving import SESSIONS, ServedMonitor, begins_anew


@scanner(messages="all", events=["model"])
def monitored(monitor: str, any_model: bool = False) -> "Scanner[Transcript]":
    """Probability that a transcript is what the monitor looks for, 0 to 1; None if it cannot be scored.

    A transcript of several sessions, each of which began anew for the model, cannot: a monitor reads one
    conversation from its first token on.

    Args:
        monitor: Folder of the monitor.
        any_model: The monitor's own model reads what any agent said.
    """
    served = ServedMonitor(Path(monitor).absolute(), Reading(any_model=any_model))

    async def scan(transcript: Transcript) -> Result:
        if begins_anew(transcript.messages):
            return Result(value=None, explanation=SESSIONS, metadata={"monitor": served.monitor.card.name})
        name = transcript.model or ""
        in_process = name.partition("/")[0] in ("local", "miniature") and not any_model
        met = served.meet(name, getattr(get_model(name).api, "local", None) if in_process else None)
        calls = [e for e in transcript.events if isinstance(e, ModelEvent) and e.role is None]
        replies = [
            number
            for number, message in enumerate(transcript.messages)
            if isinstance(message, ChatMessageAssistant) and message.text.strip()
        ]
        tools = list(calls[-1].tools) if calls else []
        found = await served.score(met, name, transcript.messages, tools, replies)
        turns: list[dict[str, Any]] = [reply._asdict() for reply in found.replies]
        return Result(
            value=None if found.logit is None else float(expit(found.logit)),
            explanation=found.problem,
            metadata={**found._asdict(), "replies": turns, "monitor": served.monitor.card.name},
        )

    return scan
