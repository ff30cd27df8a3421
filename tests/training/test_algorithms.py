"""The table of algorithms: what it names is there, and what is not there is told."""

import ast
import importlib

import pytest

from tests.support.places import ROOT
from tests.support.tiny_models import tiny_model
from tests.support.training_jobs import job_of
from training.algorithms import ALGORITHMS, known_algorithm
from training.settings import Tuning
from training.trainers import trainer_check


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_has_a_module_that_trains_and_a_configuration_of_trl(name):
    module = ROOT / "training" / "trainers" / f"{ALGORITHMS[name].module}.py"
    functions = [node for node in ast.parse(module.read_text()).body if isinstance(node, ast.FunctionDef)]
    (train,) = (node for node in functions if node.name == "train")
    assert [argument.arg for argument in train.args.args] == ["job", "rows"]
    where, _, kind = ALGORITHMS[name].configuration.rpartition(".")
    assert hasattr(importlib.import_module(f"trl.trainer.{where}"), kind)
    assert (ROOT / "training" / "configs" / "miniature" / f"{name}.yaml").exists()


def test_a_name_that_is_none_is_told_with_the_nearest():
    assert known_algorithm("kto") == "kto"
    with pytest.raises(ValueError, match="no algorithm 'grpoo'; did you mean 'grpo'"):
        Tuning(algorithm="grpoo")
    with pytest.raises(ValueError, match="there are ei, kto, dpo, grpo, grpo_online"):
        known_algorithm("xyzzy")


def test_an_entry_without_a_module_is_told_before_a_run(monkeypatch, tmp_path):
    entry = ALGORITHMS["dpo"]._replace(module="nowhere")
    monkeypatch.setattr(trainer_check, "ALGORITHMS", {**ALGORITHMS, "dpo": entry})
    job = job_of(tiny_model(tmp_path / "m"), tmp_path, algorithm="dpo")
    question = trainer_check.Question(job=job, prompts=[], answer=tmp_path / "answer.json")
    assert trainer_check.answer(question) == (
        "algorithm: dpo is in training/algorithms.py, but there is no training/trainers/nowhere.py"
    )
