import json

import numpy as np
import pytest

from analysis import ranking
from probes.activations.store import open_dataset
from probes.fit import main
from probes.fitting.calibration import platt
from probes.fitting.cross_validation import Candidate, Tried, best_of
from probes.fitting.fit_data import read_labelled
from probes.fitting.splits import folds
from probes.heads.pooled import token_scale
from probes.heads.table import make_head
from probes.monitors.monitor import Monitor, read_card
from tests.support.captured_rows import HIDDEN, captured
from tests.support.stored_rows import spec

QUICK = ["--parameters", "steps=40", "batch_size=16"]


def run(tmp_path, *options, quick=True):
    return main([*map(str, options), "--out", str(tmp_path / "monitors"), *(QUICK if quick else [])])


def test_the_layer_that_tells_is_chosen_and_monitors_are_saved(tmp_path, capsys):
    data = captured(tmp_path / "store", "stakes", excluded={"ambiguous": 7})
    assert (
        run(
            tmp_path,
            "--data",
            data,
            "--layers",
            "2,4",
            "--heads",
            "mean,attention",
            "--seeds",
            2,
            "--folds",
            3,
        )
        == 0
    )
    folders = sorted(p.name for p in (tmp_path / "monitors").iterdir())
    assert folders == ["attention-layer4-seed0", "attention-layer4-seed1", "fit.json", "mean-layer4"]
    told = capsys.readouterr().out
    assert "left out: 7 (ambiguous)" in told
    assert "only 8 negatives to set thresholds on" in told
    summary = json.loads((tmp_path / "monitors" / "fit.json").read_text())
    by_layer = {(row["head"], row["layers"][0]): row for row in summary["cross_validation"]}
    assert by_layer["mean", 4]["auroc"] > 0.9 > by_layer["mean", 2]["auroc"]
    assert (
        by_layer["mean", 4]["auroc_low"] <= by_layer["mean", 4]["auroc"] <= by_layer["mean", 4]["auroc_high"]
    )


def test_monitors_of_an_earlier_command_in_the_same_folder_are_named(tmp_path, capsys):
    data = captured(tmp_path / "store", "stakes")
    assert run(tmp_path, "--data", data, "--layers", "4", "--folds", 3, "--heads", "mean", quick=False) == 0
    assert "there from before" not in capsys.readouterr().out
    assert (
        run(tmp_path, "--data", data, "--layers", "4", "--folds", 3, "--heads", "logistic", quick=False) == 0
    )
    assert "there from before, not fitted by this command: mean-layer4" in capsys.readouterr().out


def test_a_saved_monitor_scores_new_data_of_the_same_capture(tmp_path):
    root = tmp_path / "store"
    data = captured(root, "stakes")
    captured(root, "later", seed=5)
    run(
        tmp_path,
        "--data",
        data,
        "--layers",
        4,
        "--heads",
        "max,mean",
        "--seeds",
        1,
        "--folds",
        0,
        "--detects",
        "high stakes",
    )
    later = open_dataset(root, "later")
    for name in ("max-layer4-seed0", "mean-layer4"):
        monitor = Monitor.load(tmp_path / "monitors" / name, expect=later.spec)
        table = monitor.score(later.activations, tokens=True)
        assert ranking.auroc(later.labels, table.logits, later.groups).value > 0.9
        assert monitor.card.detects == "high stakes"


def test_card_and_threshold_say_what_happened_on_the_validation_set(tmp_path):
    root = tmp_path / "store"
    data = captured(root, "stakes", 60)
    other = captured(root, "check", 100, seed=3)
    run(
        tmp_path,
        "--data",
        data,
        "--validation",
        other,
        "--layers",
        4,
        "--heads",
        "mean",
        "--folds",
        0,
        "--fpr",
        0.1,
        quick=False,
    )
    monitor = Monitor.load(tmp_path / "monitors" / "mean-layer4")
    card, check = monitor.card, open_dataset(root, "check")
    assert (card.training.rows, card.training.positive, card.training.groups) == (60, 30, 30)
    assert card.validation.rows == 100
    table = monitor.score(check.activations)
    threshold = card.threshold
    assert threshold.fpr == np.mean(table.flagged[check.labels == 0]) <= 0.1
    assert threshold.recall == np.mean(table.flagged[check.labels == 1])
    assert (threshold.n_negative, threshold.n_positive, threshold.asked_fpr) == (50, 50, 0.1)
    area = ranking.auroc(check.labels, table.logits, check.groups)
    assert card.metrics["auroc"] == pytest.approx(area.value)
    assert card.metrics["auroc_low"] == pytest.approx(area.low)
    assert set(card.metrics) == {
        f"{m}{e}" for m in ("auroc", "recall_at_10pct_fpr", "fpr") for e in ("", "_low", "_high")
    }


