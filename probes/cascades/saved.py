"""A cascade as it was fitted, in one file: `cascade.json`, read by whatever lets it act."""

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from probes.cascades.decision import Band, band
from probes.cascades.merging import MergeRule
from probes.cascades.scales import ScoreScale
from scenarios.files.whole import write_json
from scenarios.mistakes import UserMistake
from scenarios.schema import Frozen

CASCADE = "cascade.json"


class CascadeError(UserMistake):
    """A cascade that cannot be read, or not be used here. Says which file, and what is wrong."""


class FirstMonitor(Frozen):
    """Who reads every row."""

    name: str
    folder: str | None = None
    """Of the saved monitor, as it was given. None: scores of something else, which cannot act live."""

    weights_sha256: str | None = None
    model: str | None = None
    """Whose activations it reads."""

    scale: ScoreScale


class Stage(Frozen):
    """Who is asked next, and where."""

    judge: str
    """Its name in the scores that it was fitted on."""

    scale: ScoreScale
    """Of the log-odds of the probability that the judge answers."""

    low: float
    high: float
    """Band of the probability so far; both ends in it, equal ends ask nowhere."""

    merge: MergeRule

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        band(self.low, self.high)
        return self

    @property
    def band(self) -> Band:
        """Where the judge is asked."""
        return Band(self.low, self.high)


class FittedOn(Frozen):
    """The calibration rows."""

    datasets: list[str]
    rows: int = Field(ge=1)
    positive: int = Field(ge=0)
    groups: int = Field(ge=1)
    digest: str
    """First 16 hex digits of the SHA-256 of ids, labels and scores."""


class Cascade(Frozen):
    """What `cascade.json` holds."""

    format: Literal[1] = 1
    detects: str = ""
    monitor: FirstMonitor
    stages: list[Stage] = Field(min_length=1, max_length=2)
    strategy: str
    budget: float = Field(gt=0, le=1)
    """Share of rows that the judge may be asked about, on average."""

    asked: float = Field(ge=0, le=1)
    """The same on the calibration rows."""

    threshold: float | None = Field(default=None, ge=0)
    """Probability of the whole from which on a row is flagged: at most `asked_fpr` of the negative
    calibration rows. Above 1: none may be."""

    asked_fpr: float | None = Field(default=None, gt=0, lt=1)
    fitted_on: FittedOn
    version: str = ""
    """Of this suite."""

    def save(self, folder: Path) -> Path:
        """Write the file, whole; returns its path. Raises WriteError."""
        write_json(folder / CASCADE, self.model_dump(mode="json", exclude_none=True))
        return folder / CASCADE


def read_cascade(folder: Path | str) -> Cascade:
    """A saved cascade.

    Args:
        folder: Of `cascade.json`, or the file itself.

    Raises:
        CascadeError: There is none, or it cannot be read; thresholds that cross among it.
    """
    path = Path(folder)
    path = path if path.name == CASCADE else path / CASCADE
    try:
        return Cascade.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise CascadeError(f"{folder} has no {CASCADE}; probes/cascade.py --out FOLDER writes one") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise CascadeError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from error
    except (OSError, ValueError) as error:
        raise CascadeError(f"{path} cannot be read: {error}") from error
