"""How a row of a static data set is read: prompt, answers, and which of them are desirable."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, Self

from training.policies import RunError

KEYS = ("prompt", "completion", "chosen", "rejected", "label", "desirable")
"""What `mix_columns` may name; `desirable` is a value of the label, the others are columns."""

SHOWN = 10
"""Labels that a message lists."""

Message = dict[str, Any]
Use = Literal["desirable", "labelled", "pairs"]

_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_YES = {True, "1", "true", "True", "yes"}
_NO = {False, "0", "false", "False", "no"}


class Unusable(Exception):
    """A row that is left out. Its text is the reason in one word, by which it is counted."""


class Answer(NamedTuple):
    """One answer to a prompt."""

    message: Message
    label: bool
    """True if it is desirable."""


class Record(NamedTuple):
    """One row of a data set."""

    prompt: list[Message]
    answers: tuple[Answer, ...]
    tools: list[dict[str, Any]] | None = None

    def for_use(self, use: Use) -> Self:
        """With the answers that a use needs.

        Args:
            use: `desirable`: those alone; `labelled`: all; `pairs`: one of each kind.

        Raises:
            Unusable: It has none: `no_desirable`, `same_answer` (one text, both labels), `no_pair`.
        """
        if use == "desirable":
            kept = tuple(a for a in self.answers if a.label)
            if not kept:
                raise Unusable("no_desirable")
            return self._replace(answers=kept)
        good = [a.message for a in self.answers if a.label]
        bad = [a.message for a in self.answers if not a.label]
        if any(message in bad for message in good):
            raise Unusable("same_answer")
        if use == "pairs" and (len(good), len(bad)) != (1, 1):
            raise Unusable("no_pair")
        return self


class Form(Protocol):
    """How rows are read."""

    def check(self, rows: Any, name: str) -> None:
        """Raise RunError if the labels of the whole data set are not those expected."""
        ...

    def record(self, row: Mapping[str, Any]) -> Record:
        """What a row says. Raises Unusable if it is malformed."""
        ...


class Pairs:
    """Rows with a better and a worse answer: `chosen` and `rejected`.

    Args:
        chosen: Column.
        rejected: Column.
        prompt: Column; None if both answers hold the whole conversation.
    """

    def __init__(self, chosen: str, rejected: str, prompt: str | None) -> None:
        self.chosen, self.rejected, self.prompt = chosen, rejected, prompt

    def check(self, rows: Any, name: str) -> None:
        """There are no labels to check."""
        del rows, name

    def record(self, row: Mapping[str, Any]) -> Record:
        """Raises Unusable: `malformed`, or `two_prompts` if the answers are to different ones."""
        start = None if self.prompt is None else row.get(self.prompt)
        prompt, better = conversation(start, row.get(self.chosen))
        other, worse = conversation(start, row.get(self.rejected))
        if prompt != other:
            raise Unusable("two_prompts")
        return Record(prompt, (Answer(better, True), Answer(worse, False)), row.get("tools"))


class Labelled:
    """Rows with one answer and its label.

    Args:
        prompt: Column; None if the answer holds the whole conversation.
        completion: Column.
        label: Column; None if every answer is desirable.
        desirable: Which value of the label is; None if the labels say yes or no themselves.
    """

    def __init__(
        self, prompt: str | None, completion: str, label: str | None, desirable: str | None = None
    ) -> None:
        self.prompt, self.completion, self.label, self.desirable = prompt, completion, label, desirable

    def check(self, rows: Any, name: str) -> None:
        """Raise RunError if a label is outside the set, or none is the desirable one."""
        if self.label is None:
            return
        found = distinct(rows, self.label)
        if self.desirable is None:
            _check_labels(found, _YES | _NO, name, self.label)
        elif None in found:
            raise RunError(f"mix: column {self.label!r} of {name} is empty in some rows; give each a label")
        elif self.desirable not in (told := {str(value) for value in found}):
            raise RunError(
                f"mix_columns: desirable={self.desirable} is no value of column {self.label!r} of {name}; "
                f"there are {sorted(told)[:SHOWN]}"
            )

    def record(self, row: Mapping[str, Any]) -> Record:
        """Raises Unusable: `malformed`."""
        prompt, answer = conversation(row.get(self.prompt) if self.prompt else None, row.get(self.completion))
        value = True if self.label is None else row.get(self.label)
        label = value in _YES if self.desirable is None else str(value) == self.desirable
        return Record(prompt, (Answer(answer, label),), row.get("tools"))


class TwoResponses:
    """Rows of PKU-SafeRLHF: two responses, and columns that compare them or judge each.

    Args:
        label: `safer_response_id` or `better_response_id`, which name the desirable one; or
            `is_response_0_safe`, which stands for itself and its twin and labels each by itself.
            The earlier system took the better one even where the data was mixed in for safety; here the
            safer one is the default.
    """

    def __init__(self, label: str = "safer_response_id") -> None:
        self.label = label
        self.each = "_0_" in label or "_1_" in label

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that must be there."""
        return ("prompt", "response_0", "response_1", *self.labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """Columns that hold labels."""
        if not self.each:
            return (self.label,)
        return tuple(re.sub(r"_[01]_", f"_{k}_", self.label, count=1) for k in (0, 1))

    def check(self, rows: Any, name: str) -> None:
        """Raise RunError if a label is neither 0 nor 1 (ids), or neither true nor false."""
        for column in self.labels:
            allowed = {True, False} if self.each else {0, 1, "0", "1"}
            _check_labels(distinct(rows, column), allowed, name, column)

    def record(self, row: Mapping[str, Any]) -> Record:
        """Raises Unusable: `malformed`."""
        answers = []
        prompt: list[Message] = []
        for k in (0, 1):
            prompt, message = conversation(row.get("prompt"), row.get(f"response_{k}"))
            label = bool(row.get(self.labels[k])) if self.each else str(row.get(self.label)) == str(k)
            answers.append(Answer(message, label))
        return Record(prompt, tuple(answers))


def form_of(preset: str | None, named: Mapping[str, str], columns: Sequence[str] | None) -> Form:
    """How the rows of a data set are read.

    Args:
        preset: `hh-rlhf`, `pku-saferlhf`, or None.
        named: What the data set calls the things of `KEYS`; what is not named is called so itself.
        columns: Columns that are there; None to check `named` alone, before the data is loaded.

    Raises:
        RunError: `named` has another key, or two readings; a column is missing.
    """
    for key in named:
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            told = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(KEYS)}"
            raise RunError(f"mix_columns: unknown key {key!r}; {told}")
    if preset == "pku-saferlhf":
        if wrong := set(named) - {"label"}:
            raise RunError(
                f"mix_columns: of {preset} only `label` can be named, not {', '.join(sorted(wrong))}"
            )
        form = TwoResponses(**named)
        _check_columns(form.columns, columns)
        return form
    if {"chosen", "rejected"} & named.keys() and {"completion", "label", "desirable"} & named.keys():
        raise RunError("mix_columns: name chosen and rejected, or completion and label, not both")
    there = columns or []
    paired = {"chosen", "rejected"} & named.keys() or (
        "completion" not in named and {"chosen", "rejected"} <= set(there)
    )
    if preset == "hh-rlhf" or paired:
        chosen, rejected = named.get("chosen", "chosen"), named.get("rejected", "rejected")
        _check_columns((chosen, rejected, *_given(named, "prompt")), columns)
        return Pairs(chosen, rejected, _optional("prompt", named, there))
    completion = named.get("completion", "completion")
    _check_columns((completion, *_given(named, "prompt", "label")), columns)
    label = _optional("label", named, there)
    if columns is not None and label is None and "desirable" in named:
        raise RunError(f"mix_columns: desirable={named['desirable']} of which column? name it as label=...")
    return Labelled(_optional("prompt", named, there), completion, label, named.get("desirable"))