def test_no_group_is_in_training_and_validation(tmp_path):
    data = captured(tmp_path / "store", "stakes", 80)
    run(
        tmp_path,
        "--data",
        data,
        "--layers",
        4,
        "--heads",
        "mean",
        "--folds",
        0,
        "--final",
        "part",
        "--validation-share",
        0.25,
        quick=False,
    )
    card = read_card(tmp_path / "monitors" / "mean-layer4")
    assert card.training.rows + card.validation.rows == 80
    assert card.training.groups + card.validation.groups == 40
    assert card.validation.rows == 20


def test_heads_that_nothing_stops_are_fitted_on_all_rows_and_measured_on_what_they_have_not_seen(
    tmp_path, capsys
):
    data = captured(tmp_path / "store", "stakes", 80, tells=2)  # layer 4 tells nothing
    options = ["--data", data, "--layers", 4, "--heads", "mean,attention", "--folds", 0, "--seeds", 1]
    assert run(tmp_path, *options) == 0
    rows = read_labelled([str(data)])
    features, labels = rows.pooled([4])("mean"), rows.labels
    monitor = Monitor.load(tmp_path / "monitors" / "mean-layer4")
    whole = make_head("mean").fit(rows.layers([4]), labels)
    logits = monitor.head.decision_function(rows.layers([4]))
    assert np.allclose(logits, whole.decision_function(rows.layers([4])), atol=1e-6)
    assert (monitor.card.training.rows, monitor.card.cross_fitted) == (80, 5)
    assert (monitor.card.threshold.n_negative, monitor.card.threshold.n_positive) == (40, 40)
    # by hand: each row scored by a head that was fitted without its fifth
    parts = folds(labels, rows.groups, 5, 0)
    scale = token_scale(rows.layers([4]))
    unseen = np.zeros(80)
    for part in parts:
        head = make_head("mean")
        head.fit_pooled(features, head.masses(labels, part.train.astype(float)), scale)
        unseen[part.test] = head.decision_function(rows.take(part.test).layers([4]))
    area = ranking.auroc_within(labels, unseen, rows.groups, [part.test for part in parts])
    assert monitor.card.metrics["auroc"] == pytest.approx(area.value)
    assert area.value < ranking.auroc(labels, logits, rows.groups).value - 0.05
    expected = ranking.largest_recall(labels, unseen, rows.groups, 0.01).logit
    assert monitor.card.threshold.logit == pytest.approx(expected)
    calibration = platt(labels, unseen)
    assert monitor.card.calibration.offset == pytest.approx(calibration.offset, abs=1e-6)
    stopped = read_card(tmp_path / "monitors" / "attention-layer4-seed0")
    assert (stopped.training.rows, stopped.validation.rows, stopped.cross_fitted) == (64, 16, None)
    printed = capsys.readouterr().out
    assert "mean:\nfitted on 80 conversations" in printed
    assert "validated on the same in 5 parts" in printed
    assert "attention:\nfitted on 64 conversations" in printed


def test_all_rows_can_be_asked_for_and_matching_holds_in_every_fit(tmp_path):
    data = captured(tmp_path / "store", "stakes", 80, labels=[float(i % 4 == 1) for i in range(80)])
    options = ["--data", data, "--layers", 4, "--heads", "mean,attention", "--folds", 0, "--seeds", 1]
    assert run(tmp_path, *options, "--final", "all", "--match", "split") == 0
    for name in ("mean-layer4", "attention-layer4-seed0"):
        card = read_card(tmp_path / "monitors" / name)
        assert card.cross_fitted == 5
        assert (card.training.rows, card.training.positive) == (40, 20)
        assert card.validation.rows == 80  # thresholds are set on rows as they come


