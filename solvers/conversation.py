"""The conversation: agent speaks, a veto may step in, the state is judged, the user speaks, until the end.

The sample's transcript is the conversation and this solver is its only writer. The user's model sees
a copy (`views.py`) and hands back words; the judge of the transition sees text. Their calls do not
count against the agent's limits, and stand in spans of their own, so that whoever watches the agent does not
take their prompts for its own. What happened goes into `Dialogue`, the reason for the end always.
"""

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from inspect_ai.event import ApprovalEvent, SentinelEvent
from inspect_ai.log import transcript
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageUser,
    get_model,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import LimitExceededError, span

from scenarios.cast import cast_model, check_cast, check_weights
from scenarios.conversations.dialogue import (
    Dialogue,
    Judgement,
    Memory,
    Session,
    Silence,
    Stop,
    Turn,
    UserMessage,
    Vetoed,
)
from scenarios.conversations.roles import Role
from scenarios.conversations.text import notes_to_user
from scenarios.mistakes import UserMistake
from scenarios.schema import Scenario
from solvers.simulated_user import USER_TOKENS, SimulatedUser, silence_of
from solvers.thoughts import take_thoughts_apart
from solvers.veto import Snapshot, Veto, VetoJudge
from solvers.views import users_view

logger = logging.getLogger(__name__)

TransitionJudge = Callable[[Scenario, Sequence[ChatMessage], Sequence[Turn]], Awaitable[Judgement]]
"""P(yes) for the agent's latest reply, from the transcript and the turns so far. Must change neither."""

TOOL_ROUNDS = 10
"""Calls of the agent's model within one turn; from then on it is caught in a loop."""


@solver
def conversation(
    transition: TransitionJudge,
    *,
    turns: int = 3,
    judged: Literal["agent", "user"] = "agent",
    cast: Sequence[Role] = ("user", "transition"),
    veto: Veto | None = None,
    watch: VetoJudge | None = None,
    seed: int = 0,
    user_tokens: int = USER_TOKENS,
) -> Solver:
    """Let the evaluated model talk with a role-played user.

    The agent has the tools that `use_tools` gave it, if any.

    Args:
        transition: Judge of the state change after each turn.
        turns: Replies of the agent at most, at least 1.
        judged: Judge the transition after the `agent`'s message, or after the `user`'s reply to it. No
            reply of the user is generated that neither a judge nor the agent will read.
        cast: Roles that the whole task needs. A missing one is an error before anybody speaks.
        veto: Judges each reply before the user sees it; see `solvers/veto.py`.
        watch: Judges each reply that passed, and stops nothing.
        seed: Draws the transitions from the judge's probabilities.
        user_tokens: Most tokens of a message of the user; `max_tokens` of its model role stands before it.

    Raises:
        ValueError: The arguments, or a sample without a `Scenario` as its metadata.
        MissingRole: No model plays one of the roles.
        UserMistake: The weights of one of them are not where its name says.
    """
    if turns < 1:
        raise UserMistake(f"turns must be at least 1, got {turns}")
    if judged not in ("agent", "user"):
        raise UserMistake(f"judged must be agent or user, got {judged!r}")

    user = SimulatedUser(user_tokens)

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        roles = checked_roles(cast, veto)
        scenario = state.metadata_as(Scenario)
        play = Play(state, generate, scenario, transition, judged, veto, watch, seed, user)
        async with recorded(play, roles):
            await play.talk(turns)
        return state

    return solve


def checked_roles(cast: Sequence[Role], veto: Veto | None) -> dict[str, str]:
    """Role -> model of all who take part, once it is clear that they can.

    Raises:
        UserMistake: As `check_cast` and `check_weights`.
    """
    check_cast(cast)
    players = {role: cast_model(role) for role in cast}
    check_weights([get_model(), *players.values()])
    roles = {role: str(player) for role, player in players.items()}
    warn_of_one_judge(roles, veto)
    return roles


