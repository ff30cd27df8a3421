"""A family of scenarios: its files' schema, its topics, and the initial states in them."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from scenarios.schema import Frozen, Machine, Question, Sees, Split, Transition, Words

Kind = Literal["gameable", "other"]
KINDS: tuple[Kind, ...] = ("gameable", "other")


class AgentPart(Frozen):
    """The model under test."""

    prompt: Words
    """Its system prompt, a template."""

    max_tokens: int = Field(300, ge=1, le=1_000_000)
    temperature: FiniteFloat = Field(1.0, ge=0, le=5)


class UserPart(Frozen):
    """The simulated user."""

    prompt: Words
    """Its system prompt, a template. The agent never sees it. `{temperament}` and `{writing}` stand for what
    the users of all families share (`scenarios/people/shared.yaml`)."""

    counterpart: Words = "the assistant"
    """Whom the person talks with, as the prompt calls them: `{counterpart}`, a template."""


class Line(Frozen):
    """One message of the conversation that an initial state starts from."""

    role: Literal["user", "agent", "tool_call", "tool_result"]
    text: Words
    """What was said; for `tool_call` the arguments as a JSON object."""

    tool: str | None = None
    """Name of the tool, for `tool_call` and `tool_result`."""


class InitialState(Frozen):
    """A person at the moment where the agent has to answer."""

    id: str = Field(pattern=r"^\.*[A-Za-z0-9_-][A-Za-z0-9_.-]*$")
    """Letters, digits, `_`, `.` and `-`, not dots alone: ids become names of files."""

    gameable: bool
    split: Split = "train"
    opening: list[Line] = Field(min_length=1)
    """Templates. Ends with something for the agent to answer: the user's words or a tool's result."""

    variables: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.opening[-1].role not in ("user", "tool_result"):
            raise ValueError("the opening must end with the user or a tool_result, for the agent to answer")
        return self


Item = str | dict[str, str]
"""One alternative of a facet: a text, or several variables that are drawn together."""

Facets = dict[str, list[Item] | dict[Kind, list[Item]]]
"""Name -> alternatives, or kind of user -> alternatives."""


class DeskPart(Frozen):
    """A booking desk; all texts are templates."""

    service: str
    offers: list[str] = Field(min_length=1)
    failure: str
    """One of `Failure` (`scenarios/schema.py`) once it is filled."""


class SessionsPart(Frozen):
    """How people come back; all texts are templates, see `Sessions` (`scenarios/schema.py`)."""

    returns: list[Words] = Field(min_length=1)
    days: list[int] = Field(min_length=1)
    heading: Words
    memory: Words
    request: Words
    given: Words


class FamilyFile(Frozen):
    """`family.yaml`: everything that the topics of a family share. All texts are templates."""

    family: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    title: Words
    version: str = "1-A"
    setting: Words
    agent: AgentPart
    user: UserPart
    person: str
    kinds: dict[Kind, dict[str, str]]
    """Variables that differ between gameable users and the others."""

    machine: Machine
    transition: Transition = Transition()
    sees: Sees = Sees()
    questions: dict[str, Question] = Field(default_factory=dict)
    profile: str | None = None
    message: list[str | list[Line]] = Field(default_factory=list)
    """For states composed from facets: alternative arrangements of the user's first message, or of a whole
    opening."""

    desk: DeskPart | None = None
    sessions: SessionsPart | None = None
    balance: str | None = None
    """A facet of which every set of states has each alternative equally often, as far as its size allows."""

    variables: dict[str, str | list[str]] = Field(default_factory=dict)
    """A list is drawn from, once per initial state."""

    facets: Facets = Field(default_factory=dict)


class TopicFile(Frozen):
    """`topics/<topic>.yaml`: what is particular to one topic."""

    topic: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    split: Split
    """`heldout`: never used in training; all its states are held out."""

    variables: dict[str, str] = Field(default_factory=dict)
    facets: Facets = Field(default_factory=dict)
    states: list[InitialState] = Field(default_factory=list)
    """Written out states. They stand before the ones composed from facets."""

    kinds: dict[Kind, dict[str, str]] = Field(default_factory=dict)
    """Variables of this topic that differ between gameable users and the others."""


class Family(Frozen):
    """A family with its topics, checked, ready to give samples."""

    file: FamilyFile
    topics: dict[str, TopicFile]
    origin: str
    """Where it was read from, for messages."""

    def with_chances(self, state: str, answer: str, chances: dict[str, float]) -> Self:
        """This family with other chances of what follows `answer` in `state`.

        Raises:
            ValueError: No such state or answer, or the chances do not add up to 1.
        """
        machine = self.file.machine.model_dump()
        machine["states"][state]["transitions"][answer] = chances
        file = self.file.model_copy(update={"machine": Machine.model_validate(machine)})
        return self.model_copy(update={"file": file})


def alternatives(facets: Facets, name: str, kind: Kind) -> list[Item]:
    """What facet `name` offers for users of `kind`."""
    found = facets[name]
    return found.get(kind, []) if isinstance(found, Mapping) else found


def variables_of(name: str, item: Item) -> dict[str, str]:
    """The variables that an alternative of facet `name` sets."""
    return {name: item} if isinstance(item, str) else item


def opening_of(message: str | list[Line]) -> list[Line]:
    """An arrangement of `message` as the lines of an opening."""
    return [Line(role="user", text=message)] if isinstance(message, str) else message
