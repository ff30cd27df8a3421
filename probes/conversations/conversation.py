"""Labelled conversations: what is captured and what monitors are fitted on."""

from typing import Any, NamedTuple


class Conversation(NamedTuple):
    """One row of a data set, or one sample of a log in one epoch."""

    id: str
    """Unique in its data set."""

    messages: list[dict[str, Any]]
    """As chat templates take them: role, content, tool_calls (arguments as an object), tool_call_id, name."""

    tools: list[dict[str, Any]] | None = None
    """JSON schemas of the tools that were offered."""

    label: float | None = None
    """1 if what the monitor looks for is there, 0 if not; between them a soft label, e.g. from a scale
    rating. None: unlabelled."""

    group: str = ""
    """Rows that must stay together in splits and in bootstraps: pair, initial state; by default the id."""

    facts: dict[str, str] = {}
    """What results are broken down by: dataset, topic, language, iteration, gameable, split ..."""

    day: str | None = None
    """The day (ISO) that the model's chat template was told; None if nothing says."""

    served: bool = False
    """A server rendered it, which reads control strings in words as control tokens."""
