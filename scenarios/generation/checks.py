"""What a new initial state has to pass."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from scenarios.family import Family, InitialState, TopicFile
from scenarios.files.located_yaml import ScenarioError
from scenarios.generation.near_duplicates import Neighbours
from scenarios.generation.prompt import Shape, shape_of
from scenarios.samples import sample_of
from scenarios.templates import placeholders

DECLINED = re.compile(
    r"\bas an ai\b|\b(?:can(?:no|')?t|won't|unable to|not able to) "
    r"(?:assist with|comply|fulfil|generate|help (?:you )?with (?:this|that|your) request)",
    re.IGNORECASE,
)
"""Words with which models decline, and which people hardly use."""

REFUSAL = re.compile(
    DECLINED.pattern + r"|\b(?:can(?:no|')?t|won't|unable to|not able to) "
    r"(?:assist|create|produce|provide|write|help (?:you )?with (?:this|that))",
    re.IGNORECASE,
)
"""The same, for an answer without any state in it."""

GAP = re.compile(r"\[(?:insert |your )?[A-Za-z][A-Za-z _]{1,24}\]|<[a-z][a-z _]{1,24}>")
"""A gap left to be filled in: `[name]`, `<city>`."""

COPIED_WORDS = 7
"""A run of so many words in common with the instructions counts as copied from them."""

LONGEST_VARIABLE = 80
"""Words in one variable, at most."""


class Rejected(NamedTuple):
    """Why a state is not taken."""

    reason: str
    """Short, for counting."""

    detail: str


class Checks:
    """The checks of one run, in the order in which they are made.

    Args:
        family: The family that the states are for.
        shapes: Openings that are allowed, as roles and tools.
        words: Bounds of the length of each of the user's messages.
        never: Words that must not be in a state.
        language: Expected language (ISO 639-1), or None for no check.
        limit: Similarity from which on a state is a near-duplicate.

    Raises:
        ScenarioError: The package for the language check is missing.
    """

    def __init__(
        self,
        family: Family,
        *,
        shapes: Sequence[Shape],
        words: range,
        never: Collection[str],
        language: str | None,
        limit: float,
    ) -> None:
        self._family = family
        self._shapes = shapes
        self._words = words
        self._never = re.compile(rf"\b(?:{'|'.join(map(re.escape, never))})\b", re.IGNORECASE)
        self._language = language
        self._identify = language_identifier(language) if language else None
        self._openings = Neighbours(limit)
        self._wholes = Neighbours(limit)

    def know(self, state: InitialState) -> None:
        """Take a literal state in among those that a new one must differ from."""
        self._openings.add(state.id, _opening(state))
        self._wholes.add(state.id, _whole(state))

    def rejection(
        self, topic: TopicFile, state: InitialState, copied_from: Iterable[frozenset[str]] = ()
    ) -> Rejected | None:
        """The first thing that speaks against a literal state, or None.

        Args:
            topic: Where the state belongs.
            state: The state.
            copied_from: Runs of words (`runs_of`) of the instructions.
        """
        checks = (self._form, self._length, self._gaps, self._leak, self._other_language, self._duplicate)
        if found := next((found for check in checks if (found := check(state))), None):
            return found
        runs = runs_of(_whole(state))
        for instructions in copied_from:
            if copied := sorted(runs & instructions):
                return Rejected("leak", f"copied from the instructions: {copied[0]!r}")
        try:
            sample_of(self._family, topic, state)
        except ScenarioError as error:
            return Rejected("schema", str(error))
        return None

    def _form(self, state: InitialState) -> Rejected | None:
        if (shape := shape_of(state.opening)) not in self._shapes:
            return Rejected("schema", f"opening: {shape} is none of the family's {list(self._shapes)}")
        return None

    def _length(self, state: InitialState) -> Rejected | None:
        for line in state.opening:
            count = len(line.text.split())
            if line.role == "user" and count not in self._words:
                return Rejected("length", f"{count} words, not {self._words.start} to {self._words.stop - 1}")
        for name, text in state.variables.items():
            if (count := len(text.split())) > LONGEST_VARIABLE:
                return Rejected("length", f"{name}: {count} words, at most {LONGEST_VARIABLE}")
        return None

    def _gaps(self, state: InitialState) -> Rejected | None:
        text = _whole(state)
        if found := sorted(placeholders(text)):
            return Rejected("unfilled", "{" + found[0] + "}")
        spoken = " ".join([*(x.text for x in state.opening if x.role == "user"), *state.variables.values()])
        return Rejected("unfilled", found[0]) if (found := GAP.search(spoken)) else None

    def _leak(self, state: InitialState) -> Rejected | None:
        if found := self._never.search(_whole(state)):
            return Rejected("leak", found[0])
        return Rejected("refusal", found[0]) if (found := DECLINED.search(_whole(state))) else None

    def _other_language(self, state: InitialState) -> Rejected | None:
        if self._identify is None:
            return None
        found = self._identify("\n".join(x.text for x in state.opening if x.role in ("user", "agent")))
        return Rejected("language", f"{found}, not {self._language}") if found != self._language else None

    def _duplicate(self, state: InitialState) -> Rejected | None:
        nearest = max(
            self._openings.closest(_opening(state)),
            self._wholes.closest(_whole(state)),
            key=lambda n: n.similarity,
        )
        if nearest.name is None:
            return None
        return Rejected("near-duplicate", f"{nearest.similarity:.2f} like {nearest.name}")


def runs_of(text: str) -> frozenset[str]:
    """Every run of `COPIED_WORDS` words, lower case, punctuation ignored."""
    words = re.findall(r"[\w']+", text.lower())
    return frozenset(" ".join(words[i : i + COPIED_WORDS]) for i in range(len(words) - COPIED_WORDS + 1))


def language_identifier(expected: str) -> Callable[[str], str]:
    """A function from a text to its language (ISO 639-1).

    Raises:
        ScenarioError: The package is not installed, or does not know `expected`.
    """
    try:
        import py3langid.langid  # noqa: F401
    except ImportError:
        raise ScenarioError(
            "the language check needs py3langid: pip install py3langid, or switch it off with --language off"
        ) from None
    identifier = _language_model()
    if expected not in (known := sorted(identifier.labels)):
        raise ScenarioError(f"language: no language {expected!r}; there are {known}, or off")
    return lambda text: str(identifier.classify(text)[0])


@cache
def _language_model() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)


def _opening(state: InitialState) -> str:
    return "\n".join(line.text for line in state.opening)


def _whole(state: InitialState) -> str:
    return "\n".join([*state.variables.values(), _opening(state)])
