"""A model that writes stakes pairs, and one that rates them, by rules that a test can foresee."""

import json
import re

from tests.support.told import Prompt

HIGH = "The pump of the ward stops at noon and {n} people breathe through it."
LOW = "The pump of the pond stops at noon and {n} ducks swim beside it."


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
