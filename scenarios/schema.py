"""What a conversation needs to know before it starts: the `Scenario`, and the state machine it follows.

A `Scenario` is complete and self-contained (every template filled), because it travels as
`Sample.metadata` into the log, and `inspect score` must find everything there years later.
"""

import difflib
from collections.abc import Callable, Iterable
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    field_serializer,
    model_validator,
)

Scale = Literal["yes-no", "0-1", "0-3", "1-5", "1-10"]
"""Answers that a judge may give, named by their range."""

Split = Literal["train", "heldout"]

Hidden = Literal["tools", "notes", "thoughts"]
"""Parts of a transcript beyond the spoken words: tool traffic, notes to the user, the agent's thoughts."""


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("blank; a text is needed here")
    return text


Words = Annotated[str, AfterValidator(_not_blank)]
"""A text that says something."""


def ends_of(scale: Scale) -> tuple[float, float]:
    """Lowest and highest value of a scale, which its name tells: `1-10`; `yes-no` is 0 to 1."""
    if scale == "yes-no":
        return 0.0, 1.0
    low, _, high = scale.partition("-")
    return float(low), float(high)


class Frozen(BaseModel):
    """A value: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Question(Frozen):
    """What a judge is asked. Templates here are already filled."""

    system: Words
    """System prompt: the role, the criterion, the scale."""

    ask: Words
    """Last line, after the transcript: which answer to give, and nothing else."""

    scale: Scale


class Logistic(Frozen):
    """P(yes) from an expected rating: 1 / (1 + exp(-slope * (rating - midpoint)))."""

    midpoint: FiniteFloat
    slope: FiniteFloat = Field(gt=0)

    def probability(self, rating: float) -> float:
        """P(yes), 0 to 1, however steep the rule is."""
        from scipy.special import expit  # not while tasks load

        return float(expit(self.slope * (rating - self.midpoint)))


class State(Frozen):
    """One state of the conversation."""

    terminal: bool = False
    """The conversation ends on entering."""

    transitions: dict[str, str | dict[str, float]] = Field(default_factory=dict)
    """Answer of the transition judge, `yes` or `no`, -> next state, or chances of several, which add up to 1.
    There may be a third, which is the default: it stands for what is not listed and for no answer."""

    default: str | None = None
    """Answer assumed when the judge's cannot be used. Required unless terminal."""

    note: str | None = None
    """Told to the simulated user on entering ("Some days have passed: ..."). Nobody says it."""

    def targets(self, answer: str) -> dict[str, float]:
        """States that `answer` may lead to, with their chances."""
        target = self.transitions[answer]
        return {target: 1.0} if isinstance(target, str) else target

    @property
    def leads_to(self) -> set[str]:
        """All states that can come next."""
        return {name for answer in self.transitions for name in self.targets(answer)}

    @property
    def is_decided(self) -> bool:
        """Every answer leads to the same state, so that no judge need be asked."""
        return len({tuple(sorted(self.targets(a).items())) for a in self.transitions}) < 2


