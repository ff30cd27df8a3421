"""Options of `probes/experiment.py`: one file serves all experiments, each takes what it needs of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from probes.finetuned.settings import Kind
from probes.fitting.fit_settings import number_or_text
from scenarios.schema import Frozen

Way = Literal["only", "fine-tune", "combine"]


def _parted(value: Any) -> Any:
    """`4,8` and `4 8` are the same."""
    values = [value] if isinstance(value, str | int) else value
    if not isinstance(values, Sequence):
        return value
    return [part for v in values for part in str(v).split(",") if part]


Parts = Annotated[list[str], BeforeValidator(_parted)]
Numbers = Annotated[list[int], BeforeValidator(_parted)]


class ExperimentSettings(Frozen):
    """All options of all experiments."""

    train: list[str] = Field(
        [],
        title="data",
        description="captured data sets that heads are fitted on, <store>/<name> or "
        "<store>/<name>:split=train",
    )
    tests: list[str] = Field(
        [],
        title="data",
        description="captured data sets that they are tested on, as train; all of one capture",
    )
    beside: list[Path] = Field(
        [],
        title="data",
        description="prompted and fine-tuned monitors on rows of the same ids, as of probes/evaluate.py: "
        "logs "
        "of tasks/stakes.py, folders of probes/baselines.py",
    )
    monitors: list[Path] = Field(
        [], title="data", description="saved monitors to show beside those that are fitted here"
    )
    probing: list[str] = Field(
        [],
        title="data",
        description="captured pairs with a fact `kind`, see `probes/evaluation_sets.py probing`",
    )
    deployment: list[str] = Field(
        [], title="data", description="captured pairs with a fact `context`: deployments of an assistant"
    )

    heads: Parts = Field(
        ["mean", "logistic", "softmax", "attention", "max", "last"],
        min_length=1,
        title="heads",
        description="that are compared; at most four of them are in figures of curves",
    )
    head: str = Field(
        "attention",
        title="heads",
        description="that layers, variations and adaptation are tried with; adaptation goes on with its "
        "training, so that it must be one that is trained in steps",
    )
    layer: int | None = Field(
        None, ge=0, title="heads", description="that heads read; the middle one of layers if not given"
    )
    layers: Parts = Field(["all"], min_length=1, title="heads", description="that choose_layer tries")
    parameters: dict[str, Any] = Field(
        {}, title="heads", description="name=value for all heads that have it, e.g. steps=200"
    )
    folds: int = Field(5, ge=2, title="heads", description="of the cross-validation that chooses a layer")
    seeds: int = Field(3, ge=1, title="heads", description="fits of each head, and draws of each sample")
    seed: int = Field(0, ge=0, title="heads", description="the first of them, and that of all splits")

    variations: Parts = Field(
        ["style", "tone", "language", "length", "topic"],
        min_length=1,
        title="generalisation",
        description="facts; for each of their values a head is fitted, and tested on all values",
    )
    least: int = Field(
        12,
        ge=4,
        title="generalisation",
        description="rows of each class that a value must have, in training and in test",
    )
    sizes: Numbers = Field(
        [8, 16, 32, 64, 128, 256, 512],
        min_length=1,
        title="data efficiency",
        description="training rows; those above what there is are all of them",
    )
    finetuned: list[Kind] = Field(
        [],
        title="data efficiency",
        description="kinds of fine-tuned models to draw beside: lora, full, last-block",
    )
    model: str | None = Field(
        None, title="data efficiency", description="folder or hub id of the model that is fine-tuned"
    )
    train_rows: list[str] = Field(
        [],
        title="data efficiency",
        description="files of rows that it learns from, as of probes/baselines.py",
    )
    test_rows: list[str] = Field(
        [], title="data efficiency", description="files of rows that it is tested on, FILE or FILE:split=test"
    )
    finetuned_sizes: Numbers = Field(
        [], title="data efficiency", description="training rows of fine-tuned models; sizes if not given"
    )
    epochs: float = Field(3.0, gt=0, title="data efficiency", description="of fine-tuning")
    learning_rate: float | None = Field(None, gt=0, title="data efficiency", description="of fine-tuning")

    samples: Numbers = Field(
        [4, 16, 64],
        min_length=1,
        title="adaptation",
        description="rows of the target set that heads learn from",
    )
    ways: list[Way] = Field(
        ["only", "fine-tune", "combine"],
        min_length=1,
        title="adaptation",
        description="only these rows; training that goes on with them; or together with the training set",
    )
    targets: Parts = Field(
        [], title="adaptation", description="names of tests that heads are adapted to; all if none"
    )
    same_domain: dict[str, str] = Field(
        {},
        title="adaptation",
        description="<target>=<captured data set of its domain that is of another origin>: learnt from "
        "in its "
        "place, too",
    )

    length_edges: Numbers = Field(
        [50, 100, 200, 400, 800, 1600], min_length=1, title="length", description="largest tokens of each bin"
    )
    draws: int = Field(
        1000, ge=100, title="calibration", description="of the bootstrap of calibration errors"
    )
    points: int = Field(200, ge=10, title="pca", description="conversations of each data set in the picture")

    out: Path = Field(
        Path("results/experiments"), title="result", description="folder; one below it for each experiment"
    )
    plot_only: bool = Field(
        False, title="result", description="draw again what is in the folder; nothing is computed"
    )
    device: str = Field("cpu", title="result", description="where heads are computed, e.g. cuda")

    @field_validator("parameters")
    @classmethod
    def _typed(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {name: number_or_text(value) for name, value in given.items()}

    @field_validator("sizes", "samples", "length_edges", "finetuned_sizes")
    @classmethod
    def _ascending(cls, given: list[int]) -> list[int]:
        if any(one < 1 for one in given) or sorted(set(given)) != given:
            raise ValueError(f"numbers above 0 that ascend are expected, got {', '.join(map(str, given))}")
        return given

    @field_validator("layers")
    @classmethod
    def _layers(cls, given: list[str]) -> list[str]:
        if given != ["all"] and not all(one.isdigit() for one in given):
            raise ValueError("layers are numbers, or all")
        return list(dict.fromkeys(given))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.finetuned and not (self.model and self.train_rows and self.test_rows):
            raise ValueError("finetuned needs model, train_rows and test_rows")
        return self
