"""Several sessions with one person, days apart: the agent keeps a note of them, the person remembers all.

The agent's model sees its prompt, the note, and the messages of the session that goes on, so that a late
session costs it what the first one did; the simulated user sees every session. The sample's transcript has
all sessions in a row, each under the system prompt that the agent had in it. A note is a generation of the
agent like any other, for training too, but nobody hears it: it stands in `Dialogue.sessions` and, where it is
read, in the next system prompt.
"""

from collections.abc import Sequence
from typing import Literal, get_args

from inspect_ai.model import ChatMessageSystem, ChatMessageUser
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import span

from scenarios.conversations.dialogue import Memory, MemoryNote, Session, Stop
from scenarios.conversations.roles import Role
from scenarios.mistakes import UserMistake
from scenarios.schema import Scenario, Sessions
from scenarios.sessions import NOTE_WORDS, days_before, kept, note_request, session_prompt, told_before
from solvers.conversation import Play, TransitionJudge, checked_roles, recorded
from solvers.simulated_user import USER_TOKENS, SimulatedUser
from solvers.thoughts import take_thoughts_apart
from solvers.veto import Veto, VetoJudge

GOES_ON: tuple[Stop, ...] = ("terminal_state", "turns")
"""Ends of a session after which there is another: the person left for today, or the turns were over."""


@solver
def conversations_over_days(
    transition: TransitionJudge,
    *,
    sessions: int = 7,
    memory: Memory = "own",
    note_words: int = NOTE_WORDS,
    turns: int = 3,
    judged: Literal["agent", "user"] = "agent",
    cast: Sequence[Role] = ("user", "transition"),
    veto: Veto | None = None,
    watch: VetoJudge | None = None,
    seed: int = 0,
    user_tokens: int = USER_TOKENS,
) -> Solver:
    """Let the evaluated model talk with a role-played user who comes back.

    Args:
        transition: As for `conversation`, here and below.
        sessions: With the same person, at least 1.
        memory: What the agent reads of earlier sessions: its `own` note, the `given` one, or `none`.
        note_words: Most words of its own note; of a longer one the first are kept, and the note says so.
        turns: Replies of the agent in a session, at most.
        judged: Who spoke last when the transition is judged.
        cast: Roles that the whole task needs.
        veto: Judges each reply before the user sees it. A vetoed reply ends the whole conversation.
        watch: Judges each reply that passed.
        seed: Draws the transitions.
        user_tokens: Most tokens of a message of the user.

    Raises:
        UserMistake: The arguments, or a scenario of which nobody comes back; and as `conversation`.
    """
    _check(sessions, memory, note_words, turns, judged)
    user = SimulatedUser(user_tokens)

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        roles = checked_roles(cast, veto)
        scenario = state.metadata_as(Scenario)
        play = Play(state, generate, scenario, transition, judged, veto, watch, seed, user)
        play.memory = memory
        async with recorded(play, roles):
            await _Days(play, _sessions_of(scenario), memory, note_words, turns).go_by(sessions)
        return state

    return solve


def _check(sessions: int, memory: str, note_words: int, turns: int, judged: str) -> None:
    for name, value in (("sessions", sessions), ("note_words", note_words), ("turns", turns)):
        if value < 1:
            raise UserMistake(f"{name} must be at least 1, got {value}")
    if memory not in get_args(Memory):
        raise UserMistake(f"memory must be one of {', '.join(get_args(Memory))}, got {memory!r}")
    if judged not in ("agent", "user"):
        raise UserMistake(f"judged must be agent or user, got {judged!r}")


def _sessions_of(scenario: Scenario) -> Sessions:
    if scenario.sessions is None:
        raise UserMistake(
            f"{scenario.family}: nobody comes back in these scenarios; give the family `sessions:`, as "
            "scenarios/memory/family.yaml has it"
        )
    return scenario.sessions


class _Days:
    """The sessions of one person while they go on."""

    def __init__(self, play: Play, sessions: Sessions, memory: Memory, words: int, turns: int) -> None:
        self.play, self.of, self.memory, self.words, self.turns = play, sessions, memory, words, turns
        self.agent = next((m.text for m in play.state.messages if isinstance(m, ChatMessageSystem)), "")
        self.note: str | None = sessions.given if memory == "given" else None

    async def go_by(self, count: int) -> None:
        for number in range(1, count + 1):
            async with span(f"session {number}", type="session"):
                session = await self._session(number)
                if session.stopped not in GOES_ON:
                    return
                if self.memory == "own" and number < count:
                    await self._write_note(session)

    async def _session(self, number: int) -> Session:
        play = self.play
        session = self._opened(number)
        play.sessions.append(session)
        before = len(play.turns)
        if number == 1 or await play.user_speaks(session):
            await play.talk(self.turns)
        session.turns = len(play.turns) - before
        session.stopped, session.state = play.stopped, play.at
        return session

    def _opened(self, number: int) -> Session:
        """A session in which nobody has spoken yet but, in the first, the scenario."""
        play = self.play
        prompt = ChatMessageSystem(content=session_prompt(self.agent, self.of, number, self.note))
        session = Session(number=number, begins=prompt.id or "", read=self.note)
        if number == 1:
            opening = [m for m in play.state.messages if not isinstance(m, ChatMessageSystem)]
            play.state.messages = [prompt, *opening]
            return session
        session.days, session.told = days_before(self.of, number), told_before(self.of, number)
        session.after = play.state.messages[-1].id
        play.before += play.state.messages
        play.state.messages = [prompt]
        play.at, play.stopped = play.scenario.machine.start, None
        return session

    async def _write_note(self, session: Session) -> None:
        """Ask the agent for its note, which leaves no trace in the transcript."""
        state = self.play.state
        spoken = state.messages
        state.messages = [*spoken, ChatMessageUser(content=note_request(self.of, self.words))]
        try:
            await self.play.generate(state, tool_calls="none")
            message, output = state.messages[-1], state.output
        finally:
            state.messages = spoken
        take_thoughts_apart(message)
        written = "" if output.stop_reason == "model_length" else message.text
        self.note, problems = kept(written, self.words)
        if output.stop_reason == "max_tokens":
            problems.append("cut")
        session.note = MemoryNote(
            written=written,
            kept=self.note,
            words=len(written.split()),
            problems=problems,
            message=message.id or "",
        )
