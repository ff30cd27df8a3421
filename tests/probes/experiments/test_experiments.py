"""The whole set of experiments on data whose answer is known: layer 4 tells the label, and nothing else does."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
import yaml

from probes.activations.stored_sets import read_dataset, save_dataset
from probes.experiment import main
from probes.experiments.fits import drawn, fit_on_few
from probes.experiments.settings import ExperimentSettings
from probes.experiments.study import open_study
from probes.experiments.table import EXPERIMENTS
from probes.heads.table import make_head
from tests.support.captured_rows import captured
from tests.support.places import ROOT
from tests.support.stored_rows import spec

KINDS = ("borderline", "embedded", "negated")


def facts_of(root, name):
    rows, card = read_dataset(root, name)
    told = [
        row.model_copy(
            update={
                "facts": {
                    "tone": ("calm", "angry")[i // 2 % 2],
                    "kind": KINDS[i // 2 % 3],
                    "context": ("clinic", "shop")[i // 2 % 2],
                }
            }
        )
        for i, row in enumerate(rows)
    ]
    save_dataset(root, name, told, card)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Folder with a store and the results of all experiments; what the command printed."""
    at = tmp_path_factory.mktemp("experiments")
    for seed, (name, count) in enumerate((("train", 80), ("a", 60), ("b", 40), ("pairs", 36))):
        captured(at / "store", name, count, seed=seed)
        facts_of(at / "store", name)
    options = f"""
train: [{at}/store/train]
tests: [{at}/store/a, {at}/store/b]
probing: [{at}/store/pairs]
deployment: [{at}/store/pairs]
heads: [logistic, softmax]
head: softmax
layer: 4
folds: 2
seeds: 2
parameters: {{steps: 40}}
variations: [tone]
least: 4
sizes: [8, 32]
samples: [4]
same_domain: {{a: {at}/store/b}}
draws: 100
out: {at}/out
"""
    options = options.replace(f"deployment: [{at}/store/pairs]", f"deployment: [{at}/store/contexts]")
    captured(at / "store", "contexts", 24, seed=9)
    facts_of(at / "store", "contexts")
    (at / "study.yaml").write_text(options)
    assert main(["all", "--config", str(at / "study.yaml")]) == 0
    return at


