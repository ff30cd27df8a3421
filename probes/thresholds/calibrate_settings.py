"""Options of `probes/calibrate.py threshold`."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from probes.thresholds.benign import CONFIDENCE
from probes.thresholds.streams import Chosen, Per
from scenarios.schema import Frozen


def _places(given: list[str]) -> list[str]:
    """So that `logs/base` and `logs/base/` are the same."""
    return [str(Path(one)) for one in given]


class CalibrateSettings(Frozen):
    """All options."""

    benign: list[str] = Field(
        min_length=1,
        title="rows",
        description="benign conversations: data sets <store>/<name>[:fact=value], with --scores <name>, or "
        "logs that a monitor has scored",
    )
    monitor: str | None = Field(
        None, title="rows", description="folder of a saved monitor that reads data sets; with --scores a name"
    )
    scores: Path | None = Field(
        None, title="rows", description="scores.jsonl that holds the data sets' scores"
    )
    score: str = Field("stakes", title="rows", description="of logs: the monitor's score")
    per: Per | None = Field(
        None, title="rows", description="turn or conversation; of logs turn, else conversation if not given"
    )
    label: str | None = Field(
        None,
        title="rows",
        description="of logs: score that tells which turns are harmful, which are left out of the benign",
    )
    harmful_from: float = Field(0.5, title="rows", description="value of the label from which on it is harm")
    harmful: list[str] = Field(
        [],
        title="rows",
        description="the same of harmful ones, for the recall; with --label those of --benign",
    )
    fpr: float = Field(0.01, gt=0, lt=1, title="threshold", description="rate that is not to be exceeded")
    confidence: float = Field(
        CONFIDENCE, gt=0.5, lt=1, title="threshold", description="with which the rate is below that"
    )
    threshold: float | None = Field(
        None,
        allow_inf_nan=False,
        title="threshold",
        description="a logit to examine in place of choosing one",
    )
    base_rate: float | None = Field(
        None, gt=0, lt=1, title="stream", description="share of harmful rows in the stream, for the precision"
    )
    watch: list[str] = Field(
        [], title="stream", description="later parts of the stream, in order: each is one look at the alarm"
    )
    device: str = Field("cpu", title="result", description="for heads that are trained by gradients")
    out: Path = Field(title="result", description="folder for calibration.json, and the monitor with it")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.scores is not None and self.monitor is None:
            raise ValueError("monitor is missing: its name in scores")
        if not self.of_logs and self.per == "turn":
            raise ValueError("per turn: turns are known of logs alone; name logs that the monitor scored")
        if not self.of_logs and self.label is not None:
            raise ValueError("label is of logs; data sets have their own labels")
        for name in ("benign", "harmful", "watch"):
            given = _places(getattr(self, name))
            if twice := sorted({place for place in given if given.count(place) > 1}):
                raise ValueError(f"{name} names {twice[0]} twice; name each once")
        if both := sorted(set(_places(self.benign)) & set(_places(self.watch))):
            raise ValueError(
                f"watch is of later parts of the stream: {both[0]} is in benign, which sets the threshold"
            )
        return self

    @property
    def of_logs(self) -> bool:
        """Whether rows come from logs."""
        return self.monitor is None and self.scores is None

    def chosen(self, positive: bool | None) -> Chosen:
        """Which rows are meant: benign (False), harmful (True), all (None)."""
        per = self.per or ("turn" if self.of_logs else "conversation")
        return Chosen(positive, self.label, self.harmful_from, per)
