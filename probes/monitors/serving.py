"""A saved monitor at work: scores of a conversation and of every reply in it, as it is or as it goes on."""

from collections.abc import Sequence
from itertools import dropwhile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageSystem
from inspect_ai.tool import ToolInfo

from probes.activations.forward import ActivationError
from probes.conversations.conversation import Conversation
from probes.conversations.labels import LeftOut
from probes.heads.aggregation import Segments
from probes.monitors.agents import LocalModel, Reader, Reading, reader_for, tap_into
from probes.monitors.monitor import Monitor
from probes.monitors.second_pass import SecondPass
from probes.monitors.tap import Passed, Tap
from probes.tokens.rendering import Rendered
from probes.tokens.rules import TokenRule
from providers.chat.errors import ChatTemplateError, NotTextError
from providers.chat.messages import chat_message, is_served, tool_schemas

Source = Literal["generation", "second pass"]

NOT_KEPT = "nothing was kept of its generation"
UNREAD = "its end did not go through the model"
OTHER_TOKENS = "it is not told in the tokens that were generated"


SESSIONS = (
    "several sessions with one person, each of which began anew for the model; a monitor reads one "
    "conversation from its first token on"
)
"""Why a transcript is not scored."""


class ReplyScore(NamedTuple):
    """What a monitor says of one reply."""

    logit: float | None
    """Of the tokens since the reply before, this reply's included; None if the rule takes none of them."""

    so_far: float | None
    """Logit of the conversation up to and with this reply, as if it ended there."""

    tokens: int
    """That `logit` is of."""


class ConversationScore(NamedTuple):
    """What a monitor says of a conversation."""

    logit: float | None
    """None if there is no score."""

    problem: str | None
    """Why there is none."""

    replies: list[ReplyScore]
    tokens: int
    """Of the conversation as the model reads it."""

    scored: int
    """Of these, tokens that the monitor's rule takes."""

    cut: int
    """Tokens that were left out because the conversation is longer than the monitor takes."""

    source: Source | None
    """Which pass the activations are from: the one that generated the last reply, or one of their own."""

    why: str | None
    """Why it needed a pass of its own."""


class _Agent(NamedTuple):
    """What is needed for one agent."""

    reader: Reader
    second: SecondPass
    tapped: bool


class _Rows(NamedTuple):
    """Positions of tokens, ascending; all may be empty."""

    whole: np.ndarray
    replies: list[np.ndarray]
    so_far: list[np.ndarray]


