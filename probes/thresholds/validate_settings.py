"""Options of `probes/calibrate.py validate`."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from scenarios.schema import Frozen


class ValidateSettings(Frozen):
    """All options."""

    logs: list[Path] = Field(
        min_length=1, title="logs", description="logs that the monitor has scored, or folders of them"
    )
    score: str = Field("stakes", title="logs", description="the monitor's score")
    cases: Path | None = Field(None, title="labels", description="file of cases in Scout's validation format")
    target: str | None = Field(None, title="labels", description="which target, where a case has several")
    label: str | None = Field(None, title="labels", description="score of the logs that is the label instead")
    harmful_from: float = Field(0.5, title="labels", description="value of --label from which on it is harm")
    dev: str = Field("dev", title="splits", description="split that sets the threshold, if there is one")
    split: list[str] = Field([], title="splits", description="only these splits are tests; all but --dev")
    fpr: float = Field(0.01, gt=0, lt=1, title="threshold", description="false-positive rate on --dev")
    threshold: float | None = Field(
        None, allow_inf_nan=False, title="threshold", description="a logit in place of any other"
    )
    out: Path = Field(title="result", description="folder for validation.json and cases.csv")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.cases is None) == (self.label is None):
            raise ValueError("labels come from cases or from label: give one of them")
        return self
