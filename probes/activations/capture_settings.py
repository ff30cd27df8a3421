"""Options of `probes/capture.py`."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from probes.activations.capture_spec import Point, StoredType
from probes.conversations.table_rows import TableOptions
from probes.tokens.rendering import Truncation


def _parted(value: Any) -> Any:
    """`4,8` and `4 8` are the same."""
    if isinstance(value, str):
        value = [value]
    return [part for v in value for part in (v.split(",") if isinstance(v, str) else [v]) if part != ""]


class CaptureSettings(TableOptions):
    """All options of a capture."""

    model: str = Field(title="model", description="hub id or folder of any transformer, decoder or encoder")
    revision: str | None = Field(None, title="model", description="commit or branch of a model on the hub")
    adapter: Path | None = Field(
        None, title="model", description="folder of a LoRA adapter, e.g. a checkpoint"
    )
    template: str | None = Field(
        None,
        title="model",
        description="Jinja file with a chat template, or plain; the tokenizer's own if not given",
    )
    template_options: dict[str, Any] = Field(
        {}, title="model", description="key=value, variables of the chat template"
    )
    thinking: bool | None = Field(
        None, title="model", description="thoughts were turned on or off; the template's own way if not given"
    )
    compute_dtype: StoredType | None = Field(
        None, title="model", description="type to compute in; bfloat16 on a GPU, float32 on a CPU"
    )
    device_map: str | None = Field(
        None, title="model", description="as in transformers; auto spreads the model over all GPUs"
    )
    attn_implementation: str | None = Field(None, title="model", description="as in transformers")

    data: str = Field(title="data", description=".jsonl, .csv, .eval log, folder of logs, or hub data set")
    any_model: bool = Field(False, title="data", description="take logs of other models too")

    layers: Annotated[list[int], BeforeValidator(_parted)] = Field(
        title="activations",
        description="e.g. 4,8: the stream after these blocks, from 1; 0 is the embeddings",
    )
    point: Point = Field(
        "residual", title="activations", description="residual, or normed: after the next block's input norm"
    )
    dtype: StoredType = Field("bfloat16", title="activations", description="type to store")
    tokens: str = Field(
        "all",
        title="activations",
        description="all; roles, from=<message>, last=<turns>, e.g. assistant,last=2",
    )
    max_tokens: int | None = Field(
        None, ge=2, title="activations", description="longest conversation; what the model takes if not given"
    )
    truncation: Truncation = Field(
        "auto",
        title="activations",
        description="left cuts the earliest tokens (BOS stays), right the latest; auto the latest of single "
        "texts and the earliest of dialogues",
    )
    batch_tokens: int = Field(
        8192,
        ge=1,
        title="activations",
        description="tokens that go through the model at once, padding included",
    )

    shard_megabytes: float = Field(
        128,
        gt=0,
        title="output",
        description="size of a file in the store; a killed capture computes one again",
    )
    out: Path = Field(title="output", description="folder of the store")
    name: str | None = Field(
        None, title="output", description="of the data set in the store; that of the data"
    )

    @field_validator("template_options")
    @classmethod
    def _values(cls, options: dict[str, Any]) -> dict[str, Any]:
        known = {"true": True, "false": False}
        return {k: known.get(v, v) if isinstance(v, str) else v for k, v in options.items()}

    @property
    def dataset_name(self) -> str:
        """Of the data set in the store."""
        return self.name or re.sub(r"[^\w.-]", "_", Path(self.data).name.removesuffix(Path(self.data).suffix))
