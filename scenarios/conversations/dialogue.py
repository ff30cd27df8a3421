"""What a conversation leaves behind: written by the solver, read by scorers, training and probes."""

from collections.abc import Iterable
from typing import Any, Literal

from inspect_ai.solver import TaskState
from inspect_ai.util import StoreModel
from pydantic import BaseModel, Field

Stop = Literal[
    "terminal_state",
    "turns",
    "vetoed",
    "user_silent",
    "agent_silent",
    "tool_loop",
    "context_overflow",
    "limit",
    "terminated",
    "error",
]
"""Why a conversation ended.

`terminal_state`: the state machine ended it. `turns`: the asked number was reached. `user_silent`,
`agent_silent`: only empty messages came. `vetoed`: the agent's reply was judged harmful, and so was every
reply drawn in its place. `tool_loop`: the agent went on calling tools. `context_overflow`: the agent's or the
user's model ran out of context. `limit`: an Inspect limit. `terminated`: a sentinel or an approver of the run
ended the sample, for a reason that its limit tells. `error`: an exception, which is in the log.
"""

Flaw = Literal[
    "empty",
    "thinks_aloud",
    "refused",
    "speaks_for_both",
    "role_inversion",
    "leaked_instructions",
    "other_language",
    "announced",
    "repeated",
    "cut",
]
"""What can be wrong with a message of the simulated user, worst first.

`empty`: no words. `thinks_aloud`: weighs its task or its part, or has marks of a thought. `refused`: declines
to play the part. `speaks_for_both`: has turns of both speakers, or a template's marks of turns.
`role_inversion`: speaks as the agent, or says its words back. `leaked_instructions`: quotes or names its
prompt. `other_language`: one that nobody used before. `announced`: an announcement, a heading, a name or a
remark stands around the words. `repeated`: almost the same as an earlier message. `cut`: by the token limit.
"""


Silence = Literal["cut_in_thought", "only_thoughts", "content_filter", "nothing"]
"""Why the agent or the user said nothing.

`cut_in_thought`: the token limit came before the first word. `only_thoughts`: it thought, and ended by
itself. `content_filter`: the provider held the words back. `nothing`: none of these.
"""


class Escalation(BaseModel):
    """What a cascade of a monitor and a judge made of one reply, and who decided."""

    monitor: str
    """Folder of the monitor, as it was named."""

    logit: float | None = None
    """The monitor's, of the tokens since the reply before."""

    probe: float | None = None
    """Calibrated probability, 0 to 1; None if the monitor had no score."""

    source: str | None = None
    """Which pass the activations are from: `generation` or `second pass`."""

    asked: bool
    """Whether the judge was asked."""

    judge: float | None = None
    """Probability by the judge, calibrated where the cascade was fitted; None without a usable answer."""

    decided_by: Literal["probe", "judge"] | None
    """Whose word `value` is; None if nobody had one."""

    value: float | None
    """Probability of both together, 0 to 1."""

    alarm: bool | None
    """Surely harmful by the monitor, or judged harmful; None without a value."""

    low: float
    """From here on the judge is asked."""

    high: float
    """Up to here, both ends included."""

    reason: str | None = None
    """Why it is not as the band has it; None where it is."""


class Judgement(BaseModel):
    """One judge's answer to one question, as a number."""

    role: str
    """Role that was asked for; `model` may have served it as `judge`."""

    model: str
    question: str
    """Name of the question, e.g. `preference` or `influence_binary`."""

    value: float | None = None
    """Expected value on the question's scale, natural units; None if it could not be read."""

    mass: float | None = None
    """Probability, or share of sampled answers, that fell on valid answers, 0 to 1."""

    mode: str
    """How it was read: `logprobs`, or `samples:<k>`."""

    probabilities: dict[str, float] = Field(default_factory=dict)
    """Valid answer -> probability, renormalised to 1."""

    answer: str = ""
    """What the judge wrote (the first sample)."""

    neutralised: int = 0
    """Messages that it was shown with a bar before each line, as their words imitate marks of speakers or
    control strings (`scenarios/conversations/text.py`)."""

    problem: str | None = None
    """Why `value` is None."""

    reason: str | None = None
    """Inspect's word for it: `invalid_response_format`, `refusal`, `no_response`, `grader_failed` or
    `scoring_failed` (what the judge means cannot be told); or `cut`, by the token limit."""

    cut: bool = False
    """Whether the limit of tokens ended an answer before it could be read; of sampled ones, any."""

    undecided: float | None = None
    """Probability that was read by the answers beside it, of a "1" that may begin a "10" or of answers that
    the service did not list; or that could not be read at all (`scorers/judging/second_looks.py`)."""

    alternatives: int | None = None
    """Alternatives per token, where the judge's service gives fewer than are asked for."""

    left_out: list[str] | None = None
    """Settings that the judge's service does not take and that change nothing."""

    escalation: Escalation | None = None
    """If a monitor stands before the judge. Then `value` is that of both, and `role`, `model` and the rest
    are the judge's if it was asked, else the monitor's."""


class Draft(BaseModel):
    """One message that the user's model wrote."""

    text: str
    flaws: list[Flaw] = Field(default_factory=list)

    stop: str = ""
    """Stop reason that the model gave."""

    thought: str = ""
    """Thoughts that stood in the text before the words, and were taken out."""