def rows_of(at, name):
    with (at / "out" / name / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_experiments_leave_numbers_figures_and_one_page(ran):
    page = (ran / "out" / "summary.html").read_text()
    for name, experiment in EXPERIMENTS.items():
        folder = ran / "out" / name
        assert rows_of(ran, name)
        pictures = sorted(folder.glob("*.png"))
        assert pictures
        for picture in pictures:
            assert picture.with_suffix(".csv").read_text().count("\n") > 1
            assert f"{name}/{picture.name}" in page
        assert experiment.asks in page.replace("&#39;", "'")
    assert "<script" not in page


def test_the_numbers_are_those_of_the_data(ran):
    layers = [row for row in rows_of(ran, "choose_layer") if row["dataset"] == "cross-validation"]
    assert max(layers, key=lambda row: float(row["auroc"]))["layer"] == "4"
    heads = rows_of(ran, "compare_heads")
    mean = {row["monitor"]: float(row["auroc"]) for row in heads if row["dataset"] == "mean"}
    assert min(mean[name] for name in ("logistic", "softmax, seed 0", "softmax, seed 1")) > 0.75
    assert abs(mean["length"] - 0.5) < 0.2
    pairs = [row for row in rows_of(ran, "probing_sets") if row["monitor"] == "logistic"]
    assert {row["kind"] for row in pairs} == {*KINDS, "all"}
    assert {row["pairs"] for row in pairs} == {"6", "18"}
    assert float(next(row for row in pairs if row["kind"] == "all")["pairs_right"]) > 0.8
    adapted = {row["way"] for row in rows_of(ran, "adaptation")}
    assert adapted == {"only", "fine-tune", "combine", "training set alone"}
    assert {row["origin"] for row in rows_of(ran, "adaptation")} == {"target", "same domain: b", "-"}
    brier = [row for row in rows_of(ran, "calibration") if row["form"] == "raw"]
    assert all(float(r["brier_low"]) <= float(r["brier"]) <= float(r["brier_high"]) < 0.3 for r in brier)


def test_what_is_there_is_kept_and_what_is_of_other_data_is_computed_again(ran, tmp_path, capsys):
    at = tmp_path / "copy"
    shutil.copytree(ran / "out", at)
    again = ["compare_heads", "--config", str(ran / "study.yaml"), "--out", str(at)]
    assert main(again) == 0
    assert "compare_heads: 0 cells computed, 9 kept" in capsys.readouterr().out
    (at / "compare_heads" / "cells" / "logistic.json").unlink()
    assert main(again) == 0
    assert "1 cells computed, 8 kept" in capsys.readouterr().out
    assert main([*again, "--seed", "5"]) == 0
    assert re.search(
        r"9 cells computed, \d of them of other settings or data, 0 kept", capsys.readouterr().out
    )


def test_only_the_choice_of_a_layer_needs_several_of_each_set(ran, tmp_path, capsys):
    captured(tmp_path / "store", "narrow", 40, seed=7, layers=(4,))
    options = ["--train", f"{ran}/store/train", "--tests", f"{tmp_path}/store/narrow", "--layer", "4"]
    options += ["--heads", "mean", "--head", "softmax", "--out", str(tmp_path / "out")]
    assert main(["compare_heads", *options]) == 0
    capsys.readouterr()
    assert main(["choose_layer", *options]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "choose_layer: of data set narrow layers 2 are not stored" in line


def test_a_record_of_something_else_is_told_in_a_line(tmp_path, capsys):
    (tmp_path / "roc").mkdir()
    (tmp_path / "roc" / "experiment.json").write_text('{"cells": 5, "configuration": 1}')
    assert main(["roc", "--out", str(tmp_path), "--plot-only"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "experiment.json: not the record of an experiment" in line


def test_figures_are_drawn_again_from_files_alone(ran, tmp_path, capsys):
    at = tmp_path / "copy"
    shutil.copytree(ran / "out", at)
    for name in ("choose_layer", "roc", "adaptation"):
        pictures = {path: path.read_bytes() for path in (at / name).glob("*.png")}
        for path in pictures:
            path.unlink()
        assert main([name, "--out", str(at), "--plot-only"]) == 0
        assert {path: path.read_bytes() for path in (at / name).glob("*.png")} == pictures
    capsys.readouterr()
    cell = at / "choose_layer" / "cells" / "softmax-layer2.json"
    other = json.loads(cell.read_text()) | {"study": "0" * 16}
    cell.write_text(json.dumps(other))
    assert main(["choose_layer", "--out", str(at), "--plot-only"]) == 1
    told = capsys.readouterr().err
    assert "results of two configurations are not drawn in one figure" in told
    assert str(cell) in told
    cell.unlink()
    assert main(["choose_layer", "--out", str(at), "--plot-only"]) == 1
    assert "no such file" in capsys.readouterr().err


def test_data_that_no_experiment_can_be_made_of_are_told_before_anything_is_computed(ran, tmp_path, capsys):
    store, out = ran / "store", tmp_path / "out"
    captured(store, "one_class", 12, seed=5, labels=[1.0] * 12)
    captured(tmp_path / "elsewhere", "other", 12, of=spec(dtype="float32", template="another"))
    captured(store, "shallow", 12, seed=7, layers=(4,), start=900)
    base = ["--train", f"{store}/train", "--tests"]
    for options, says in (
        ([*base, f"{store}/one_class"], "data set one_class: 12 positive and 0 negative rows"),
        (
            [*base, f"{tmp_path}/elsewhere/other"],
            "data set other is of another capture than --train: template",
        ),
        ([*base, f"{store}/shallow", "--layer", "2"], "data set shallow: layer 2"),
        ([*base, f"{store}/a", "--layer", "3"], "layer 3 is not stored for all training rows"),
        ([*base, f"{store}/a", "--targets", "c"], "--targets c: no such test set; there are a"),
        ([*base, f"{store}/a", "--heads", "sofmax"], "did you mean 'softmax'?"),
        ([*base, f"{store}/a", "--head", "logistic"], "--head logistic is solved in closed form"),
    ):
        assert main(["adaptation", *options, "--out", str(out)]) == 1
        assert says in capsys.readouterr().err
        assert not out.exists()


def test_a_monitor_for_another_model_is_refused(ran, tmp_path, capsys):
    from tests.support.evaluated_rows import saved

    monitor = saved(tmp_path / "foreign", of=spec(dtype="float32", revision="decade"))
    given = ["roc", "--train", f"{ran}/store/train", "--tests", f"{ran}/store/a", "--monitors", str(monitor)]
    assert main([*given, "--out", str(tmp_path / "out")]) == 1
    assert "monitor foreign was fitted on other activations: " in capsys.readouterr().err


def test_the_file_of_options_on_the_page_is_one(tmp_path):
    page = (ROOT / "docs" / "experiments.md").read_text()
    (block,) = re.findall(r"```text\n(train:.*?)```", page, re.DOTALL)
    example = (ROOT / "probes" / "experiments" / "example.yaml").read_text()
    assert example.partition("\n")[2] == block
    settings = ExperimentSettings.model_validate(yaml.safe_load(block))
    assert settings.same_domain == {"mt": "activations/mts", "mts": "activations/mt"}
    assert len(settings.tests) == len(settings.test_rows)
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(EXPERIMENTS)


def study_of(ran):
    settings = ExperimentSettings(
        train=[f"{ran}/store/train"], tests=[f"{ran}/store/a"], heads=["softmax"], head="softmax", layer=4
    )  # pyright: ignore[reportCallIssue]
    return open_study(settings)


def test_draws_are_balanced_whole_and_within_each_other(ran):
    study = study_of(ran)
    few, more = drawn(study.train, 8, 3), drawn(study.train, 32, 3)
    assert len(few.keys) == 8
    assert few.labels.mean() == more.labels.mean() == 0.5
    assert set(few.keys) < set(more.keys)
    assert max(few.groups.count(group) for group in few.groups) == 2
    assert set(drawn(study.train, 8, 4).keys) != set(few.keys)


def test_training_goes_on_from_given_weights(ran):
    study = study_of(ran)
    source = fit_on_few(study, make_head("softmax", steps=30), study.train)
    later = make_head("softmax", steps=1, learning_rate=1e-9, seed=8)
    later.start_from(**source.state())  # pyright: ignore[reportAttributeAccessIssue]
    fit_on_few(study, later, drawn(study.train, 8, 0))
    rows = study.tests[0].layers([4])
    assert np.allclose(later.decision_function(rows), source.decision_function(rows), atol=1e-4)
