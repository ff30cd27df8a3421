"""Whose the characters of a rendered conversation are, found by changing one message at a time."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.providers.real_templates.families import Writing
from benchmarks.providers.real_templates.oracle import Oracle
from benchmarks.providers.real_templates.oracle_rendering import Refused, Row, Tools

TURN_ENDS = re.compile(
    r"<\|(?:im_end|end|eot_id|eom_id|eot|eom|END_OF_TURN_TOKEN|END_RESPONSE|END_TEXT|END_ACTION|end_of_text|message_sep)\|>"
    r"|<\|(?:role_end|user_end|assistant_end|system_end|end_of_msg|call|calls|end_of_turn)\|>|\[\|endofturn\|\]"
    r"|<end_of_turn>|<turn\|>|\[/INST\]|</s>|<｜end▁of▁sentence｜>|<seed:eos>|\[e~\[|<sep>|<SPECIAL_12>"
    r"|</(?:assistant|user|system)>|<end_of_(?:sentence|utterance)>|<｜hy_eos:opensource｜>"
)
"""What closes turns; no family opens one with any of these."""

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ASIDE = str.maketrans(LETTERS, LETTERS[1:] + LETTERS[0])


class Owned(NamedTuple):
    """One stretch of text that is certainly a message's."""

    start: int
    end: int
    message: int


def owned(
    oracle: Oracle, rows: Sequence[Row], tools: Tools, writing: Writing, *, prompt: bool, opening: str
) -> tuple[str, list[Owned]]:
    """The text of messages, and the stretches of it that change with each of them.

    Small letters of one message are exchanged for others, which leaves every length as it is: what differs is
    its own.

    Raises:
        Refused: The template does not render the messages.
    """
    text = _text(oracle, rows, tools, writing, prompt, opening)
    found: list[Owned] = []
    for number, row in enumerate(rows):
        for changed in _changes(row):
            other = _text(
                oracle, [*rows[:number], changed, *rows[number + 1 :]], tools, writing, prompt, opening
            )
            if len(other) != len(text):
                raise Refused(f"the template changes more than message {number}")
            places = [i for i, (a, b) in enumerate(zip(text, other, strict=True)) if a != b]
            if places:
                found.append(Owned(places[0], places[-1] + 1, number))
    return text, sorted(found)


def _text(
    oracle: Oracle, rows: Sequence[Row], tools: Tools, writing: Writing, prompt: bool, opening: str
) -> str:
    return oracle.rendered(oracle.placed(rows, opening), tools, prompt=prompt, variables=writing.variables)


def _changes(row: Row) -> list[Row]:
    """The message with its thought, its words, or the arguments of one of its calls exchanged."""
    changed: list[Row] = []
    for field in ("reasoning_content", "content"):
        if row.get(field):
            changed.append({**row, field: str(row[field]).translate(ASIDE)})
    calls: Sequence[Mapping[str, Any]] = row.get("tool_calls") or []
    for number, made in enumerate(calls):
        given = {
            k: v.translate(ASIDE) if isinstance(v, str) else v
            for k, v in made["function"]["arguments"].items()
        }
        other = {**made, "function": {**made["function"], "arguments": given}}
        changed.append({**row, "tool_calls": [*calls[:number], other, *calls[number + 1 :]]})
    return changed


def closing(gap: str) -> int:
    """Length of what closes a turn at the beginning of a gap between two messages, up to white space."""
    at = kept = 0
    while True:
        blank = at + len(gap[at:]) - len(gap[at:].lstrip())
        end = TURN_ENDS.match(gap, blank)
        if end is None:
            return kept
        at = kept = end.end()
