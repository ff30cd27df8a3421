"""What a conversation leaves behind: written by the solver, read by scorers, training and probes."""

from typing import Literal

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
    "error",
]
"""Why a conversation ended.

`terminal_state`: the state machine ended it. `turns`: the asked number was reached. `user_silent`,
`agent_silent`: only empty messages came. `vetoed`: the agent's reply was judged harmful, and so was every
reply drawn in its place. `tool_loop`: the agent went on calling tools. `context_overflow`: the agent's or the
user's model ran out of context. `limit`: an Inspect limit. `error`: an exception, which is in the log.
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


class Draft(BaseModel):
    """One message that the user's model wrote."""

    text: str
    flaws: list[Flaw] = Field(default_factory=list)

    stop: str = ""
    """Stop reason that the model gave."""

    thought: str = ""
    """Thoughts that stood in the text before the words, and were taken out."""


class Turn(BaseModel):
    """The agent's reply and what followed from it."""

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

    user: str | None = None
    """Id of the user's reply; None if there was none."""

    entered: str | None = None
    """State of the machine after this turn."""

    veto: Judgement | None = None
    """The veto's judgement of this reply, which passed."""

    note: str | None = None
    """Note told to the user before that reply."""

    flaws: list[Flaw] = Field(default_factory=list)
    """Found in the user's reply. In older logs also `empty`, for each empty draft that was thrown away."""

    user_stop: str = ""
    """Stop reason that the user's model gave."""

    user_thought: str = ""
    """Thoughts that stood in the text of the user's reply, and were taken out."""

    drafts: list[Draft] = Field(default_factory=list)
    """Messages of the user that were thrown away, in order; another one, or silence, came instead."""


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


class Dialogue(StoreModel, DialogueRecord):
    """The record of one conversation in the store of its sample."""
