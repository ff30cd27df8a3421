"""On a CPU the prompts of a row are not scored against the vocabulary."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from trl.kernels.chunked_logprob import ChunkedLogProbFunction

from tests.support.tiny_models import tiny_model
from tests.support.training_jobs import job_of
from training.trainers import fitting, worker


@pytest.mark.parametrize("algorithm", ["ei", "kto", "dpo"])
def test_prompts_are_not_scored_and_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    base = tiny_model(tmp_path / "base")
    places: list[int] = []
    scored = ChunkedLogProbFunction.forward

    def counted(ctx: Any, hidden: Any, *rest: Any) -> Any:
        places.append(hidden.shape[0])
        return scored(ctx, hidden, *rest)

    monkeypatch.setattr(ChunkedLogProbFunction, "forward", staticmethod(counted))
    told: dict[str, Any] = {
        "algorithm": algorithm,
        "tuning": "full",
        "learning_rate": 1e-3,
        "schedule": "constant",
    }
    sparse = worker.run(job_of(base, tmp_path, "sparse", **told))
    few = sum(places)
    places.clear()
    monkeypatch.setattr(fitting, "only_labelled_places", nullcontext)
    whole = worker.run(job_of(base, tmp_path, "whole", **told))
    assert few < sum(places) / 2
    assert sparse.train_loss == pytest.approx(whole.train_loss, rel=1e-5)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("sparse", "whole")]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=2e-5), name
