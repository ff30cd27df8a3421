"""Options of `probes/evaluate.py`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from probes.conversations.facts import Conditions
from scenarios.files.whole import refuse_other_than_jsonl
from scenarios.schema import Frozen

FITTED_CONTROLS = ("bag_of_words", "tfidf", "shuffled_labels")
CONTROLS = ("length", *FITTED_CONTROLS)

Control = Literal["length", "bag_of_words", "tfidf", "shuffled_labels", "all", "nothing"]


def _parted(value: Any) -> Any:
    """`a,b` and `a b` are the same."""
    values = [value] if isinstance(value, str | int) else value
    if not isinstance(values, Sequence):
        return value
    return [part for v in values for part in str(v).split(",") if part]


class EvaluateSettings(Frozen):
    """All options of an evaluation."""

    monitors: list[Path] = Field(
        min_length=1, title="what", description="folders of monitors, or a folder that holds several"
    )
    data: list[str] = Field(
        min_length=1,
        title="what",
        description="captured data sets, <store>/<name>, or a part of one, "
        "<store>/<name>:split=test,iteration=3..6",
    )
    where: Conditions = Field(
        [],
        title="what",
        description="only rows of data with these facts, e.g. iteration=3..6 topic!=smoking; "
        "<name>:fact=value is about one data set",
    )
    beside: list[Path] = Field(
        [],
        title="what",
        description="monitors to compare with, on rows of the same ids: logs of tasks/stakes.py, folders of "
        "probes/baselines.py, files of scores",
    )
    changed: list[str] = Field(
        [],
        title="what",
        description="<data set>=<the same rows changed by probes/restyle.py>, both in data: by how much "
        "AUROCs drop",
    )
    pool: dict[str, str] = Field(
        {},
        title="what",
        description="name=monitor,monitor (or attention-*, or all): their mean, calibrated, beside them",
    )
    train: list[str] = Field(
        [],
        title="what",
        description="what the monitors were fitted on, e.g. <store>/<name>:split=train: controls are fitted "
        "on the same rows, and these are left out of data",
    )

    controls: Annotated[list[Control], BeforeValidator(_parted)] = Field(
        ["all"],
        title="controls",
        description="length, bag_of_words, tfidf, shuffled_labels, or nothing; "
        "all means length alone where there is no train",
    )
    permutations: int = Field(5, ge=1, title="controls", description="fits of each head on shuffled labels")
    tokenizer: Path | None = Field(
        None, title="controls", description="folder with the model's tokenizer, if the model is not there"
    )

    by: Annotated[list[str], BeforeValidator(_parted)] = Field(
        [], title="breakdown", description="facts that results are broken down by, e.g. language,topic"
    )
    within: Annotated[list[str], BeforeValidator(_parted)] = Field(
        [],
        title="breakdown",
        description="facts, e.g. iteration: AUROC of conversations with the same value alone, and what the "
        "fact by itself tells",
    )
    length_edges: Annotated[list[int], BeforeValidator(_parted)] = Field(
        [50, 100, 200, 400, 800, 1600], title="breakdown", description="largest tokens of each length bin"
    )

    reference: str | None = Field(
        None, title="comparison", description="monitor or control that all are compared with; the first one"
    )
    seed: int = Field(0, ge=0, title="controls", description="of the controls")

    out: Path = Field(Path("results"), title="result", description="folder for tables and figures")
    scores: Path | None = Field(
        None, title="result", description=".jsonl file for a line per conversation with all scores"
    )
    figures: bool = Field(True, title="result", description="draw figures")
    show: Annotated[list[str], BeforeValidator(_parted)] = Field(
        [], title="result", description="monitors in figures of curves, at most 4; the best heads if none"
    )
    token_rows: int = Field(
        0, ge=0, title="result", description="conversations of each data set on pages coloured by token"
    )
    device: str = Field("cpu", title="result", description="where monitors are computed, e.g. cuda")

    @field_validator("length_edges")
    @classmethod
    def _ascending(cls, edges: list[int]) -> list[int]:
        if any(edge < 1 for edge in edges) or sorted(set(edges)) != edges:
            raise ValueError("edges of length bins are above 0 and ascend")
        return edges

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if {"all", "nothing"} & set(self.controls) and len(self.controls) > 1:
            raise ValueError("controls: all, nothing, or some of them")
        fitted = [control for control in self.controls if control in FITTED_CONTROLS]
        if fitted and not self.train:
            raise ValueError(f"control {fitted[0]} is fitted: say on what with --train")
        if len(self.show) > 4:
            raise ValueError(f"show: at most 4 monitors can be told apart, got {len(self.show)}")
        if self.scores is not None:
            refuse_other_than_jsonl(self.scores)
        return self

    @property
    def parts(self) -> list[str]:
        """Facts that results are broken down by."""
        return list(dict.fromkeys([*self.by, *self.within]))

    @property
    def wanted_controls(self) -> list[str]:
        """Without `all` and `nothing`."""
        if self.controls == ["all"]:
            return list(CONTROLS) if self.train else ["length"]
        return [control for control in CONTROLS if control in self.controls]