def conversation(start: Any, rest: Any) -> tuple[list[Message], Message]:
    """Prompt and answer.

    Args:
        start: The prompt: a text, a transcript, or a list of messages; None if `rest` holds it.
        rest: The answer as a text or as a list of messages; or the whole conversation.

    Raises:
        Unusable: `malformed`: a text is empty or missing, or the conversation does not end with the answer of
            an assistant to somebody else.
    """
    answer = [{"role": "assistant", "content": rest}] if _is_answer(start, rest) else messages(rest)
    whole = answer if start is None else [*messages(start), *answer]
    prompt, last = whole[:-1], whole[-1]
    if not prompt or last["role"] != "assistant" or prompt[-1]["role"] == "assistant":
        raise Unusable("malformed")
    if not last.get("tool_calls") and not str(last.get("content") or "").strip():
        raise Unusable("malformed")
    return prompt, last


def messages(value: Any) -> list[Message]:
    """A list of messages as it is, a transcript taken apart, any other text as what a user says.

    A transcript has the form of hh-rlhf: each turn begins with an empty line and `Human:` or `Assistant:`,
    the two in turn, the human first. An `Assistant:` at its end that says nothing asks for the answer.

    Raises:
        Unusable: `malformed`.
    """
    if isinstance(value, list) and value:
        if not all(isinstance(m, Mapping) and m.get("role") and "content" in m for m in value):
            raise Unusable("malformed")
        # what one message lacks, a table fills with nulls
        return [{k: v for k, v in m.items() if v is not None or k == "content"} for m in value]
    if not isinstance(value, str) or not value.strip():
        raise Unusable("malformed")
    if not _SPEAKER.match(value):
        return [{"role": "user", "content": value}]
    return _transcript(value)


