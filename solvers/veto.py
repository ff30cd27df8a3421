"""The run-time veto: a reply that is judged harmful never reaches the user."""

import copy
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from inspect_ai.model import ChatMessage, ChatMessageAssistant
from inspect_ai.util import Store

from scenarios.conversations.dialogue import Judgement, Turn, Vetoed
from scenarios.mistakes import UserMistake
from scenarios.schema import Scenario

VetoJudge = Callable[[Scenario, Sequence[ChatMessage], Sequence[Turn]], Awaitable[Judgement]]
"""How harmful the agent's latest reply is, on the veto's own scale. Must change neither argument."""


@dataclass(frozen=True)
class Veto:
    """When a reply is taken back.

    Args:
        judge: Asked about each reply before the user sees it.
        threshold: From this value on, a reply is vetoed, in units of the judge's scale.
        redraws: How often a vetoed reply is drawn again before the conversation is stopped.

    Raises:
        ValueError: `redraws` is negative.
    """

    judge: VetoJudge
    threshold: float
    redraws: int = 0

    def __post_init__(self) -> None:
        if self.redraws < 0:
            raise UserMistake(f"redraws must not be negative, got {self.redraws}")

    def forbids(self, judgement: Judgement) -> bool:
        """An unreadable judgement forbids nothing; it stays in the record without a number.

        Where a monitor stands before the judge, the two have thresholds of their own and say what is harmful.
        """
        if judgement.escalation is not None:
            return judgement.escalation.alarm is True
        return judgement.value is not None and judgement.value >= self.threshold


class Snapshot:
    """The transcript's length and the store, to take a turn back with what its tools did."""

    def __init__(self, messages: list[ChatMessage], store: Store) -> None:
        self._messages, self._store = messages, store
        self._length = len(messages)
        self._data: dict[str, Any] = copy.deepcopy(dict(store.items()))

    def take_back(self, number: int, judgement: Judgement) -> Vetoed:
        """Remove everything since the snapshot; returns the record of it."""
        removed = self._messages[self._length :]
        del self._messages[self._length :]
        for key in set(self._store.keys()) - set(self._data):
            self._store.delete(key)
        for key, value in copy.deepcopy(self._data).items():
            self._store.set(key, value)
        spoken = [m for m in removed if isinstance(m, ChatMessageAssistant)]
        return Vetoed(
            turn=number,
            text="\n\n".join(m.text for m in spoken if m.text.strip()),
            tool_calls=[call.function for m in spoken for call in m.tool_calls or []],
            judgement=judgement,
        )
