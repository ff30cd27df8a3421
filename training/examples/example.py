"""What a trainer learns from: one generation, with what came before it."""

from typing import Any, NotRequired, TypedDict


class Example(TypedDict):
    """One row."""

    prompt: list[dict[str, Any]]
    """Messages as chat templates take them: role, content, tool_calls (arguments as an object),
    tool_call_id and name of a tool's result, reasoning_content."""

    completion: list[dict[str, Any]]
    """The one message that the agent generated."""

    label: bool | None
    """True: of a conversation among the best; False: among the worst; None: neither (grpo takes all)."""

    tools: list[dict[str, Any]] | None
    """JSON schemas of the tools that were offered (`{"type": "function", "function": {...}}`)."""

    source: str
    """`log`, or the name of the static data that the row was mixed in from."""

    log: str | None
    """File name of the log, relative to the run folder where it lies in one."""

    sample: str | None
    epoch: int | None
    turn: int | None
    """Number of the generation in its conversation, from 1; a call of a tool is one."""

    score: float | None
    """Reward of the conversation."""

    rank: int | None
    """Of the conversation within its group, from 1, the best first."""

    group: str | None
    """Of the conversation: initial state, topic, family or `all`."""

    checkpoint: str | None
    """Who generated: `base`, or a checkpoint's folder relative to the run folder."""

    tokens: NotRequired[dict[str, str] | None]
    """Token ids as they went into the model (`prompt`) and came out (`written`), if the log holds them; see
    `providers/chat/token_record.py`."""

    clock: NotRequired[str | None]
    """The day (ISO) that the model's chat template was told."""

    served: NotRequired[bool]
    """A server rendered the prompt."""
