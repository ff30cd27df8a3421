"""Prompt and answer of a row of static data: the prompt once, however often the row has it.

Data sets differ in where the prompt stands: in a column of its own, at the start of every answer, or both
(`ultrafeedback_binarized`, many copies of hh-rlhf). A prompt that is trained on twice teaches to repeat it.

Differs from `trl.extract_prompt`: that takes what two answers have in common for the prompt, letter by letter
where they are texts, so that answers which begin alike lose their first words to it; and
`maybe_extract_prompt` leaves a list of messages that is both in its column and in the answers. On
conversations without such a column the two agree. `trl.unpair_preference_dataset` keeps no trace of which row
an answer came from, which is needed here so that no row is used twice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from scenarios.files.conversation_cells import CellError, looks_like_messages, messages_of

Message = dict[str, Any]

COMPARED = 200
"""Rows in which prompts are looked for at the start of answers."""


class Unusable(Exception):
    """A row that is left out.

    Args:
        reason: One word, by which it is counted.
        detail: What is wrong with it.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.detail = detail


def conversation(start: Any, rest: Any, *, repeated: bool = False) -> tuple[list[Message], Message]:
    """Prompt and answer.

    Args:
        start: The prompt: a text, a transcript, or messages in any form; None if `rest` holds it.
        rest: The answer as a text or as messages; or the whole conversation, or the end of it.
        repeated: Answers that are texts begin with the prompt's text, which is not part of them.

    Raises:
        Unusable: `malformed`: a text is empty or missing, or the conversation does not end with the answer of
            an assistant to somebody else. `two_prompts`: the answer has another prompt than the column.
    """
    if start is None:
        whole = _messages(rest, "the conversation")
    elif _is_answer(rest):
        text = rest.removeprefix(start).lstrip() if repeated and isinstance(start, str) else rest
        whole = [*_messages(start, "the prompt"), {"role": "assistant", "content": text}]
    else:
        whole = _joined(_messages(start, "the prompt"), _messages(rest, "the answer"))
    prompt, last = whole[:-1], whole[-1]
    if not prompt or last["role"] != "assistant" or prompt[-1]["role"] == "assistant":
        raise Unusable("malformed", "does not end with an assistant's answer to somebody else")
    if not last.get("tool_calls") and not last["content"].strip():
        raise Unusable("malformed", "the answer is empty")
    return prompt, last


def repeats_prompt(rows: Any, prompt: str | None, answers: Sequence[str]) -> bool:
    """Whether the answers of a data set are texts that all begin with the text of their prompt.

    One answer may do so by chance ("Hello" - "Hello there!"); all of the first 200 rows do not.

    Args:
        rows: The rows.
        prompt: Column of the prompt, if there is one.
        answers: Columns of the answers.
    """
    if prompt is None:
        return False
    for number in range(min(len(rows), COMPARED)):
        row: Mapping[str, Any] = rows[number]
        start = row.get(prompt)
        for column in answers:
            text = row.get(column)
            if not isinstance(start, str) or not isinstance(text, str):
                return False
            if not start or not text.startswith(start) or not text.removeprefix(start).strip():
                return False
    return len(rows) > 0


def _is_answer(rest: Any) -> bool:
    return isinstance(rest, str) and not looks_like_messages(rest)


def _messages(value: Any, what: str) -> list[Message]:
    """Messages in any form; a text that does not look like some is what a user says."""
    plain = _is_answer(value)
    if value is None or (plain and not value.strip()):
        raise Unusable("malformed", f"{what} is missing")
    try:
        found = messages_of(value, plain=plain)
    except CellError as error:
        raise Unusable("malformed", f"{what}: {error}") from None
    if not found:
        raise Unusable("malformed", f"{what} is empty")
    return found


def _joined(start: list[Message], rest: list[Message]) -> list[Message]:
    """The conversation of a prompt and of what repeats it, a part of it, or nothing of it."""
    first = [_said(message) for message in start]
    second = [_said(message) for message in rest]
    system = next((n for n, message in enumerate(rest) if message["role"] != "system"), len(rest))
    # the whole prompt again, perhaps after a system message that the column leaves out
    for skipped in sorted({0, system}):
        if second[skipped : skipped + len(first)] == first:
            return rest
    # the end of the prompt again
    for size in range(min(len(first), len(second)), 0, -1):
        if first[-size:] == second[:size]:
            return [*start, *rest[size:]]
    if start[-1]["role"] != "assistant" and rest[0]["role"] in ("system", "user"):
        raise Unusable("two_prompts", "the answer begins with another prompt than the column has")
    return [*start, *rest]


def _said(message: Message) -> tuple[Any, ...]:
    return message["role"], message["content"].strip(), message.get("tool_calls"), message.get("tool_call_id")
