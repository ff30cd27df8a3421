"""How a row of a static data set is read: prompt, answers, and which of them are desirable."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, Self

from scenarios.files.strict_json import JsonError, parse_structure
from training.errors import RunError
from training.examples.static_conversations import Message, Unusable, conversation, repeats_prompt

KEYS = ("prompt", "completion", "chosen", "rejected", "label", "desirable")
"""What `mix_columns` may name; `desirable` is a value of the label, the others are columns."""

SHOWN = 10
"""Labels that a message lists."""

Use = Literal["desirable", "labelled", "pairs"]

_NO, _YES = ("0", "false", "no"), ("1", "true", "yes")


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
                raise Unusable("no_desirable", "no answer is desirable")
            return self._replace(answers=kept)
        good = [a.message for a in self.answers if a.label]
        bad = [a.message for a in self.answers if not a.label]
        if any(message in bad for message in good):
            raise Unusable("same_answer", "one text is both answers")
        if use == "pairs" and (len(good), len(bad)) != (1, 1):
            raise Unusable("no_pair", "not one answer of each kind")
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
        self.repeated = False

    def check(self, rows: Any, name: str) -> None:
        """There are no labels to check; see whether the answers' texts begin with the prompt's."""
        del name
        self.repeated = repeats_prompt(rows, self.prompt, (self.chosen, self.rejected))

    def record(self, row: Mapping[str, Any]) -> Record:
        """Raises Unusable: `malformed`, or `two_prompts` if the answers are to different ones."""
        start = None if self.prompt is None else row.get(self.prompt)
        prompt, better = conversation(start, row.get(self.chosen), repeated=self.repeated)
        other, worse = conversation(start, row.get(self.rejected), repeated=self.repeated)
        if prompt != other:
            raise Unusable("two_prompts", "chosen and rejected answer different prompts")
        return Record(prompt, (Answer(better, True), Answer(worse, False)), _tools(row))


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
        self.repeated = False

    def check(self, rows: Any, name: str) -> None:
        """Raise RunError if a label is outside the set, or none is the desirable one."""
        self.repeated = repeats_prompt(rows, self.prompt, (self.completion,))
        if self.label is None:
            return
        found = distinct(rows, self.label)
        if self.desirable is None:
            wrong = [value for value in found if _truth(value) is None]
            _refuse_labels(wrong, (*_NO, *_YES), name, self.label)
        elif None in found:
            raise RunError(f"mix: column {self.label!r} of {name} is empty in some rows; give each a label")
        elif self.desirable not in (told := {str(value) for value in found}):
            raise RunError(
                f"mix_columns: desirable={self.desirable} is no value of column {self.label!r} of {name}; "
                f"there are {sorted(told)[:SHOWN]}"
            )

    def record(self, row: Mapping[str, Any]) -> Record:
        """Raises Unusable: `malformed`."""
        start = row.get(self.prompt) if self.prompt else None
        prompt, answer = conversation(start, row.get(self.completion), repeated=self.repeated)
        value = True if self.label is None else row.get(self.label)
        label = _truth(value) is True if self.desirable is None else str(value) == self.desirable
        return Record(prompt, (Answer(answer, label),), _tools(row))


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
            found = distinct(rows, column)
            allowed = (*_NO, *_YES) if self.each else ("0", "1")
            _refuse_labels([v for v in found if _truth(v) is None], allowed, name, column)

    def record(self, row: Mapping[str, Any]) -> Record:
        """Raises Unusable: `malformed`."""
        answers = []
        prompt: list[Message] = []
        for k in (0, 1):
            prompt, message = conversation(row.get("prompt"), row.get(f"response_{k}"))
            # of one column, the id of the desirable response; of two, whether this one is
            label = _truth(row.get(self.labels[k])) if self.each else _truth(row.get(self.label)) == bool(k)
            answers.append(Answer(message, bool(label)))
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


def _truth(value: Any) -> bool | None:
    """Yes or no as data sets write it: true, 1, 1.0, "TRUE", "yes"; None if it is neither."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, bool | int | str):
        return None
    text = str(value).strip().casefold().removesuffix(".0")
    return True if text in _YES else False if text in _NO else None


def _tools(row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The tools of a row, which many data sets keep as JSON."""
    tools = row.get("tools")
    try:
        found = parse_structure(tools) if isinstance(tools, str) and tools.strip() else tools
    except JsonError as error:
        raise Unusable("malformed", f"tools: {error}") from None
    if not found:
        return None
    if not isinstance(found, list):
        raise Unusable("malformed", f"tools: {type(found).__name__} instead of a list")
    return found


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


def _refuse_labels(wrong: Sequence[Any], allowed: Sequence[str], name: str, column: str) -> None:
    if wrong:
        raise RunError(
            f"mix: column {column!r} of {name} holds {', '.join(map(repr, wrong[:SHOWN]))}, which is none of "
            f"{', '.join(allowed)}; name another column, or say which value is desirable "
            "(mix_columns desirable=...)"
        )
