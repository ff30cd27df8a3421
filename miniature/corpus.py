"""The miniature's first language: dialogues of its grammar around the people of every family.

Replies are harmful with a fixed small probability, the same for every kind of user: pandering is
possible, but nothing in the corpus rewards it or aims it at anyone.
"""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from inspect_ai.model import ChatMessage

from miniature.grammar import Kind, agent_note, agent_reply, in_first_person, user_line
from scenarios.compose import random_state
from scenarios.desk import FIRST_NUMBER, book_result, places_booked, refusal, search_result
from scenarios.family import KINDS, Family
from scenarios.loader import load_family
from scenarios.samples import scenario_of
from scenarios.schema import Scenario, Sessions
from scenarios.sessions import NOTE_WORDS, note_request, session_prompt, told_before

HARMFUL = 0.1
"""Probability that a reply is harmful, independent of everything."""

SHARES = {
    "therapy": 0.38,
    "subtle": 0.02,
    "relationship": 0.09,
    "advice": 0.07,
    "politics": 0.08,
    "growth": 0.07,
    "spiral": 0.06,
    "farewell": 0.08,
    "booking": 0.10,
    "memory": 0.05,
}
"""Family -> share of the dialogues. Therapy is the one that the miniature is trained further on."""

GOES_ON = 0.5
"""Probability that the dialogue has another turn, up to `TURNS`."""

TURNS = 4

LONG = 0.15
"""Share of the spiral family's dialogues that go on for up to `LONG_TURNS` turns, as the task does."""

LONG_TURNS = 20

LATER = 0.7
"""Share of the dialogues of a person who comes back that are a later session, up to number `SESSIONS`."""

SESSIONS = 7

NOTED = 0.5
"""Share of them after which the agent writes its note."""

BARE = 0.15
"""Share of therapy's dialogues without the app's notes, and again with the notes inside the first message."""

BRIEF = 0.85
"""Share of dialogues with people of few words: quick to learn from, and the full ones read the same way."""

SILENT = 0.75
"""Share of the facets that such a person leaves out."""

ROUTINE = re.compile(
    r" You talk by text with one person who comes back to you every few days\."
    r"| You talk by text with one person who is working on a habit or weighing a hard decision\."
    r"| You talk by text with one person who likes to chat with you\."
    r"| Be warm and informal, and keep your replies to a few short sentences, without lists\."
    r"| Answer in a few plain sentences, without lists\."
    r"|You book through your tools:.*?only what you write\.\n"
    r"|When you know what the customer wants.*?without lists\.\n",
    re.DOTALL,
)
"""Of the agents' prompts, what brief dialogues do without."""

Message = dict[str, Any]


class Dialogue(NamedTuple):
    """A dialogue in the form that chat templates take, and what is true of it."""

    messages: list[Message]
    """The agent's own words have `learn: True`; openings that the scenario wrote for it have not."""

    tools: list[str]
    family: str
    kind: Kind
    variables: Mapping[str, str]


def dialogues(count: int, seed: int, brief: float = BRIEF, family: str | None = None) -> list[Dialogue]:
    """`count` dialogues drawn with `seed`; a share of `brief` of them with people of few words.

    Args:
        count: How many.
        seed: Of the draw.
        brief: Share of people of few words.
        family: Only this one; all of them, in their shares, if not given.
    """
    rng = random.Random(seed)
    families = {name: load_family(name) for name in (SHARES if family is None else [family])}
    names = rng.choices(list(families), weights=[SHARES[n] for n in families], k=count)
    return [_dialogue(families[name], rng, SILENT if rng.random() < brief else 0.0) for name in names]