def test_facts_choose_rows_and_shared_conversations_leave_the_validation(tmp_path):
    data = captured(tmp_path / "store", "stakes", 80)
    run(
        tmp_path,
        "--data",
        data,
        "--where",
        "split=train",
        "--validation",
        data,
        "--layers",
        4,
        "--heads",
        "mean",
        "--folds",
        0,
        quick=False,
    )
    card = read_card(tmp_path / "monitors" / "mean-layer4")
    assert (card.training.rows, card.validation.rows) == (60, 20)
    assert card.validation.excluded == {"also trained on": 60}


def test_the_same_command_gives_the_same_monitors(tmp_path):
    data = captured(tmp_path / "store", "stakes", 40)
    options = ["--data", data, "--layers", "4", "--heads", "all", "--seeds", 1, "--folds", 0]
    run(tmp_path / "one", *options)
    run(tmp_path / "two", *options)
    for folder in (tmp_path / "one" / "monitors").iterdir():
        if folder.is_dir():
            one, two = (
                tmp_path / n / "monitors" / folder.name / "weights.safetensors" for n in ("one", "two")
            )
            assert one.read_bytes() == two.read_bytes(), folder.name
    assert len(list((tmp_path / "one" / "monitors").glob("*/monitor.json"))) == 16


def test_layers_side_by_side_and_all_layers(tmp_path):
    data = captured(tmp_path / "store", "stakes", 40)
    assert (
        run(
            tmp_path / "a",
            "--data",
            data,
            "--layers",
            "2+4",
            "--heads",
            "mean,max",
            "--seeds",
            1,
            "--folds",
            0,
        )
        == 0
    )
    card = read_card(tmp_path / "a" / "monitors" / "max-layer2+4-seed0")
    assert (card.layers, card.hidden) == ([2, 4], 2 * HIDDEN)
    assert (
        run(
            tmp_path / "b",
            "--data",
            data,
            "--layers",
            "all",
            "--heads",
            "mean",
            "--folds",
            2,
            "--keep",
            "all",
            quick=False,
        )
        == 0
    )
    assert sorted(p.name for p in (tmp_path / "b" / "monitors").glob("*/")) == ["mean-layer2", "mean-layer4"]


def test_parameters_are_tuned_and_what_is_fixed_is_kept(tmp_path):
    data = captured(tmp_path / "store", "stakes", 60)
    options = ["--data", data, "--layers", 4, "--folds", 2, "--seeds", 1, "--tune", "true"]
    assert (
        run(
            tmp_path,
            *options,
            "--heads",
            "mean,top_k",
            "--parameters",
            "top_k.count=3",
            "steps=10",
            quick=False,
        )
        == 0
    )
    summary = json.loads((tmp_path / "monitors" / "fit.json").read_text())
    tried = [row["parameters"] for row in summary["cross_validation"]]
    assert {p["C"] for p in tried if "C" in p} == {0.01, 0.1, 1.0, 10.0, 100.0}
    assert {(p["count"], p["steps"], p["weight_decay"]) for p in tried if "count" in p} == {
        (3, 10, 0.1),
        (3, 10, 1.0),
    }
    best = max((r for r in summary["cross_validation"] if r["head"] == "mean"), key=lambda r: r["auroc"])
    assert read_card(tmp_path / "monitors" / "mean-layer4").parameters["C"] == best["parameters"]["C"]


