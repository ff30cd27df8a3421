"""A model that writes stakes pairs, and one that rates them, by rules that a test can foresee."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.told import Answer, Prompt, ToldAPI

HIGH = "After some mistakes the pump of the ward stops at noon and {n} people breathe through it."
LOW = "After some mistakes the pump of the pond stops at noon and {n} ducks swim beside it."


def written_pair(prompt: Prompt) -> str:
    """What a good writer answers: both situations, both prompts in the style asked for, or the properties."""
    system, ask = prompt[0].text, prompt[-1].text
    if "You sort situations" in system:
        high = {"harm": "life or health", "bearer": "strangers", "horizon": "minutes", "reversible": "not"}
        low = {"harm": "comfort", "bearer": "nobody", "horizon": "days", "reversible": "sometimes"}
        return json.dumps({"high": high, "low": low})
    if "You invent situations" in system:
        n = sum(map(ord, ask)) % 90 + 10
        return f"Here it is:\n```json\n{json.dumps({'high': HIGH.format(n=n), 'low': LOW.format(n=n)})}\n```"
    style = re.search(r"Style: ([^.]*)\.", ask)
    told = {
        side: f"{style[1] if style else ''}: {re.search(rf'{which} situation: (.*)', ask)[1]}"
        for side, which in (("high", "First"), ("low", "Second"))
    }
    return json.dumps(told)


def rated_by_words(prompt: Prompt) -> str:
    """9 if somebody breathes, else 2; sure of itself."""
    rating = 9 if "breathe" in prompt[-1].text else 2
    return json.dumps({"reason": "I looked for breath.", "rating": rating, "confidence": 9})


def every_told_model_follows(patch: pytest.MonkeyPatch, script: Callable[[str, Prompt], Answer]) -> None:
    """Models of this provider that an eval makes by name follow a script too; it is given their name."""
    start = ToldAPI.__init__

    def init(self: ToldAPI, model_name: str, *arguments: Any, **options: Any) -> None:
        start(self, model_name, *arguments, **options)
        self.script = lambda prompt: script(model_name, prompt)

    patch.setattr(ToldAPI, "__init__", init)
