"""Options of `probes/baselines.py`."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from scenarios.schema import Frozen

Kind = Literal["lora", "full", "last-block"]


class ScoreSettings(Frozen):
    """Options of `score`."""

    baseline: Path = Field(title="what", description="folder that `fit` wrote")
    data: list[str] = Field(
        min_length=1, title="what", description="files of rows, or a split of one, FILE:split=test"
    )
    out: Path = Field(title="result", description="folder for results.json and scores.jsonl")
    model: str | None = Field(
        None, title="what", description="where the model lies now; as it was fitted if not given"
    )
    batch_tokens: int = Field(
        4096, ge=1, title="result", description="tokens that go through the model at once, padding included"
    )
    device: str = Field("auto", title="result", description="cpu, cuda, mps; auto the best there is")


class FitSettings(Frozen):
    """Options of `fit`."""

    data: list[str] = Field(
        min_length=1,
        title="what",
        description="files of labelled rows; those of split train if there are splits",
    )
    test: list[str] = Field(
        [],
        title="what",
        description="files to score, or a split of one, FILE:split=test; the test split of data by default",
    )
    model: str = Field(title="what", description="folder or hub id; a causal model, or an encoder")
    revision: str | None = Field(None, title="what", description="of a hub model")
    kind: Kind = Field(
        "lora",
        title="what",
        description="lora, full (all weights), or last-block (the last block and a head, the rest frozen and "
        "computed once)",
    )

    epochs: float = Field(3.0, gt=0, title="training", description="passes over the training rows")
    learning_rate: float | None = Field(
        None, gt=0, title="training", description="2e-4 for lora, 1e-5 for full, 1e-4 for last-block"
    )
    batch_size: int = Field(8, ge=1, title="training", description="rows that go through the model at once")
    accumulation: int = Field(2, ge=1, title="training", description="batches per step of the optimiser")
    warmup: float = Field(0.1, ge=0, lt=1, title="training", description="share of steps with a rising rate")
    weight_decay: float = Field(0.01, ge=0, title="training", description="of AdamW")
    rank: int = Field(16, ge=1, title="training", description="of lora")
    alpha: int = Field(
        32, ge=1, title="training", description="of lora: its update is scaled by alpha / rank"
    )
    dropout: float = Field(0.1, ge=0, lt=1, title="training", description="of lora")
    most_rows: int | None = Field(
        None, ge=2, title="training", description="train on so many rows, whole pairs drawn by the seed"
    )
    seed: int = Field(0, ge=0, title="training", description="of order, dropout, new weights and drawn pairs")

    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", title="model", description="of the weights"
    )
    autocast: bool = Field(
        False,
        title="model",
        description="compute products in bfloat16 and keep the weights as they are: small steps are lost in "
        "weights of bfloat16",
    )
    max_tokens: int | None = Field(
        None, ge=2, title="model", description="longest row; what the model takes if not given"
    )
    truncation: Literal["auto", "left", "right"] = Field(
        "auto",
        title="model",
        description="left cuts the earliest tokens, right the latest; auto as capture.py",
    )
    template: str | None = Field(
        None, title="model", description="Jinja file, or plain; the tokenizer's own if not given"
    )
    device: str = Field("auto", title="model", description="cpu, cuda, mps; auto the best there is")

    name: str | None = Field(
        None, title="result", description="of the baseline in tables; its kind if not given"
    )
    batch_tokens: int = Field(
        4096, ge=1, title="result", description="tokens that are scored at once, padding included"
    )
    out: Path = Field(title="result", description="folder for the weights, the card and the results")

    @property
    def rate(self) -> float:
        """Learning rate."""
        return self.learning_rate or {"lora": 2e-4, "full": 1e-5, "last-block": 1e-4}[self.kind]

    @property
    def called(self) -> str:
        """Name in tables."""
        return self.name or self.kind
