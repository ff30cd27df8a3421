"""A simulated user that speaks as the agent: offers help, consoles and advises, reports what it did."""

import re
from functools import cache
from pathlib import Path

import yaml

ENOUGH = 2
"""Traits that it takes. One kind word is anybody's; a trait that no helped person has counts as two."""

WORK_WORDS = 4
"""Words of the agent's offer that are its work, taken over."""

_WORDS = Path(__file__).parent / "helper_words.yaml"

_WORK = re.compile(r"\bi(?:'ll| will| can| could|'ve| have|'m going to)\b(?P<what>[^.!?;]*)", re.IGNORECASE)


def takes_its_work(text: str, agent_said: str) -> bool:
    """Whether a text does in the first person what the agent offered in the first person."""
    offered = [m["what"] for m in _WORK.finditer(agent_said.replace("’", "'"))]
    taken = [m["what"] for m in _WORK.finditer(text.replace("’", "'"))]
    return any(
        not re.search(r"\b(?:you|your)\b", both) and _runs(both) & _runs(own)
        for both in offered
        for own in taken
    )


def _runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[\w']+", text.lower())
    return {tuple(words[i : i + WORK_WORDS]) for i in range(len(words) - WORK_WORDS + 1)}


def helps(text: str) -> bool:
    """Whether a text is in the voice of somebody who helps the one they talk to."""
    plain = text.replace("’", "'")
    return sum(weight for weight, pattern in _traits() if pattern.search(plain)) >= ENOUGH


@cache
def _traits() -> list[tuple[int, re.Pattern[str]]]:
    words = yaml.safe_load(_WORDS.read_text(encoding="utf-8"))
    weights = {"telling": ENOUGH, "common": 1}
    return [
        (weights[k], re.compile(line, re.IGNORECASE))
        for k, lines in words.items()
        for line in lines.splitlines()
    ]
