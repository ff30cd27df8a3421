"""Data sets of written answers, and how they are opened."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.examples.mixing import StaticData
from training.settings import Mixing


def pair(number: int) -> dict[str, Any]:
    return {"prompt": f"question {number}", "chosen": f"good {number}", "rejected": f"bad {number}"}


def transcript(*turns: str) -> str:
    return "".join(f"\n\n{'Assistant' if place % 2 else 'Human'}: {text}" for place, text in enumerate(turns))


def hub_copy(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A data set as a copy of one on the hub lies on a disk."""
    from datasets import Dataset

    folder.mkdir(parents=True)
    Dataset.from_list(list(rows)).to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


def opened(path: Path, algorithm: str = "ei", cache: Path | None = None, **options: Any) -> StaticData:
    return StaticData.open(Mixing(mix=str(path), **options), algorithm=algorithm, cache_dir=cache)


def said(rows: Sequence[Any]) -> list[tuple[str, bool]]:
    return [(row["completion"][0]["content"], row["label"]) for row in rows]