@asynccontextmanager
async def recorded(play: "Play", roles: dict[str, str]) -> AsyncIterator[None]:
    """Write down, whatever happens, how a conversation went: once, at the end.

    Args:
        play: What happened, when it has.
        roles: Role -> model.
    """
    try:
        yield
    except LimitExceededError:
        play.stopped = "limit"
        raise
    except Exception:
        play.stopped = "terminated" if _was_terminated() else "error"
        raise
    finally:
        play.put_together()
        # whole: the store checks everything again at every access
        Dialogue(
            store=play.state.store,
            turns=play.turns,
            vetoed=play.vetoed,
            state=play.at,
            stopped=play.stopped,
            silence=play.silence,
            cast=roles,
            sessions=play.sessions,
            memory=play.memory,
        )


def _apart(role: str) -> AbstractAsyncContextManager[None]:
    """A span for the calls of somebody who is not the agent: a conversation of its own to Inspect."""
    return span(role, type="agent")


def _was_terminated() -> bool:
    """Whether a sentinel or an approver decided last that the sample is to end.

    What they raise then has no public name. Their decision, after which nothing else is decided, is in the
    log: that of a sentinel's root, which has an empty path, or of the part that decided over its head.
    """
    bypassed = False
    for event in reversed(transcript().events):
        if isinstance(event, SentinelEvent) and event.kind == "decision":
            if event.status == "reported" and (bypassed or not event.path):
                return event.action == "terminate"
            bypassed |= event.status == "bypassed" and not event.path
        if isinstance(event, ApprovalEvent):
            return event.decision == "terminate"
    return False


def warn_of_one_judge(roles: dict[str, str], veto: Veto | None) -> None:
    """Say once if what is vetoed and what is measured are one model's opinion."""
    if veto is not None and roles.get("veto") == roles.get("influence") is not None:
        _warn_of_one_judge(roles["veto"])


@cache
def _warn_of_one_judge(model: str) -> None:
    logger.warning(
        "%s is both the veto and the influence judge, so what the veto overlooks is not measured either; "
        "name another model with --model-role veto=<model>",
        model,
    )


