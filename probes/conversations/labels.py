"""From what a data set says about a conversation to its label: 1, 0, between them, none, or left out."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from scenarios.files.decimal_numbers import number_in
from scenarios.files.tables import no_column
from scenarios.mistakes import UserMistake
from scenarios.schema import Frozen


class DataError(UserMistake):
    """Something wrong with a data set. Says where, and what to do."""


class LeftOut(Exception):
    """A conversation that is not captured; the message is the reason it is counted under."""


def _bounds(value: Any) -> Any:
    if isinstance(value, str):
        low, dash, high = value.partition("-")
        if dash:
            return (low, high)
    return value


class LabelOptions(Frozen):
    """How conversations are labelled. Without any of these they stay unlabelled."""

    label_column: str | None = Field(
        None, title="labels", description="column that holds the label; of logs, metadata or a score"
    )
    positive: list[str] = Field(
        ["1", "true"], title="labels", description="values of the label column that mean 1"
    )
    negative: list[str] = Field(
        ["0", "false"], title="labels", description="values of the label column that mean 0"
    )
    ambiguous: list[str] = Field(
        ["ambiguous"], title="labels", description="values of the label column that are left out, and counted"
    )
    scale_column: str | None = Field(
        None,
        title="labels",
        description="column (of logs: a score) with a rating, which becomes a label from 0 to 1",
    )
    scale: Annotated[tuple[float, float] | None, BeforeValidator(_bounds)] = Field(
        None, title="labels", description="lowest and highest rating, e.g. 1-10"
    )
    label_score: str | None = Field(
        None,
        title="labels",
        description="score of a log that is the label, e.g. influence; score.value of several",
    )
    label_threshold: float = Field(
        0.5, title="labels", description="from this value of the score on the label is 1, below it 0"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.scale_column is None) != (self.scale is None):
            raise ValueError("scale_column and scale go together: --scale-column COLUMN --scale 1-10")
        if self.label_score is not None and (self.label_column or self.scale_column):
            raise ValueError("label_score excludes label_column and scale_column; name the label once")
        if self.scale is not None and not self.scale[0] < self.scale[1]:
            raise ValueError(f"scale: {self.scale[0]:g} is not below {self.scale[1]:g}")
        given = [*self.positive, *self.negative, *self.ambiguous]
        if twice := sorted({value for value in given if given.count(value) > 1}):
            raise ValueError(f"positive, negative and ambiguous share {twice}")
        return self


def row_label(row: Mapping[str, Any], options: LabelOptions, where: str) -> float | None:
    """The label of a row of a table.

    With a label column and a scale column the first decides what is left out, the second is the label.

    Args:
        row: Column -> value.
        options: Which columns.
        where: File and line, for messages.

    Returns:
        0 to 1, or None if the options name no column.

    Raises:
        LeftOut: An ambiguous label, or none.
        DataError: A column that is not there, a label that is not among those named, a rating off the scale.
    """
    label: float | None = None
    if options.label_column is not None:
        label = _named(_cell(row, options.label_column, where), options, where)
    if options.scale_column is not None and options.scale is not None:
        label = _rated(_cell(row, options.scale_column, where), options, where)
    return label


def score_label(scores: Mapping[str, Any], options: LabelOptions, where: str) -> float | None:
    """The label that a score gives; None if it is unscored, or if the options name no score.

    Args:
        scores: Name -> value, as in a sample of a log.
        options: Which score, and from which value on the label is 1.
        where: Log and sample, for messages.

    Raises:
        DataError: The value is not a number.
    """
    if options.label_score is None:
        return None
    name, _, part = options.label_score.partition(".")
    value = scores.get(name)
    if part:
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, Mapping):
        parts = ", ".join(f"{name}.{key}" for key in value)
        raise DataError(f"{where}: score {name} has several values; name one with --label-score: {parts}")
    if not isinstance(value, bool | int | float):
        raise DataError(f"{where}: score {options.label_score} is {value!r}, not a number")
    return float(value >= options.label_threshold)


def is_missing(value: Any) -> bool:
    """Whether a cell is empty: nothing, an empty text, or the NaN of a data frame."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _cell(row: Mapping[str, Any], column: str, where: str) -> Any:
    if column not in row:
        raise DataError(f"{where}: {no_column(column, list(row))}")
    return row[column]


def _named(value: Any, options: LabelOptions, where: str) -> float:
    if is_missing(value):
        raise LeftOut("no label")
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if (known := _spelling(text, [*options.positive, *options.negative, *options.ambiguous])) is not None:
        if known in options.ambiguous:
            raise LeftOut(f"label {known}")
        return float(known in options.positive)
    allowed = {"positive": options.positive, "negative": options.negative, "ambiguous": options.ambiguous}
    told = "; ".join(f"--{name} {' '.join(values)}" for name, values in allowed.items() if values)
    raise DataError(f"{where}: label {text!r} in {options.label_column!r} is none of {told}")


def _spelling(text: str, known: Sequence[str]) -> str | None:
    """The label that is meant: spreadsheets write TRUE, data frames 1.0, and both spaces."""
    if text in known:
        return text
    plain = text.strip()
    whole = plain.removesuffix(".0") if plain.removesuffix(".0").isdecimal() else plain
    found = [label for label in known if label in (plain, whole)]
    found = found or [label for label in known if label.casefold() == plain.casefold()]
    return found[0] if len(found) == 1 else None


def _rated(value: Any, options: LabelOptions, where: str) -> float:
    assert options.scale is not None
    low, high = options.scale
    if is_missing(value):
        raise LeftOut("no rating")
    place = f"{where}: rating {value!r} in {options.scale_column!r}"
    try:
        rating = number_in(value) if isinstance(value, str) else float(value)
    except ValueError as error:
        raise DataError(f"{place}: {error}") from None
    except TypeError:
        rating = math.nan
    if not low <= rating <= high:
        raise DataError(f"{place} is not on the scale {low:g}-{high:g}")
    return (rating - low) / (high - low)
