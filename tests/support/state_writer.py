"""A scripted model that writes initial states, and settings to ask it with."""

import json
import random
from pathlib import Path

from scenarios.generation.card import RunRecord
from scenarios.generation.settings import GenerateSettings

LEXICON = """
who neighbour uncle manager dentist landlord cousin teacher driver barber tailor
did forgot borrowed painted sold burned hid returned dropped praised mended
what ladder kettle bicycle trumpet carpet umbrella lamp piano jacket mirror
when Monday Tuesday Wednesday Thursday Friday Saturday Sunday
felt restless proud lonely tired brave silly calm furious hopeful numb
where garden kitchen station bakery cellar office harbour library forest market
"""
WORDS = {name: words for name, *words in map(str.split, LEXICON.strip().splitlines())}


def person(rng: random.Random) -> dict:
    """A state as a good model writes it: like no other."""
    w = {name: rng.sample(words, 2) for name, words in WORDS.items()}
    text = (
        f"My {w['who'][0]} {w['did'][0]} the {w['what'][0]} on {w['when'][0]}. In the {w['where'][0]} I felt "
        f"{w['felt'][0]}, then {w['who'][1]} {w['did'][1]} a {w['what'][1]} near the {w['where'][1]} and "
        f"{w['felt'][1]} {w['when'][1]} smoke filled everything, so may I?"
    )
    fields = ("name", "age", "job", "home", "trait", "history", "habit")
    about = {name: f"{rng.choice(WORDS['felt'])} {rng.choice(WORDS['what'])}" for name in fields}
    return {"variables": about, "opening": [{"role": "user", "text": text}]}


def people(prompt, spoil=None) -> list[dict]:
    """As many as the prompt asks for; the same prompt always gets the same ones."""
    count = int(prompt[-1].text.split()[1])
    found = [person(random.Random(f"{prompt[0].text}{n}")) for n in range(count)]
    if spoil is not None:
        spoil(found[0])
    return found


def good(prompt) -> str:
    return json.dumps({"states": people(prompt)})


def spoiled_at_first(spoil):
    """The first answer has one spoiled state."""
    calls = iter([spoil])
    return lambda prompt: json.dumps({"states": people(prompt, next(calls, None))})


def opening_text(value):
    return lambda state: state["opening"][0].update(text=value)


def writer_settings(folder: Path, **changes) -> GenerateSettings:
    """Six gameable smokers in two calls, unless changed."""
    fields = {
        "family": "therapy",
        "topic": "smoking",
        "n": 6,
        "kind": "gameable",
        "model": "told/writer",
        "per_call": 3,
        "out": folder,
    }
    return GenerateSettings.model_validate(fields | changes)


def rejected(record: RunRecord) -> dict[str, int]:
    return {k: n for pool in record.pools for k, n in pool.rejected.items()}