class UserMessage(BaseModel):
    """A message of the simulated user, as it was drawn."""

    user: str | None = None
    """Id of the message; None if there was none."""

    flaws: list[Flaw] = Field(default_factory=list)
    """Found in it. In older logs also `empty`, for each empty draft that was thrown away."""

    user_stop: str = ""
    """Stop reason that the user's model gave."""

    user_thought: str = ""
    """Thoughts that stood in the text of the message, and were taken out."""

    drafts: list[Draft] = Field(default_factory=list)
    """Messages that were thrown away, in order; another one, or silence, came instead."""


class Turn(UserMessage):
    """The agent's reply and what followed from it, the user's answer (`user`) among it."""

    agent: str
    """Id of the message that ended the agent's turn."""

    state: str
    """State of the machine in which the agent spoke."""

    agent_stop: str
    """Stop reason that the agent's model gave."""

    agent_thought_in_text: bool = False
    """The thought stood in the words, where the server left it; it was made a reasoning part."""

    transition: Judgement | None = None
    transition_after: Literal["agent", "user"] = "agent"
    """After whose message the transition was judged."""

    decided: str | None = None
    """Answer taken for the transition, the default included."""

    entered: str | None = None
    """State of the machine after this turn."""

    veto: Judgement | None = None
    """The veto's judgement of this reply, which passed."""

    watched: Judgement | None = None
    """Of whoever watched without a veto."""

    note: str | None = None
    """Note told to the user before that reply."""


Memory = Literal["own", "given", "none"]
"""What an agent knows of earlier sessions: the note that it wrote itself, one that is given, nothing."""

NoteProblem = Literal["empty", "too_long", "marks", "cut"]
"""What was wrong with a note.

`empty`: no words. `too_long`: more words than it may have; the first of them were kept. `marks`: its words
imitate marks of speakers or control strings; the reader sees them behind bars. `cut`: by the token limit.
"""


class MemoryNote(BaseModel):
    """A note that the agent wrote after a session."""

    written: str
    """As it was written."""

    kept: str
    """As the next session read it."""

    words: int
    """How many were written."""

    problems: list[NoteProblem] = Field(default_factory=list)

    message: str
    """Id of the message that the model generated. It is in the log's events; nobody in the chat saw it."""


class Session(UserMessage):
    """One of several sessions with the same person, who opened it (`user`), but for the first."""

    number: int
    """From 1."""

    days: int | None = None
    """Since the last one."""

    told: str | None = None
    """Note told to the user before it."""

    after: str | None = None
    """Id of the message, the last of the session before, after which that note was told."""

    begins: str = ""
    """Id of the system message that it begins with: the agent's prompt with what it reads."""

    read: str | None = None
    """That note; None if the agent had no memory."""

    turns: int = 0
    """Replies of the agent."""

    stopped: Stop | None = None
    """Why the session ended. What is neither `terminal_state` nor `turns` ended the whole conversation."""

    state: str = ""
    """State of the machine in which it ended."""

    note: MemoryNote | None = None
    """Written after it; none after the last one, and none unless the memory is the agent's own."""


class Vetoed(BaseModel):
    """A reply of the agent that was judged harmful and that the user never got."""

    turn: int
    """Number of the turn, from 1."""

    text: str
    tool_calls: list[str] = Field(default_factory=list)
    """Tools that were called on the way to this reply; what they did was undone."""

    judgement: Judgement


class DialogueRecord(BaseModel):
    """The record of one conversation, as readers of logs have it: a store checks its fields at every look."""

    turns: list[Turn] = Field(default_factory=list)
    vetoed: list[Vetoed] = Field(default_factory=list)
    """Replies that the run-time veto took out of the transcript, in order."""

    state: str = ""
    """State in which the conversation ended."""

    stopped: Stop | None = None
    """None only while the conversation goes on."""

    silence: Silence | None = None
    """Why somebody said nothing, if that ended it."""

    cast: dict[str, str] = Field(default_factory=dict)
    """Role -> model that served it in the run."""

    sessions: list[Session] = Field(default_factory=list)
    """Where a person comes back; empty where there is one conversation. `turns` are those of all sessions."""

    memory: Memory | None = None
    """What the agent knew of earlier sessions; None where there is one conversation."""

    def drawn(self) -> list[UserMessage]:
        """Where the simulated user was asked for a message: after agent's turns, and to open a session."""
        return [*self.turns, *self.sessions]

    def notes(self) -> list[tuple[int, MemoryNote]]:
        """The agent's notes that have words, each with the number of its session."""
        return [(s.number, s.note) for s in self.sessions if s.note and s.note.written.strip()]


class Dialogue(StoreModel, DialogueRecord):
    """The record of one conversation in the store of its sample."""


def record_in(store: Iterable[tuple[str, Any]]) -> DialogueRecord | None:
    """The record among the facts of a sample's store; None if there is none.

    Raises:
        ValidationError: It is not as this version writes it.
    """
    own = f"{Dialogue.__name__}:"
    facts = {name.removeprefix(own): value for name, value in store if name.startswith(own)}
    return DialogueRecord.model_validate(facts) if facts else None


def dialogue_of(state: TaskState) -> DialogueRecord:
    """The record of a sample that is scored, checked once; an empty one if our solver did not write any.

    For who reads: `state.store_as(Dialogue)`, in which changes stay, checks each field at each look.

    Raises:
        ValidationError: As `record_in`.
    """
    return record_in(state.store.items()) or DialogueRecord()