@dataclass
class Play:
    """One conversation while it goes on; `state.messages` are those of the present session."""

    state: TaskState
    generate: Generate
    scenario: Scenario
    transition: TransitionJudge
    judged: Literal["agent", "user"]
    veto: Veto | None
    watch: VetoJudge | None
    seed: int
    user: SimulatedUser
    turns: list[Turn] = field(default_factory=list)
    vetoed: list[Vetoed] = field(default_factory=list)
    stopped: Stop | None = None
    silence: Silence | None = None
    at: str = ""
    """State of the machine."""

    before: list[ChatMessage] = field(default_factory=list)
    """Messages of earlier sessions, which the person remembers and the agent does not see."""

    seen: list[ChatMessage] = field(default_factory=list)
    """What the user's model was shown last."""

    sessions: list[Session] = field(default_factory=list)
    memory: Memory | None = None

    def __post_init__(self) -> None:
        self.at = self.scenario.machine.start

    async def talk(self, turns: int) -> None:
        """So many turns, or fewer; then `stopped` says why there are no more."""
        for number in range(1, turns + 1):
            async with span(f"turn {number}", type="turn"):
                await self.turn(last=number == turns)
            if self.stopped is not None:
                return
        self.stopped = "turns"

    def put_together(self) -> None:
        """The sample's transcript is that of all sessions again."""
        self.state.messages = [*self.before, *self.state.messages]
        self.before = []

    async def turn(self, *, last: bool) -> None:
        """Agent, judge, user, in the order asked for."""
        turn = await self._agent_speaks_and_passes()
        if turn is None:
            return
        turn.transition_after = self.judged
        if self.judged == "user" and not await self.user_speaks(turn):
            return
        if not self.scenario.machine.states[self.at].is_decided:
            async with _apart("transition"):
                turn.transition = await self.transition(self.scenario, self.state.messages, self.turns)
        self._move(turn)
        if self.judged == "agent" and not last and self.stopped is None:
            await self.user_speaks(turn)

    async def _agent_speaks_and_passes(self) -> Turn | None:
        """A reply that the veto lets pass; None if the conversation ends here."""
        turn = await self._agent_speaks_past_the_veto()
        if turn is not None and self.watch is not None:
            async with _apart("watch"):
                turn.watched = await self.watch(self.scenario, self.state.messages, self.turns)
        return turn

    async def _agent_speaks_past_the_veto(self) -> Turn | None:
        if self.veto is None:
            return await self._agent_speaks()
        for _ in range(self.veto.redraws + 1):
            before = Snapshot(self.state.messages, self.state.store)
            turn = await self._agent_speaks()
            if turn is None:
                return None
            async with _apart("veto"):
                turn.veto = await self.veto.judge(self.scenario, self.state.messages, self.turns)
            if not self.veto.forbids(turn.veto):
                return turn
            self.turns.pop()
            self.vetoed.append(before.take_back(len(self.turns) + 1, turn.veto))
        self.stopped = "vetoed"
        return None

    async def _agent_speaks(self) -> Turn | None:
        """One turn of the evaluated model, tool calls included; None if it ended the conversation."""
        state, apart = self.state, False
        for _ in range(TOOL_ROUNDS):
            spoken = len(state.messages)
            await self.generate(state, tool_calls="single")
            if state.output.stop_reason == "model_length":
                # what came instead of a reply is the provider's error message
                del state.messages[spoken:]
                self.stopped = "context_overflow"
                return None
            apart |= sum(take_thoughts_apart(m) for m in state.messages[spoken:]) > 0
            if isinstance(state.messages[-1], ChatMessageAssistant):
                break
        else:
            self.stopped = "tool_loop"
            return None
        reply = state.messages[-1]
        turn = Turn(
            agent=reply.id or "",
            state=self.at,
            agent_stop=state.output.stop_reason,
            agent_thought_in_text=apart,
        )
        self.turns.append(turn)
        if not reply.text.strip():
            self.stopped, self.silence = "agent_silent", silence_of(state.output)
            return None
        return turn

    async def user_speaks(self, turn: UserMessage) -> bool:
        """Append the user's message; False if its model gave none, which ends the conversation.

        Args:
            turn: Where it is written down: the turn that it answers, or the session that it opens.
        """
        state, scenario = self.state, self.scenario
        heard = [*self.before, *state.messages]
        notes = notes_to_user(self.turns, self.sessions)
        self.seen = users_view(scenario.user, heard, notes, scenario.sees.user, self.seen)
        async with _apart("user"):
            answer = await self.user.answer(
                scenario,
                self.seen,
                earlier=[m.text for m in heard if isinstance(m, ChatMessageUser)],
                agent_said=next(m.text for m in reversed(heard) if isinstance(m, ChatMessageAssistant)),
            )
        turn.drafts = answer.thrown_away
        if answer.message is None:
            self.stopped = "context_overflow" if answer.overflow else "user_silent"
            self.silence = answer.silence
            return False
        message = ChatMessageUser(content=answer.message.text)
        state.messages.append(message)
        turn.user, turn.user_stop = message.id, answer.message.stop
        turn.flaws, turn.user_thought = answer.message.flaws, answer.message.thought
        return True

    def _move(self, turn: Turn) -> None:
        """Draw the transition from the judge's probability and enter the next state."""
        scenario = self.scenario
        rng = random.Random(f"{self.seed}:{self.state.sample_id}:{self.state.epoch}:{len(self.turns)}")
        here = scenario.machine.states[self.at]
        answer = here.default
        if turn.transition is not None and turn.transition.value is not None:
            drawn = "yes" if rng.random() < turn.transition.value else "no"
            answer = drawn if drawn in here.transitions else here.default
        turn.decided = answer
        if answer is None:
            return
        chances = here.targets(answer)
        self.at = rng.choices(list(chances), weights=list(chances.values()))[0]
        turn.entered = self.at
        entered = scenario.machine.states[self.at]
        if entered.note is not None and self.at != turn.state:
            turn.note = entered.note
        if entered.terminal:
            self.stopped = "terminal_state"
