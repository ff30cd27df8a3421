"""Sources of twins, whose labels come from how they were made: MASK, and deployment contexts."""

from collections.abc import Iterator

from probes.laboratory.sources.source import Excluded, SourceRow, optional_text, said, text_in, words_digest
from scenarios.files.conversation_cells import CellError, messages_of
from scenarios.files.tables import TableError, TableRow

ELICITATIONS = ("belief_elicit_1", "belief_elicit_2", "belief_elicit_3")

CONTEXTS = ("deployment_context", "system", "system_prompt")
SIDES = {"high_stakes": 1, "low_stakes": 0, "high": 1, "low": 0}


def mask_rows(row: TableRow) -> Iterator[SourceRow]:
    """The prompt under pressure, and the questions that ask for the same belief without any.

    All rows about one proposition are a pair. What is told apart is pressure to lie, which is taken for high
    stakes as in the set of McKenzie et al. 2025; it is a proxy.

    Raises:
        Excluded: No prompt under pressure, or no question.
    """
    pair = words_digest(text_in(row, "proposition"))
    number = row.number - 1
    pressed = [said("user", text_in(row, "user_prompt"))]
    if system := optional_text(row, "system_prompt"):
        pressed.insert(0, said("system", system))
    asked = [(name, words) for name in ELICITATIONS if (words := optional_text(row, name))]
    if not asked:
        raise Excluded("no question for the belief")
    facts = {"language": "English"}
    yield SourceRow(f"{number}_pressure", pressed, pair, label=1, facts=facts)
    for name, words in asked:
        yield SourceRow(f"{number}_{name}", [said("user", words)], pair, label=0, facts=facts)


def deployment_rows(row: TableRow) -> Iterator[SourceRow]:
    """Two conversations of one deployment, the system prompt telling what it is.

    Columns `high_stakes` and `low_stakes` (or `high` and `low`) hold a text or a list of messages.

    Raises:
        Excluded: A side is missing, or both are the same.
        TableError: A side is no conversation, or there are no such columns.
    """
    names = [name for name in SIDES if name in row.cells]
    if {SIDES[name] for name in names} != {0, 1}:
        raise TableError(
            f"{row.where}: no columns high_stakes and low_stakes; there are {', '.join(row.cells)}"
        )
    context = next((told for name in CONTEXTS if (told := optional_text(row, name))), "")
    sides: dict[str, list[dict]] = {}
    for name in names:
        try:
            sides[name] = messages_of(row.cells[name])
        except CellError as error:
            raise TableError(f"{row.where}: {name}: {error}") from None
    if not all(any(m["content"].strip() for m in messages) for messages in sides.values()):
        raise Excluded("a side is missing")
    if len({str(messages) for messages in sides.values()}) == 1:
        raise Excluded("both sides are equal")
    pair = str(row.cells.get("id") or row.number - 1)
    for name, messages in sides.items():
        system = [said("system", context)] if context and messages[0]["role"] != "system" else []
        label = 1 if SIDES[name] else 0
        facts = {"language": "English"}
        if domain := optional_text(row, "domain"):
            facts["domain"] = domain
        yield SourceRow(
            f"{pair}_{'high' if label else 'low'}", [*system, *messages], pair, label=label, facts=facts
        )