class ServedMonitor:
    """A monitor that scores conversations while they come in.

    Args:
        folder: Of the monitor.
        how: See there.

    Raises:
        MonitorError: No monitor in this folder, or a damaged one.
    """

    def __init__(self, folder: Path, how: Reading) -> None:
        self.folder, self.how = folder, how
        self.monitor = Monitor.load(folder)
        card = self.monitor.card
        self.rule = TokenRule.parse(card.spec.tokens)
        self.tap = Tap(self.monitor.head, card.layers, card.spec.point)
        self._agents: dict[tuple[str, int], _Agent] = {}

    def meet(self, name: str, local: LocalModel | None) -> _Agent:
        """Check that the monitor is one for this agent, and read along if the agent is in this process.

        Args:
            name: As logs name it.
            local: The agent, if its weights are in this process.

        Raises:
            AgentMismatch, ChatTemplateError, WeightsError: See `reader_for`.
        """
        key = (name, id(local))
        if key not in self._agents:
            card = self.monitor.card
            reader = reader_for(card, self.folder, name, local, self.how)
            second = SecondPass(reader.model, card.layers, card.spec.point)
            self._agents[key] = _Agent(reader, second, tap_into(reader, self.tap))
        return self._agents[key]

    async def score(
        self,
        agent: _Agent,
        name: str,
        messages: Sequence[ChatMessage],
        tools: Sequence[ToolInfo],
        replies: Sequence[int],
        day: str | None = None,
    ) -> ConversationScore:
        """Score a conversation.

        Args:
            agent: What `meet` gave.
            name: The agent, as logs name it.
            messages: The whole conversation.
            tools: That the agent was offered.
            replies: Which messages are replies that get a score of their own, ascending.
            day: That the agent's template was told (ISO), if anything says.

        Raises:
            WeightsError: The model does not have the monitor's layers, or not the tokenizer's vocabulary.
        """
        try:
            told = [chat_message(message, model=name) for message in messages]
            if not any(m["content"].strip() or m.get("tool_calls") for m in told):
                raise LeftOut("nothing was said")
            rendered = agent.reader.renderer.render(
                Conversation("", told, tools=tool_schemas(tools), day=day, served=is_served(name))
            )
        except (LeftOut, NotTextError, ChatTemplateError) as error:
            return _unscored(str(error), replies)
        rows = self._rows(rendered, [m["role"] for m in told], replies)
        if not len(rows.whole):
            return _unscored(f"the monitor's rule {self.rule} takes no token of it", replies, rendered)
        needed = np.unique(np.concatenate([rows.whole, *rows.replies, *rows.so_far]))
        generated = [m.id for m in messages if isinstance(m, ChatMessageAssistant) and m.id is not None]
        passed, why = self._passed(agent, generated, rendered, needed)
        try:
            channels = await self._channels(agent, passed, rendered, needed)
        except ActivationError as error:
            return _unscored(str(error), replies, rendered)
        logits = self._logits(channels, needed, rows)
        return ConversationScore(
            logit=logits[0],
            problem=None,
            replies=[
                ReplyScore(logits[1 + i], logits[1 + len(replies) + i], len(rows.replies[i]))
                for i in range(len(replies))
            ],
            tokens=len(rendered.token_ids),
            scored=len(rows.whole),
            cut=rendered.cut,
            source="second pass" if passed is None else "generation",
            why=why,
        )

    def _rows(self, rendered: Rendered, roles: Sequence[str], replies: Sequence[int]) -> _Rows:
        """Which tokens are scored together."""
        parts: list[np.ndarray] = []
        so_far: list[np.ndarray] = []
        of_any_turn = self.rule._replace(last=None).select(rendered.message, roles)
        begin = 0
        for reply in replies:
            own = np.flatnonzero(rendered.message == reply)
            if reply == len(roles) - 1:
                end = len(rendered.message)
            else:
                end = int(own[-1]) + 1 if len(own) else begin
            parts.append(of_any_turn[(of_any_turn >= begin) & (of_any_turn < end)])
            so_far.append(self.rule.select(rendered.message[:end], roles[: reply + 1]))
            begin = end
        return _Rows(self.rule.select(rendered.message, roles), parts, so_far)

    def _passed(
        self, agent: _Agent, generated: Sequence[str], rendered: Rendered, needed: np.ndarray
    ) -> tuple[Passed | None, str | None]:
        """What the generation pass left, if it has all that is needed; and what it lacks."""
        passed = self.tap.latest(generated) if agent.tapped else None
        if passed is None:
            return None, NOT_KEPT
        length = min(len(passed.token_ids), len(rendered.token_ids))
        differing = np.flatnonzero(passed.token_ids[:length] != rendered.token_ids[:length])
        if needed[-1] < (differing[0] if len(differing) else length):
            return passed, None
        return None, OTHER_TOKENS if len(differing) else UNREAD

    async def _channels(
        self, agent: _Agent, passed: Passed | None, rendered: Rendered, needed: np.ndarray
    ) -> torch.Tensor:
        """[needed, channels].

        Raises:
            ActivationError: NaN or infinite.
        """
        if passed is None:
            values = await agent.second.read(rendered.token_ids, needed)
            return self.monitor.head.channels_of(values)
        channels = passed.channels[torch.from_numpy(needed)]
        if not bool(torch.isfinite(channels).all()):
            raise ActivationError(0, "NaN or infinite activations while it was generated")
        return channels

    def _logits(self, channels: torch.Tensor, needed: np.ndarray, rows: _Rows) -> list[float | None]:
        """Of all rows in order; None for those without tokens."""
        every = [rows.whole, *rows.replies, *rows.so_far]
        filled = [row for row in every if len(row)]
        places = torch.from_numpy(np.searchsorted(needed, np.concatenate(filled)))
        offsets = torch.from_numpy(np.cumsum([0, *(len(row) for row in filled)]))
        found = self.monitor.head.aggregate(channels[places][:, :, None], Segments(offsets))[:, 0]
        logits = iter(found.double().tolist())
        return [next(logits) if len(row) else None for row in every]


def _unscored(problem: str, replies: Sequence[int], rendered: Rendered | None = None) -> ConversationScore:
    known: dict[str, Any] = {"tokens": 0, "cut": 0}
    if rendered is not None:
        known = {"tokens": len(rendered.token_ids), "cut": rendered.cut}
    none = [ReplyScore(None, None, 0) for _ in replies]
    return ConversationScore(
        logit=None, problem=problem, replies=none, scored=0, source=None, why=None, **known
    )


def begins_anew(messages: Sequence[ChatMessage]) -> bool:
    """Whether the agent got a system prompt after something was said, as a new session begins with."""
    said = dropwhile(lambda message: isinstance(message, ChatMessageSystem), messages)
    return any(isinstance(message, ChatMessageSystem) for message in said)
