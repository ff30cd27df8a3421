"""Options of `probes/fit.py`."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from probes.conversations.facts import Conditions
from scenarios.schema import Frozen


def _parted(value: Any) -> Any:
    """`4,8` and `4 8` are the same."""
    values = [value] if isinstance(value, str | int) else value
    if not isinstance(values, Sequence):
        return value
    return [part for v in values for part in str(v).split(",") if part]


Parts = Annotated[list[str], BeforeValidator(_parted)]


class FitSettings(Frozen):
    """All options of a fit."""

    data: list[str] = Field(
        min_length=1, title="data", description="captured data sets, <store>/<name>, fitted on together"
    )
    where: Conditions = Field(
        [],
        title="data",
        description="only rows with these facts, e.g. iteration=0,1 topic!=smoking turns=2..5; "
        "<name>:fact=value is about one data set",
    )
    match: str | None = Field(
        None,
        title="data",
        description="fact, e.g. topic: fit on as many negatives as positives of each of its values",
    )
    validation: list[str] = Field(
        [], title="data", description="data sets that stop training and set thresholds; part of data if none"
    )
    validation_where: Conditions = Field([], title="data", description="as where, of validation")
    validation_share: float = Field(
        0.2,
        gt=0,
        le=0.5,
        title="data",
        description="share of data, by group, that is held out for validation",
    )
    final: Literal["auto", "all", "part"] = Field(
        "auto",
        title="data",
        description="all: the final fit is on all rows, and fits without each part of them set thresholds; "
        "part: without the rows held out for validation; auto: all, but for heads that validation rows stop",
    )
    detects: str = Field(
        "label 1", min_length=1, title="data", description="what label 1 means, e.g. 'high stakes'"
    )

    heads: Parts = Field(
        ["logistic", "attention"],
        min_length=1,
        title="heads",
        description="e.g. mean,attention; parity; all",
    )
    layers: Parts = Field(
        min_length=1, title="heads", description="e.g. 4,8; 4+8 is both side by side; all is each of them"
    )
    parameters: dict[str, Any] = Field(
        {}, title="heads", description="name=value for all heads that have it, or head.name=value for one"
    )
    class_weight: Literal["balanced"] | None = Field(
        None, title="heads", description="balanced: both classes weigh the same"
    )
    base_rate: float | None = Field(
        None, gt=0, lt=1, title="heads", description="share of positives where the monitor is used"
    )
    seeds: int = Field(3, ge=1, title="heads", description="fits of each head whose fit depends on a seed")
    seed: int = Field(0, ge=0, title="heads", description="the first of them, and that of the splits")

    folds: int = Field(
        5, ge=0, title="choosing", description="of the cross-validation by group; 0: nothing is chosen"
    )
    tune: bool = Field(
        False, title="choosing", description="choose parameters too, not the layer alone, of a small grid"
    )
    select: Literal["auroc", "recall"] = Field(
        "auroc", title="choosing", description="what is chosen by: AUROC, or recall at the asked rate"
    )
    within: str | None = Field(
        None,
        title="choosing",
        description="fact, e.g. iteration: AUROC, which also chooses, of conversations with the same value",
    )
    keep: Literal["best", "all"] = Field(
        "best", title="choosing", description="fit the best layer of each head, or all of them"
    )

    out: Path = Field(Path("monitors"), title="result", description="folder for a folder per monitor")
    fpr: float = Field(
        0.01, gt=0, lt=1, title="result", description="false-positive rate that the threshold keeps to"
    )
    any_adapter: bool = Field(
        False, title="result", description="the monitors may score the same model with other adapters"
    )
    device: str = Field("cpu", title="result", description="where heads are trained, e.g. cuda")

    @field_validator("parameters")
    @classmethod
    def _typed(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {name: number_or_text(value) for name, value in given.items()}

    @field_validator("layers")
    @classmethod
    def _layers(cls, given: list[str]) -> list[str]:
        for layers in given:
            if layers != "all" and not re.fullmatch(r"\d+(\+\d+)*", layers):
                raise ValueError(f"{layers!r}: a layer is a number, several side by side are 4+8")
            numbers = layers.split("+")
            if len(set(numbers)) < len(numbers):
                raise ValueError(f"{layers!r} has a layer twice")
        if "all" in given and len(given) > 1:
            raise ValueError("all layers, or some of them")
        return list(dict.fromkeys(given))

    @model_validator(mode="after")
    def _weights(self) -> Self:
        if self.class_weight is not None and self.base_rate is not None:
            raise ValueError("class_weight and base_rate exclude each other; give one")
        if self.folds == 1:
            raise ValueError("folds: at least 2, or 0 for none")
        if self.final == "all" and self.validation:
            raise ValueError("final: all takes rows of data for validation; leave validation out")
        if self.tune and not self.folds:
            raise ValueError("parameters can only be chosen with folds")
        return self


def number_or_text(text: Any) -> Any:
    """Numbers are numbers; everything else is text."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
