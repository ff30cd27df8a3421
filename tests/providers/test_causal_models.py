"""How models are loaded: what is shown while their weights are read."""

import sys
from pathlib import Path

import pytest
import torch
from transformers.utils import logging

from probes.activations import forward
from providers.causal_models import loading_bar
from providers.local import weights
from tests.support.tiny_models import tiny_model
from training.job import Job
from training.settings import Tuning
from training.trainers.base_models import load_full


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(autouse=True)
def bars_as_a_user_has_them():
    before = logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
    yield
    (logging.enable_progress_bar if before else logging.disable_progress_bar)()


def train_job(source: str) -> Job:
    return Job(
        base=source,
        examples=Path("rows.jsonl"),
        out=Path("out"),
        scratch=Path("scratch"),
        tuning=Tuning(tuning="full"),
        seed=0,
    )


def loaded_by_the_provider(source: str):
    return weights.load_model(
        source,
        device=torch.device("cpu"),
        revision=None,
        dtype=None,
        device_map=None,
        attn_implementation=None,
    )


LOADERS = {
    "probes": lambda source: forward.load_model(source, forward.LoadOptions()),
    "provider": loaded_by_the_provider,
    "trainers": lambda source: load_full(train_job(source), source),
}


@pytest.mark.parametrize("loader", LOADERS)
def test_no_bar_is_drawn_where_nobody_watches(loader, model, capsys):
    LOADERS[loader](model)
    assert "Loading weights" not in capsys.readouterr().err
    assert logging.is_progress_bar_enabled()


def test_who_watches_sees_a_bar_but_not_within_an_eval(model, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    LOADERS["probes"](model)
    assert "Loading weights" in capsys.readouterr().err
    LOADERS["provider"](model)
    assert "Loading weights" not in capsys.readouterr().err


def test_a_bar_that_is_off_stays_off():
    logging.disable_progress_bar()
    with loading_bar(shown=True):
        assert not logging.is_progress_bar_enabled()
    assert not logging.is_progress_bar_enabled()