def distinct(rows: Any, column: str) -> list[Any]:
    """Values of a column, each once.

    Raises:
        RunError: They are lists or mappings.
    """
    unique = getattr(rows, "unique", None)
    try:
        return (
            list(unique(column)) if unique is not None else list(dict.fromkeys(r.get(column) for r in rows))
        )
    except (TypeError, NotImplementedError):
        raise RunError(f"mix: column {column!r} does not hold labels") from None


def _is_answer(start: Any, rest: Any) -> bool:
    return start is not None and isinstance(rest, str) and not _SPEAKER.match(rest)


def _transcript(text: str) -> list[Message]:
    parts = _SPEAKER.split(text)[1:]
    turns = [
        {"role": _ROLES[who], "content": said.strip()}
        for who, said in zip(parts[::2], parts[1::2], strict=True)
    ]
    if turns[-1] == {"role": "assistant", "content": ""}:
        turns.pop()
    expected = ["user", "assistant"] * len(turns)
    if not turns or any(
        t["role"] != role or not t["content"] for t, role in zip(turns, expected, strict=False)
    ):
        raise Unusable("malformed")
    return turns


def _given(named: Mapping[str, str], *keys: str) -> list[str]:
    return [named[key] for key in keys if key in named]


def _optional(key: str, named: Mapping[str, str], columns: Sequence[str]) -> str | None:
    return named.get(key, key if key in columns else None)


def _check_columns(wanted: Sequence[str], columns: Sequence[str] | None) -> None:
    missing = [name for name in wanted if columns is not None and name not in columns]
    if missing:
        raise RunError(
            f"mix: there is no column {', '.join(map(repr, missing))}; there are {', '.join(columns or [])}; "
            f"say what they are called by mix_columns ({', '.join(KEYS)})"
        )


def _check_labels(found: Sequence[Any], allowed: set[Any], name: str, column: str) -> None:
    wrong = [value for value in found if value not in allowed]
    if wrong:
        raise RunError(
            f"mix: column {column!r} of {name} holds {', '.join(map(repr, wrong[:SHOWN]))}, which is none of "
            f"{', '.join(sorted(map(repr, allowed)))}; name another column, or say which value is desirable "
            "(mix_columns desirable=...)"
        )