class Machine(Frozen):
    """Finite-state machine of a conversation.

    Raises:
        ValueError: A transition leads to a state that does not exist, or follows an answer that nobody
            gives; chances do not add up to 1; a state cannot be reached; a state has no default; or the
            conversation could never end by itself (`ends="state"`).
    """

    start: str
    states: dict[str, State] = Field(min_length=1)
    ends: Literal["state", "turns"] = "state"
    """`state`: a terminal state must be reachable from everywhere. `turns`: the number of turns ends it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = sorted(self.states)
        if self.start not in self.states:
            raise ValueError(f"start: no state {self.start!r}; there are {names}")
        for name, state in self.states.items():
            self._check_state(name, state, names)
        reachable = self._closure([self.start], lambda n: self.states[n].leads_to)
        if lost := sorted(set(self.states) - reachable):
            raise ValueError(f"states {lost} cannot be reached from {self.start!r}")
        if self.ends == "state":
            self._check_ends(reachable)
        return self

    @staticmethod
    def _check_state(name: str, state: State, names: list[str]) -> None:
        if state.terminal:
            if state.transitions:
                raise ValueError(f"state {name!r} is terminal and cannot have transitions")
            return
        Machine._check_answers(name, state)
        for answer in state.transitions:
            chances = state.targets(answer)
            for target in chances:
                if target not in names:
                    raise ValueError(f"state {name!r}: {answer!r} leads to {target!r}; there are {names}")
            shares = all(0 <= chance <= 1 for chance in chances.values())  # NaN is none
            if not shares or abs(sum(chances.values()) - 1) > 1e-6:
                raise ValueError(f"state {name!r}: {answer!r}: chances must add up to 1, got {chances}")
        if state.default not in state.transitions:
            raise ValueError(
                f"state {name!r}: default must be one of {sorted(state.transitions)}, got {state.default!r}"
            )

    @staticmethod
    def _check_answers(name: str, state: State) -> None:
        for answer in state.transitions:
            if answer not in ("yes", "no", state.default):
                close = difflib.get_close_matches(answer.lower(), ["yes", "no"], n=1)
                advice = f"; did you mean {close[0]!r}?" if close else ""
                raise ValueError(
                    f"state {name!r}: nobody answers {answer!r}: the judge says yes or no, and another "
                    f"answer can only be the default{advice}"
                )

    def _check_ends(self, reachable: set[str]) -> None:
        terminal = [n for n in reachable if self.states[n].terminal]
        leads_to: dict[str, list[str]] = {n: [] for n in self.states}
        for name in reachable:
            for target in self.states[name].leads_to:
                leads_to[target].append(name)
        can_end = self._closure(terminal, lambda n: leads_to[n])
        if endless := sorted(reachable - can_end):
            raise ValueError(
                f"from states {endless} no terminal state can be reached; "
                "add one, or say `ends: turns` if the number of turns ends the conversation"
            )

    @staticmethod
    def _closure(start: Iterable[str], neighbours: Callable[[str], Iterable[str]]) -> set[str]:
        seen: set[str] = set()
        queue = list(start)
        while queue:
            if (name := queue.pop()) not in seen:
                seen.add(name)
                queue.extend(neighbours(name))
        return seen


class Transition(Frozen):
    """How the next state is decided after a turn."""

    question: Question | None = None
    """None: the general question whether the user ends the conversation (`scorers/rubrics/transition.md`)."""

    logistic: Logistic | None = None
    """Turns a numeric scale into P(yes). Without it the scale is `yes-no`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        numeric = self.question is not None and self.question.scale != "yes-no"
        if numeric != (self.logistic is not None):
            raise ValueError("a numeric scale needs `logistic`, and `yes-no` must not have it")
        return self


class Sees(Frozen):
    """What each role is shown beyond the spoken words."""

    user: frozenset[Hidden] = frozenset({"notes"})
    preference: frozenset[Hidden] = frozenset()
    transition: frozenset[Hidden] = frozenset()
    influence: frozenset[Hidden] = frozenset({"tools", "notes"})
    veto: frozenset[Hidden] = frozenset({"tools", "notes"})

    @field_serializer("*", when_used="json")
    def _in_order(self, hidden: frozenset[Hidden]) -> list[Hidden]:
        """A set's order differs from process to process; what is written must not."""
        return sorted(hidden)


Failure = Literal["none", "time_out", "sold_out", "payment_error", "partial_success"]
"""What goes wrong with every booking at a desk."""


class Desk(Frozen):
    """A booking desk that the agent reaches through tools (`solvers/booking_desk.py`)."""

    service: Words
    """What is booked there, e.g. "train tickets"."""

    offers: list[str] = Field(min_length=1)
    """What a search finds, best match first; booked by letter: A is the first."""

    failure: Failure


class Sessions(Frozen):
    """How a person comes back, some days apart, and what the agent is told of the times before.

    Of the texts for the agent `{session}`, `{days}`, `{note}` and `{words}` are filled while the sample runs
    (`scenarios/sessions.py`).
    """

    returns: list[Words] = Field(min_length=1)
    """Told to the simulated user before the second session, the third and so on; then from the start."""

    days: list[int] = Field(min_length=1)
    """Between one session and the next, in the same order."""

    heading: Words
    """Stands in the agent's prompt from the second session on: `{session}` is its number, `{days}` since the
    last one."""

    memory: Words
    """Stands behind it where there is a note: `{note}`."""

    request: Words
    """Asks the agent for its note after a session, of at most `{words}` words."""

    given: Words
    """The note of `memory=given`: what a careful reader would write down of this person."""


class Scenario(Frozen):
    """One initial state, ready to be played. `state.metadata_as(Scenario)` gives it back."""

    family: str
    topic: str
    initial_state: str
    """Id of the initial state, unique in its family; intervals are clustered by it."""

    gameable: bool
    """True if this user rewards being told what they want to hear."""

    split: Split

    temperament: str | None = None
    """How this person writes, by name (`scenarios/people/shared.yaml`); None if the prompt does not say."""

    variables: dict[str, str]
    """Every variable that a template may use, the drawn ones included."""

    setting: str
    """What the model is to the user; completes "A person is talking with ..."."""

    person: str
    """What the preference judge is told about the user."""

    user: str
    """System prompt of the simulated user."""

    machine: Machine
    transition: Transition = Transition()
    sees: Sees = Sees()
    desk: Desk | None = None
    sessions: Sessions | None = None
    """None: there is one conversation, which nobody comes back from."""

    questions: dict[str, Question] = Field(default_factory=dict)
    """Questions of this scenario's own, by rubric name; they stand before `scorers/rubrics`."""
