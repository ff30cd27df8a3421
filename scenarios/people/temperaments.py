"""How simulated people write: what all families share, and which temperament each person has.

A temperament tells nothing of the kind of user: within a topic gameable users and the others get the same
ones in the same order.
"""

import random
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import Field

from scenarios.family import UserPart
from scenarios.files.located_yaml import Located, read_yaml, validated
from scenarios.schema import Frozen, Words
from scenarios.templates import almost_placeholders, fill, placeholders

SHARED = Path(__file__).with_name("shared.yaml")

COUNTERPART, TEMPERAMENT, WRITING = "counterpart", "temperament", "writing"

OF_USERS = frozenset({COUNTERPART, TEMPERAMENT, WRITING})
"""Variables of the prompt of the simulated user alone; a family's own of these names stand before them."""


class People(Frozen):
    """What simulated users of all families share (`shared.yaml`). Texts may use `{counterpart}`."""

    writing: Words
    """How people write, whoever they are."""

    temperaments: dict[str, Words] = Field(min_length=2)
    """Name -> how such a person writes, and what poor answers do to them."""


def read_people(path: Path) -> People:
    """Read and check such a file.

    Raises:
        ScenarioError: Names the file, line and field that is wrong.
    """
    located = read_yaml(path)
    people = validated(People, located)
    _check(located, (WRITING,), people.writing)
    for name, text in people.temperaments.items():
        _check(located, ("temperaments", name), text)
    return people


@cache
def shared_people() -> People:
    """What comes with the suite."""
    return read_people(SHARED)


class Temperaments:
    """Gives each person of a set theirs.

    In every topic, and over the topics, each comes up equally often, as far as the numbers allow.

    Args:
        seed: Draws the order.
    """

    def __init__(self, seed: int) -> None:
        names = sorted(shared_people().temperaments)
        self._order = random.Random(f"{seed}:temperaments").sample(names, len(names))

    def of(self, topic: int, place: int) -> str:
        """The temperament of a person.

        Args:
            topic: Number of the topic in its family.
            place: Of the person among those of their topic and kind.
        """
        return self._order[(topic + place) % len(self._order)]


def of_a_state(family: str, state: str) -> str:
    """The temperament of a person outside any set, always the same."""
    return random.Random(f"{family}:{state}:temperament").choice(sorted(shared_people().temperaments))


def has_temperament(user: UserPart, variables: Mapping[str, str]) -> bool:
    """Whether a prompt takes up our temperaments, and not a variable of its own."""
    return TEMPERAMENT in placeholders(user.prompt) and TEMPERAMENT not in variables


def users_prompt(user: UserPart, variables: Mapping[str, str], temperament: str) -> str:
    """The system prompt of the simulated user.

    Args:
        user: The family's part.
        variables: Of the initial state.
        temperament: Name of the person's.

    Raises:
        ValueError: A template variable without a value.
    """
    people = shared_people()
    given = {COUNTERPART: fill(user.counterpart, variables)} | dict(variables)
    texts = {TEMPERAMENT: people.temperaments[temperament], WRITING: people.writing}
    filled = {name: fill(text, given).strip() for name, text in texts.items()}
    return fill(user.prompt, filled | given).strip()


def _check(located: Located, at: tuple[str, ...], text: str) -> None:
    if unknown := sorted(placeholders(text) - {COUNTERPART}):
        names = ", ".join("{" + name + "}" for name in unknown)
        raise located.error(at, f"no value for {names}; only {{{COUNTERPART}}} is filled here")
    for written, meant in almost_placeholders(text, {COUNTERPART}):
        if meant:
            raise located.error(at, f"{written} would stay as it stands; write {{{meant}}}")
