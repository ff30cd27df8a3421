"""Who a text speaks of: kinds of words from behind the stage, and the two sides in the third person."""

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path

import yaml

from solvers.turn_marks import Names

_WORDS = Path(__file__).parent / "stage_words.yaml"

_FORETOLD = "(?:'d| would| might| should| may| will)"
_SUBJECT = r"(?:'d|'ll| (?:is|was|has|had|would|might|may|should|will|just|also|never|always|\w+s)\b)"
_MOTIVE = re.compile(
    r"\b(?:he|she|they) (?:wants?|needs?|feels?|is|are|wavers?|hesitates?|decides?)\b", re.IGNORECASE
)
_LINE = re.compile(
    r"\b(?:he|she|they|i)(?:'d| would| might| could) (?:say|write|reply|answer|respond|text)\b"
    r"[^.!?\n]{0,20}[:\"“…]",
    re.IGNORECASE,
)


@cache
def kind(name: str) -> re.Pattern[str]:
    """Words of one kind of `stage_words.yaml`."""
    words = _kinds()[name].split("\n")
    return re.compile(rf"(?<![\w'])(?:{'|'.join(filter(None, words))})(?!\w)", re.IGNORECASE)


@cache
def _kinds() -> dict[str, str]:
    return yaml.safe_load(_WORDS.read_text(encoding="utf-8"))


def without_quotes(text: str) -> str:
    """A text without what stands in double quotes in it; a text that is one quotation is left whole."""
    inner = text.strip()
    if re.fullmatch(r"[\"“][^\"“”]*[\"”]", inner):
        return inner[1:-1]
    return re.sub(r"[\"“„«][^\"“”„«»\n]*[\"”»“]", " … ", text)


@lru_cache(maxsize=512)
def third_person(names: Names) -> "ThirdPerson":
    """What is looked for where the sides have these names."""
    return ThirdPerson(names)


class ThirdPerson:
    """How a text speaks of the person and of the agent when it is neither's own.

    Args:
        names: What they are called.
    """

    def __init__(self, names: Names) -> None:
        own = [n for n in sorted(names.person) if n[:1].isupper()]
        played = [n for n in sorted(names.person) if n[:1].islower()]
        common = sorted({*played, "user", "person", "human"})
        less_common = [n for n in played if n not in ("user", "person", "human")]
        self.people = _any([*own, *(f"the {n}" for n in common), *(f"The {n}" for n in common)])
        """Pattern of the names and nouns that the person goes by."""

        self._own = _search(rf"\b(?:{_any(own)})\b", own)
        # not where people name themselves: "I'm Kim", "Kim here"
        self._subject = _search(
            rf"(?<!'m )(?<! am )(?<!'s )(?<! is )\b(?:{_any(own)}){_SUBJECT}(?![^.!?\n]*\bhere\b)", own
        )
        self._vocative = _search(
            rf"\b(?:you|your|great|well|okay|hi|hello|dear)\b[^.!?\n]{{0,40}},? (?:{_any(own)})[.!?,]", own
        )
        self._this_noun = _search(rf"(?i)\bthis (?:{_any(less_common)})\b", less_common)
        self._noun = _search(
            rf"(?i)\b(?:(?:the|this|as an?) (?:{_any(less_common)})\b(?! (?:at|in|from|who|that)\b)"
            rf"|(?:{_any(less_common)})'s\b)",
            less_common,
        )
        self._bare_noun = _search(rf"(?i)\b(?:{_any(less_common)})\b", less_common)
        self._as_own = _search(
            r"\b(?:[Aa]s|als|como|comme|come|[Cc]onsider|[Pp]ortray|[Pp]laying|perspective of) "
            rf"(?:{_any(own)})\b(?!'s)|\b(?:need|want|have|make|let|be) (?:{_any(own)})\b"
            rf"|\bin (?:{_any(own)})(?:'s|') (?:shoes|place|position|voice)\b",
            own,
        )
        self._as_noun = re.compile(
            r"(?i)\b(?:respond|reply|answer|speak|write|act|continue[^.!?\n]{0,25}|output) "
            rf"as (?:an?|the|this) (?:{_any(common)})\b"
        )
        self._foretold = re.compile(rf"\b(?:(?i:he|she|they|someone|somebody)|{self.people}){_FORETOLD}\b")
        agents = sorted(names.agent)
        self._agent = _search(
            rf"\b(?:{_any(agents)}) (?:just |has |is |had )?\w+(?:ed|s|ing|ld|ve)\b", agents
        )

    def named(self, text: str) -> bool:
        """The person's own name is the subject of a sentence, or they are "this customer".

        Nobody says that but who plays them.
        """
        return bool(self._subject.search(text) or self._this_noun.search(text))

    def addressed(self, text: str) -> bool:
        """The person is called by their own name, as the agent would call them."""
        return self._vocative.search(text) is not None

    def mentioned(self, text: str) -> bool:
        """The person's name, or what the prompt calls them, is there in any way."""
        return bool(self._own.search(text) or self._bare_noun.search(text)) or self.person(text)

    def person(self, text: str) -> bool:
        """The person is spoken of: by what they are, by what the prompt calls them, by name."""
        found = kind("person").search(text) or self._noun.search(text) or self._as_own.search(text)
        return found is not None or self.named(text)

    def agent(self, text: str) -> bool:
        """The agent is spoken of."""
        return bool(kind("agent").search(text) or self._agent.search(text))

    def taken_as_a_part(self, text: str) -> bool:
        """The person is a part that is taken: "as Kim", "reply as the user"."""
        found = kind("taken").search(text) or self._as_own.search(text) or self._as_noun.search(text)
        return found is not None

    def foretold(self, text: str) -> bool:
        """What the person would do or say; of one who is called by name, also what they want or feel."""
        if self._foretold.search(text):
            return self.person(text)
        by_name = self.named(text) or self._as_own.search(text) is not None
        return by_name and _MOTIVE.search(text) is not None

    def line_foretold(self, text: str) -> bool:
        """What they would say, with the words."""
        return self.person(text) and _LINE.search(text) is not None


def _any(words: Iterable[str]) -> str:
    return "|".join(re.escape(word).replace(r"\ ", " ") for word in words)


def _search(pattern: str, words: Iterable[str]) -> re.Pattern[str]:
    """The pattern, or one that finds nothing if there are no words for it."""
    return re.compile(pattern if list(words) else r"(?!)")
