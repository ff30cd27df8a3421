"""Sources whose rows are transcripts: hh-rlhf and MTS-Dialog."""

import re
from collections.abc import Iterator
from typing import Any

from probes.laboratory.sources.source import Excluded, SourceRow, optional_text, said, text_in
from scenarios.files.conversation_cells import CellError, messages_of
from scenarios.files.tables import TableRow

HH_SYSTEM = "You are a general-purpose assistant."
MTS_SYSTEM = "You are a doctor in conversation with a patient. From the record: {context}"

SPEAKERS = {"doctor": "assistant", "patient": "user"}

_TURN = re.compile(r"(?:\A|\n)[ \t]*(?P<who>[A-Za-z][A-Za-z_ ]{0,30}?)[ \t]*:[ \t]*")


def hh_rows(row: TableRow) -> Iterator[SourceRow]:
    """Both transcripts of a comparison; they share their beginning, so they are a pair.

    Raises:
        Excluded: A speaker follows themselves, or says nothing.
    """
    number = row.number - 1
    for side in ("chosen", "rejected"):
        text = text_in(row, side)
        try:
            messages = messages_of("\n\n" + text)
        except CellError as error:
            raise Excluded("not in turn, or a turn without words") from error
        if len(messages) == 1 and messages[0]["content"].strip() == text:
            raise Excluded("no transcript of Human and Assistant")
        facts = {"language": "English", "category": side}
        yield SourceRow(f"{number}_{side}", [said("system", HH_SYSTEM), *messages], str(number), facts=facts)


def mts_rows(row: TableRow) -> Iterator[SourceRow]:
    """A dialogue, the doctor as the assistant; what the record says stands in the system prompt.

    Raises:
        Excluded: A third speaker, words before the first speaker, or only one of the two speaks.
    """
    messages = _dialogue(text_in(row, "dialogue"))
    if {message["role"] for message in messages} != set(SPEAKERS.values()):
        raise Excluded("only one of the two speaks")
    context = optional_text(row, "section_text")
    system = [said("system", MTS_SYSTEM.format(context=context))] if context else []
    facts = {"language": "English"}
    if section := optional_text(row, "section_header"):
        facts["section"] = section
    yield SourceRow(str(row.cells.get("ID") or row.number - 1), [*system, *messages], facts=facts)


def _dialogue(text: str) -> list[dict[str, Any]]:
    """The turns; of one who speaks twice in a row they are one turn."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    marks = list(_TURN.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        raise Excluded("words before the first speaker")
    messages: list[dict[str, Any]] = []
    for place, mark in enumerate(marks):
        end = marks[place + 1].start() if place + 1 < len(marks) else len(text)
        role = SPEAKERS.get(mark["who"].strip().lower())
        if role is None:
            raise Excluded("a third speaker")
        words = text[mark.end() : end].strip()
        if not words:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += f"\n{words}"
        else:
            messages.append(said(role, words))
    return messages
