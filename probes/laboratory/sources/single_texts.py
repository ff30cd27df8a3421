"""Sources whose rows are one text: medical transcriptions, mental health, Aya red-teaming."""

import re
from collections.abc import Iterator

from probes.laboratory.sources.source import SourceRow, optional_text, said, text_in, words_digest
from scenarios.files.tables import TableError, TableRow

MEDICAL_SYSTEM = "You are an assistant for medical staff and handle their documents."

LANGUAGES = {
    **dict.fromkeys(("english", "eng", "en"), "English"),
    **dict.fromkeys(("french", "fra", "fr"), "French"),
    **dict.fromkeys(("hindi", "hin", "hi"), "Hindi"),
    **dict.fromkeys(("spanish", "spa", "es"), "Spanish"),
}


def medical_rows(row: TableRow) -> Iterator[SourceRow]:
    """A transcription with its speciality, title and summary.

    The collection has one transcription under several specialities: all of them are a pair.
    """
    words = text_in(row, "transcription")
    heads = {"Speciality": "medical_specialty", "Title": "sample_name", "Summary": "description"}
    lines = [f"{name}: {told}" for name, column in heads.items() if (told := optional_text(row, column))]
    facts = {"language": "English"}
    if speciality := optional_text(row, "medical_specialty"):
        facts["speciality"] = speciality
    text = "\n".join([*lines, "", words])
    yield SourceRow(
        str(row.number - 1),
        [said("system", MEDICAL_SYSTEM), said("user", text)],
        words_digest(words),
        facts=facts,
    )


def mental_health_rows(row: TableRow) -> Iterator[SourceRow]:
    """A statement; texts that come again are a pair. The status is a fact: results are to be split by it."""
    words = text_in(row, "statement")
    facts = {"language": "English"}
    if status := optional_text(row, "status"):
        facts["status"] = status
    yield SourceRow(str(row.number - 1), [said("user", words)], words_digest(words), facts=facts)


def aya_rows(row: TableRow) -> Iterator[SourceRow]:
    """A prompt in one of four languages, with its kinds of harm.

    Raises:
        TableError: Another language.
    """
    told = text_in(row, "language")
    language = LANGUAGES.get(told.lower())
    if language is None:
        known = ", ".join(dict.fromkeys(LANGUAGES.values()))
        raise TableError(f"{row.where}: language: {told!r} is none of {known}")
    facts = {"language": language}
    harms = row.cells.get("harm_category")
    # a list, or the text of one
    found = harms if isinstance(harms, list) else re.findall(r"[A-Za-z][A-Za-z &/-]+", str(harms or ""))
    if names := [str(name).strip() for name in found]:
        facts["harm"] = ", ".join(names)
    scope = optional_text(row, "global_or_local")
    if scope:
        facts["scope"] = scope
    yield SourceRow(
        f"{language.lower()}-{row.number - 1}", [said("user", text_in(row, "prompt"))], facts=facts
    )
