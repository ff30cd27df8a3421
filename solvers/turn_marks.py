"""Who a message says is speaking: names before the words, marks of chat templates, a script of both sides."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

Side = Literal["person", "agent"]

_AGENTS = (
    r"(?:ai|virtual|booking|support|coaching)?[ _-]?(?:assistant|companion|partner|agent|app|bot|coach)"
    r"|ai|chat ?bot|language model|model|system|therapist|counsell?or"
    r"|assistent(?:in)?|asistente|assistente|agente|aplicación|l'assistant|ki|ia"
)
_PEOPLE = (
    r"(?:simulated |human )?(?:user|person|human|customer|client|patient|tenant|caller|guest|character)|me"
    r"|nutzer(?:in)?|benutzer(?:in)?|kund(?:e|in)|ich|mensch|usuari[oa]|utilisateur|utilisatrice|persona|yo|moi|utente"
)
_TEMPLATE = re.compile(
    r"<\|/?[a-z_]+\|>|<\uff5c[^<>\n]{1,30}\uff5c>|</?(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|</?s>"
    r"|<\|turn>|<turn\|>|(?:\A|\n\n)(?:user|assistant|model)\n(?=\S)|\[(?:AVAILABLE_TOOLS|TOOL_CALLS|SYSTEM_PROMPT)\]",
    re.IGNORECASE,
)
"""Marks of turns in the chat templates of common models."""


_MAY_MARK = re.compile(r"[:：\]*>)}_]| [-–—] ")
"""What every mark has some of: most messages have none, and need not be looked at closely."""


class Names(NamedTuple):
    """What the two sides are called, beside what everybody calls them."""

    person: frozenset[str]
    agent: frozenset[str]


class Mark(NamedTuple):
    """A speaker's name before words."""

    side: Side
    start: int
    end: int
    """Where the words begin."""


@lru_cache(maxsize=1024)
def who_is_who(persona: str, setting: str = "") -> Names:
    """The proper names of both sides, and what the prompt calls the person.

    Args:
        persona: System prompt of the simulated user: names the person before their age ("Kim, 32"), or
            after "You are"; what they play after "You play"; and the agent after what it is.
        setting: What the agent is, as in `Scenario.setting`; its names are the agent's.
    """
    person = {
        *re.findall(r"(?m)(?:^|\b(?:are|named|called|play|eres|bist) )([A-Z][\w'-]+),? \(?\d{1,3}\b", persona)
    }
    person |= {*re.findall(r"(?m)^([A-Z][\w'-]+), \d{1,3}\b", persona)}
    person |= {*re.findall(r"\b[Yy]ou (?:are|play) ([A-Z][\w'-]+)\b", persona)}
    person |= {*re.findall(r"\b[Yy]ou (?:play|are) an? (\w+)\b", persona)}
    agent = {
        *re.findall(
            r"\b(?:with|app|aplicación|companion|partner|assistant(?: of)?) ((?:[A-Z][\w'-]+ ?)+)",
            f"{persona}\n{setting}",
        )
    }
    agent |= {*re.findall(r"\A(?:the |an? )?((?:[A-Z][\w'-]+ ?)+),", setting)}
    agent = {name.strip() for name in agent}
    return Names(frozenset(person - agent), frozenset(agent))


def template_marks(text: str) -> bool:
    """Whether the text has marks that only a chat template writes."""
    return _TEMPLATE.search(text) is not None


def tells_both(text: str, names: Names) -> bool:
    """Whether the agent's words are told beside the person's, as in a story."""
    agents = "|".join([*(re.escape(n) for n in names.agent), "[Tt]he (?:assistant|app|bot|chatbot|AI)"])
    speaks = rf"(?:{agents}) (?:replies|says|answers|responds|writes|asks)"
    told = re.search(rf"[\"”],? {speaks}\b|\b{speaks}[:,] ?[\"“]", text)
    acted = agents and re.search(rf"\*(?:{agents}) \w+s\b[^*]*\*\s*[\"“]", text)
    return bool(told or acted) and len(re.findall(r"[\"“][^\"“”]+[\"”]", text)) > 1


