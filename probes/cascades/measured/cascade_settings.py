"""Options of `probes/cascade.py`."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from probes.cascades.allocation import STRATEGIES, Strategy, rows_of
from probes.cascades.decision import Band, band
from probes.cascades.merging import MergeName
from probes.cascades.scales import ScaleName
from probes.cascades.whole import Plan
from scenarios.schema import Frozen


def _parted(value: Any) -> Any:
    """`0.1,0.2` and `0.1 0.2` are the same."""
    values = value if isinstance(value, list) else [value]
    return [part for v in values for part in (v.split(",") if isinstance(v, str) else [v]) if part != ""]


class CascadeSettings(Frozen):
    """All options."""

    monitor: str | None = Field(
        None, title="rows", description="folder of a saved monitor; with --scores the name of one in it"
    )
    scores: Path | None = Field(
        None,
        title="rows",
        description="scores.jsonl of the first monitor in place of a saved one, as evaluate.py --scores and "
        "baselines.py write it",
    )
    calibration: list[str] = Field(
        min_length=1,
        title="rows",
        description="data sets that everything is fixed on: <store>/<name>[:fact=value], with --scores "
        "<name>[:fact=value]",
    )
    test: list[str] = Field(
        [],
        title="rows",
        description="data sets that it is measured on, which share no group with them; if none are given, "
        "groups of the calibration sets are drawn apart",
    )
    calibration_share: float = Field(0.5, gt=0, lt=1, title="rows", description="of the rows, without --test")
    judge: list[Path] = Field(
        min_length=1, title="judges", description="logs or scores of the second monitor, on the same rows"
    )
    judge_name: str | None = Field(
        None, title="judges", description="which of theirs, where there are several"
    )
    third: list[Path] = Field([], title="judges", description="the same of a third monitor, asked last")
    third_name: str | None = Field(
        None, title="judges", description="which of theirs, where there are several"
    )
    scale: ScaleName = Field(
        "platt", title="cascade", description="calibration of every monitor: platt, isotonic or temperature"
    )
    strategy: Strategy = Field(
        "likelihood-ratio", title="cascade", description=f"of the saved cascade: {', '.join(STRATEGIES)}"
    )
    merge: MergeName = Field(
        "likelihood-ratio",
        title="cascade",
        description="of the saved cascade: replace, mean, weighted-logits or likelihood-ratio",
    )
    weight: float | None = Field(
        None,
        ge=0,
        le=1,
        title="cascade",
        description="of the probe, for weighted-logits; fitted if not given",
    )
    budget: float = Field(
        0.1, title="cascade", description="of the saved cascade: share of rows that the judge is asked about"
    )
    budgets: Annotated[list[float], BeforeValidator(_parted)] = Field(
        [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0],
        min_length=1,
        title="cascade",
        description="of the curves",
    )
    third_share: float = Field(
        0.5, gt=0, le=1, title="cascade", description="of rows asked about, share that the third is asked too"
    )
    low: float | None = Field(
        None, title="cascade", description="with --high: a band of one's own in place of a strategy"
    )
    high: float | None = Field(None, title="cascade", description="see --low")
    fpr: float = Field(0.01, gt=0, lt=1, title="result", description="false-positive rate of the recall")
    margin: float = Field(
        0.01, gt=0, lt=1, title="result", description="AUROC that a cascade may lack to equal the judge alone"
    )
    cost: Literal["flops", "dollars", "seconds", "calls"] | None = Field(
        None, title="result", description="of the picture; the first of these that is known if not given"
    )
    compare_with: list[Path] = Field(
        [], title="result", description="folders of other cascades on the same test rows, drawn beside"
    )
    seed: int = Field(0, ge=0, title="result", description="of every draw")
    device: str = Field("cpu", title="result", description="for heads that are trained by gradients")
    out: Path = Field(title="result", description="folder for cascade.json, points, page and picture")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for budget in (self.budget, *self.budgets):
            rows_of(budget, 1)
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high go together")
        if self.low is not None and self.high is not None:
            band(self.low, self.high)
        if self.scores is None and self.monitor is None:
            raise ValueError("monitor is missing: the folder of a saved one, or scores and a name in them")
        if self.third_name is not None and not self.third:
            raise ValueError("third_name names nothing without third")
        if self.weight is not None and self.merge != "weighted-logits":
            raise ValueError(f"weight is of merge weighted-logits, and merge is {self.merge}")
        for name, why in self._idle.items():
            if name in self.model_fields_set:
                raise ValueError(f"{name} has no effect {why}; leave it out")
        return self

    @property
    def _idle(self) -> dict[str, str]:
        """Options that nothing asks for beside the others -> why."""
        found: dict[str, str] = {}
        if self.test:
            found["calibration_share"] = "with test: no rows are drawn apart"
        if not self.third:
            found["third_share"] = "without third"
        if self.scores is not None:
            found["device"] = "with scores: no head is read"
        if self.low is not None:
            found |= dict.fromkeys(("strategy", "budget"), "with low and high: the band is that")
        return found

    @property
    def fixed(self) -> Band | None:
        """The band that was given."""
        return None if self.low is None or self.high is None else band(self.low, self.high)

    def plan(self, **changed: Any) -> Plan:
        """Of the saved cascade, or of another point of the curves."""
        return Plan(
            self.strategy,
            self.merge,
            self.scale,
            self.budget,
            self.third_share,
            self.weight,
            self.fpr,
            self.fixed,
        )._replace(**changed)