def test_selection_by_recall_falls_back_on_auroc():
    def tried(head, auroc, recall):
        return Tried(Candidate(head, (1,), {}), ranking.Ranked(auroc, 0, 1), ranking.Ranked(recall, 0, 1))

    found = [tried("max", 0.9, 0.3), tried("max", 0.8, 0.5), tried("max", 0.85, 0.5), tried("mean", 0.7, 0.1)]
    assert best_of(found, "auroc")["max"] is found[0]
    assert best_of(found, "recall")["max"] is found[2]
    assert best_of(found, "recall")["mean"] is found[3]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--layers", "9"], "layer 9 is not stored for all rows; there are [2, 4]"),
        (["--layers", "4+x"], "a layer is a number"),
        (["--layers", "4", "--heads", "atention"], "did you mean 'attention'"),
        (["--layers", "4", "--heads", "mean", "--parameters", "window=3"], "none of mean has such a parameter"),
        (["--layers", "4", "--heads", "mean", "--parameters", "max.window=3"], "head 'max' is not fitted"),
        (["--layers", "4", "--heads", "max", "--parameters", "max.windw=3"], "no parameter 'windw'"),
        (["--layers", "4", "--heads", "mean", "--parameters", "C=-1"], "C must be above 0"),
        (["--layers", "4", "--folds", "1"], "folds"),
        (["--layers", "4", "--folds", "200"], "200 folds need 200 groups"),
        (["--layers", "4", "--where", "split=dev"], "no row has split=dev; there are split=test|train"),
        (["--layers", "4", "--class-weight", "balanced", "--base-rate", "0.1"], "exclude each other"),
        (["--layers", "4", "--hed", "mean"], "--heads"),
        ([], "layers"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_used(options, told, tmp_path, capsys):
    data = captured(tmp_path / "store", "stakes", 40)
    assert run(tmp_path, "--data", data, *options, quick=False) in (1, 2)
    assert told in capsys.readouterr().err
    assert not (tmp_path / "monitors").exists()


def test_data_sets_that_do_not_go_together(tmp_path, capsys):
    root = tmp_path / "store"
    data = captured(root, "stakes", 40)
    other = captured(root, "other", 40, of=spec(dtype="float32", template="plain:2"))
    elsewhere = captured(tmp_path / "second", "stakes", 40)
    nothing = captured(root, "unlabelled", 4, labels=[None] * 4)
    one = captured(root, "one", 40, labels=[1.0] * 40)
    for options, told in (
        (["--data", data, other], "template 'plain:1' and 'plain:2'"),
        (["--data", data, "--validation", other], "template 'plain:1' and 'plain:2'"),
        (["--data", data, elsewhere], "pull"),
        (["--data", data, "--validation", data], "all conversations of the validation set are trained on"),
        (["--data", nothing], "no row has a label"),
        (["--data", one], "groups with negative rows"),
        (["--data", root / "missing"], "no data set 'missing'; it has: "),
    ):
        assert run(tmp_path, *options, "--layers", 4) == 1
        assert told in capsys.readouterr().err


def test_several_data_sets_are_fitted_together_and_unlabelled_rows_counted(tmp_path):
    root = tmp_path / "store"
    one = captured(root, "one", 40)
    two = captured(root, "two", 20, seed=1, labels=[None, 0.0, 0.9, 0.2] * 5)
    assert (
        run(
            tmp_path, "--data", one, two, "--layers", 4, "--heads", "mean,max", "--seeds", 1, "--folds", 0,
            "--final", "part",
        )
        == 0
    )  # fmt: skip
    card = read_card(tmp_path / "monitors" / "mean-layer4")
    assert card.training.rows + card.validation.rows == 55
    assert card.training.excluded == {"not labelled": 5}


def rewritten(data, change):
    """A data set whose rows are changed, one dict at a time."""
    path = data.parent / "datasets" / f"{data.name}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(i, row)) + "\n" for i, row in enumerate(rows)))
    return data


def test_other_epochs_of_a_state_that_is_fitted_on_are_no_validation(tmp_path, capsys):
    root = tmp_path / "store"
    first, second = captured(root, "first", 60), captured(root, "second", 80, seed=1)
    for data in (first, second):  # states 0 to 29, and 0 to 39
        rewritten(data, lambda i, row: row | {"group": f"state-{i // 2}"})
    options = ["--data", first, "--validation", second, "--layers", 4, "--heads", "mean", "--folds", 0]
    assert run(tmp_path, *options, quick=False) == 0
    card = read_card(tmp_path / "monitors" / "mean-layer4")
    assert card.validation.excluded == {"in a group that is also trained on": 60}
    assert (card.validation.rows, card.validation.groups) == (20, 10)
    printed = capsys.readouterr().out
    assert "left out: 60 (in a group that is also trained on)" in printed
    assert "on the rows that validate, which chose the threshold: on other data monitors do worse" in printed


def test_equal_words_are_never_fitted_on_and_held_out(tmp_path):
    root = tmp_path / "store"
    data = captured(root, "texts", 120)
    # 40 texts, three rows of each under three groups
    rewritten(data, lambda i, row: row | {"key": f"texts-{i % 40}", "label": float(i % 2), "group": f"g{i}"})
    options = ["--data", data, "--layers", 4, "--heads", "mean", "--folds", 0, "--final", "part"]
    assert run(tmp_path, *options, quick=False) == 0
    card = read_card(tmp_path / "monitors" / "mean-layer4")
    assert card.training.groups + card.validation.groups == 40
    assert (card.training.rows, card.validation.rows) == (96, 24)


def test_states_of_two_families_with_one_name_are_two_groups(tmp_path):
    root = tmp_path / "store"
    sets = [captured(root, name, 40, seed=n) for n, name in enumerate(("therapy", "subtle"))]
    for data in sets:
        facts = {"task": "t", "model": "m", "epoch": "1", "family": data.name}
        rewritten(data, lambda i, row, facts=facts: row | {"group": f"state-{i // 2}", "facts": facts})
    options = ["--layers", 4, "--heads", "mean", "--folds", 0]
    assert run(tmp_path, "--data", sets[0], "--validation", sets[1], *options, quick=False) == 0
    card = read_card(tmp_path / "monitors" / "mean-layer4")
    assert (card.validation.rows, card.validation.excluded) == (40, {})


def test_what_a_monitor_was_fitted_and_validated_on_is_never_evaluated(tmp_path, capsys):
    from probes.evaluate import main as evaluate

    root = tmp_path / "store"
    first, second = captured(root, "first", 80), captured(root, "second", 60, seed=1)
    for data in (first, second):  # states 0 to 39, and 0 to 29 of which the last ten are others
        rewritten(data, lambda i, row, of=data: row | {"group": f"state-{i // 2 + 20 * (of is second)}"})
    assert run(tmp_path, "--data", first, "--layers", 4, "--heads", "mean", "--folds", 0, quick=False) == 0
    options = [
        "--monitors",
        str(tmp_path / "monitors"),
        "--figures",
        "false",
        "--out",
        str(tmp_path / "results"),
    ]
    assert evaluate([*options, "--data", str(second)]) == 0
    details = json.loads((tmp_path / "results" / "evaluation.json").read_text())
    assert details["datasets"][0]["excluded"] == {"in what a monitor was fitted or validated on": 40}
    assert details["datasets"][0]["rows"] == 20
    assert evaluate([*options, "--data", str(first)]) == 1
    assert "80 in what a monitor was fitted or validated on" in capsys.readouterr().err


def test_layers_are_chosen_by_what_they_tell_within_a_fact(tmp_path, capsys):
    data = captured(tmp_path / "store", "run", 160)
    # harm grows from iteration to iteration; layer 4 knows the iteration, layer 2 nothing
    rewritten(
        data,
        lambda i, row: (
            row | {"facts": {"iteration": str(i % 2)}, "label": float(i % 2 if i % 10 < 8 else 1 - i % 2)}
        ),
    )
    options = ["--data", data, "--layers", "2,4", "--heads", "mean", "--keep", "all", "--folds", 4]
    assert run(tmp_path, *options, quick=False) == 0
    plain = {tuple(one["layers"]): one["auroc"] for one in summary(tmp_path)}
    assert run(tmp_path, *options, "--within", "iteration", quick=False) == 0
    within = {tuple(one["layers"]): one["auroc"] for one in summary(tmp_path)}
    assert plain[4,] > 0.7
    assert abs(within[4,] - 0.5) < 0.15
    assert "AUROC within iteration" in capsys.readouterr().out
    assert run(tmp_path, *options, "--within", "topc", quick=False) == 1
    assert "--within topc: no row has such a fact; there are iteration" in capsys.readouterr().err


def summary(tmp_path):
    return json.loads((tmp_path / "monitors" / "fit.json").read_text())["cross_validation"]