def turn_marks(text: str, names: Names) -> list[Mark]:
    """Speakers' names that stand before words, in order.

    What looks like one and is none: a field of a form or a score ("Customer: 3", "User: kiwi_77"), a name
    in a sentence ("Finch: best name for a bird"), and a dialogue that the person reports, with words of
    their own before and after it.
    """
    if not _MAY_MARK.search(text):
        return []
    found = [m for m in _pattern(names).finditer(text) if _is_a_mark(m, text)]
    dashed = [m for m in found if m["dash"]]
    if len(dashed) < 2:
        found = [m for m in found if not m["dash"]]
    if not any(m["person"] in names.person and m["person"][:1].isupper() for m in found if m["person"]):
        # "Me: ... You: ..." is a joke that people make; "You: ... Kim: ..." is a script
        found = [m for m in found if m["agent"] != "You"]
    marks = [Mark("person" if m["person"] else "agent", m.start(), m.end()) for m in found]
    if len(marks) == 1 and not _begins_a_speech(found[0], text):
        return []
    if {m.side for m in marks} == {"person"} and _is_a_list(text, len(marks)):
        return []
    return [] if _is_reported(text, marks) else marks


@lru_cache(maxsize=1024)
def _pattern(names: Names) -> re.Pattern[str]:
    def side(common: str, own: frozenset[str]) -> str:
        proper = "|".join(re.escape(n) for n in sorted(own, key=len, reverse=True))
        return rf"(?i:{common})" + (rf"|{proper}|{proper.upper()}" if proper else "")

    agents = side(_AGENTS, names.agent)
    compound = rf"(?:{'|'.join(re.escape(n) for n in names.agent)}) (?i:{_AGENTS})|" if names.agent else ""
    label = rf"(?:(?P<person>{side(_PEOPLE, names.person)})|(?P<agent>{compound}{agents}|You))"
    decorated = rf"(?:the )?{label}(?: ?\([^()\n]{{1,20}}\)| (?:replies|responds|says|writes|answers))?"
    place = r"(?:^|(?<=[.!?…”\"')\]])[ \t]+|(?<=\])[ \t]*|(?<=[^\s(])[ \t]+(?=\[))"
    return re.compile(
        rf"(?m){place}[ \t]{{0,8}}[>#*_~-]{{0,6}}[ \t]{{0,4}}(?P<bracket>[\[(<{{])?{decorated}"
        r"(?(bracket)[\])>}][*_]{0,3}:?"
        r"|(?:[*_]{0,3}[:：][*_]{0,3}|(?P<dash>[*_]{0,3} [-–—])(?= )|[*_]{2,3}$))[ \t]{0,8}"
    )


def _is_a_mark(found: re.Match[str], text: str) -> bool:
    """Words must follow, on this line or the next, and neither a number nor a nickname."""
    following = text[found.end() :].lstrip(" \t\n*_\"“'")
    first = re.match(r"\S+", following)
    if first is None:
        # nothing follows: an empty turn
        return found.start() > 0
    word = first[0].strip(".,;:!?\"”'")
    if re.search(r"\d|_|@|/", word) or re.search(r"[a-z][A-Z]", word):
        return False
    if found["bracket"]:
        return not (found["bracket"] == "(" and found.start() > 0)
    return True


def _begins_a_speech(found: re.Match[str], text: str) -> bool:
    """Whether a single mark is one: what follows a name in a sentence is no speech."""
    following = text[found.end() :].lstrip(" \t\n*_\"“'")
    if following[:1].islower():
        label = found["person"] or found["agent"]
        if not re.fullmatch(rf"(?i:{_PEOPLE}|{_AGENTS})", label):
            return False  # "Finch: best name for a bird"
        if found["person"]:
            # "user: i don't know" is speech, "user: nightowl says so" is not
            return re.match(r"(?:i|i'm|im|yes|no|ok|my)\b", following) is not None
    about_somebody = r"\w+ (?:on|from|in|at|says|said|wrote|writes|thinks|posted|claims) "
    return not (found["person"] and re.match(about_somebody, following))


def _is_a_list(text: str, marks: int) -> bool:
    """Whether there are more labels than speakers: "Me: ... Him: ..."."""
    return len(re.findall(r"(?:^|(?<=[.!?]) )[A-Z][\w ]{1,15}:(?= )", text, re.MULTILINE)) > marks


def _is_reported(text: str, marks: Sequence[Mark]) -> bool:
    """A dialogue between an introduction and the person's own words about it."""
    if len(marks) < 2:
        return False
    before = text[: marks[0].start].rstrip()
    introduced = re.search(r"(?:[:：]|\b(?:like|like this|so|goes|went|said|wrote))\Z", before, re.IGNORECASE)
    after = text[marks[-1].end :].strip().split("\n")
    return introduced is not None and len([line for line in after if line.strip()]) > 1