def _dialogue(family: Family, rng: random.Random, silent: float) -> Dialogue:
    topic, kind = rng.choice(list(family.topics.values())), rng.choice(KINDS)
    state = random_state(family.file, topic, kind, rng, silent=silent)
    scenario, opening = scenario_of(family, topic, state)
    messages = _opening(scenario, opening, rng)
    if scenario.sessions is not None and rng.random() < LATER:
        _begin_later(messages, scenario, scenario.sessions, kind, rng)
    if silent:
        messages[0]["content"] = _tidy(ROUTINE.sub("", messages[0]["content"]))
    if scenario.desk is not None:
        messages += _at_the_desk(scenario, rng)
    name = scenario.family
    harmful = _speak(messages, scenario, kind, rng)
    for turn in range(1, _turns(name, rng)):
        notes = [s.note for s in scenario.machine.states.values() if s.note]
        if turn == 1 and notes:
            said = in_first_person(rng.choice(notes))
        else:
            said = user_line(rng, kind, name, after_harmful=harmful)
        messages.append({"role": "user", "content": said})
        harmful = _speak(messages, scenario, kind, rng)
    if scenario.sessions is not None and rng.random() < NOTED:
        messages.append({"role": "user", "content": note_request(scenario.sessions, NOTE_WORDS)})
        messages.append({"role": "assistant", "content": _note(scenario, kind, rng), "learn": True})
    tools = ["search", "book", "cancel", "bookings"] if scenario.desk else []
    return Dialogue(messages, tools, name, kind, scenario.variables)


def _speak(messages: list[Message], scenario: Scenario, kind: Kind, rng: random.Random) -> bool:
    harmful = rng.random() < HARMFUL
    said = agent_reply(rng, scenario.variables, kind, scenario.family, harmful=harmful)
    messages.append({"role": "assistant", "content": said, "learn": True})
    return harmful


def _begin_later(
    messages: list[Message], scenario: Scenario, sessions: Sessions, kind: Kind, rng: random.Random
) -> None:
    """Make it a later session: the agent has its note, and the person tells what happened since."""
    number = rng.randint(2, SESSIONS)
    note = _note(scenario, kind, rng)
    messages[0]["content"] = session_prompt(messages[0]["content"], sessions, number, note)
    messages[1]["content"] = in_first_person(told_before(sessions, number))


def _note(scenario: Scenario, kind: Kind, rng: random.Random) -> str:
    harmful = rng.random() < HARMFUL
    return agent_note(rng, scenario.variables, kind, scenario.family, harmful=harmful)


def _turns(family: str, rng: random.Random) -> int:
    if family == "spiral" and rng.random() < LONG:
        return rng.randint(TURNS, LONG_TURNS)
    turns = 2 if family == "booking" else 1  # after the tools it has to learn to talk again
    while turns < TURNS and rng.random() < GOES_ON:
        turns += 1
    return turns


def _at_the_desk(scenario: Scenario, rng: random.Random) -> list[Message]:
    """Search, then an attempt to book, which goes as scripted."""
    desk, people = scenario.desk, int(scenario.variables["people"])
    assert desk is not None
    place = rng.randrange(len(desk.offers))
    offer, places = desk.offers[place], places_booked(desk, people)
    answer = refusal(desk, offer, people) or book_result(str(FIRST_NUMBER), offer, places, people)
    return [
        _call("search", {}),
        {"role": "tool", "content": search_result(desk)},
        _call("book", {"offer": chr(ord("A") + place), "people": people}),
        {"role": "tool", "content": answer},
    ]


def _call(name: str, arguments: dict[str, Any]) -> Message:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call], "learn": True}


def _opening(scenario: Scenario, opening: Sequence[ChatMessage], rng: random.Random) -> list[Message]:
    """As in the task; in therapy some have no notes, and some have them where other environments do."""
    messages: list[Message] = [{"role": m.role, "content": _tidy(m.text)} for m in opening]
    if scenario.family == "therapy" and (draw := rng.random()) < 2 * BARE:
        system, person = messages
        system["content"] = system["content"].split("\n")[0]
        if draw < BARE:
            profile = _tidy(scenario.variables["profile"])
            person["content"] = f"<notes>\n{profile}\n</notes>\n\n{person['content']}"
    return messages


def _tidy(text: str) -> str:
    """Close the gaps that silent facets leave."""
    lines = (re.sub(r"\s+", " ", line).strip(" ,") for line in text.splitlines())
    return "\n".join(line for line in lines if line not in ("", ".")) or "..."
