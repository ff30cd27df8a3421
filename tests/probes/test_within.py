"""Evaluations of parts: within a fact, of chosen rows, of pooled monitors; scores of every conversation."""

import json
import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from analysis.ranking import area, auroc_within
from probes.evaluate import main
from probes.evaluation.within import fact_alone
from probes.fitting.calibration import platt
from probes.monitors.monitor import Calibration, Monitor
from tests.support.evaluated_rows import saved, stored

LABELS = [1, 0, 0, 0, 1, 1, 1, 0]
LOGITS = [1.0, 0.0, 2.0, 0.5, 10.0, 12.0, 11.0, 11.5]
ITERATIONS = [{"iteration": str(i // 4)} for i in range(8)]


def evaluated(tmp_path, *options):
    """Exit status and `evaluation.json`."""
    out = tmp_path / "results"
    code = main([*map(str, options), "--out", str(out), "--figures", "false"])
    return code, json.loads((out / "evaluation.json").read_text()) if not code else {}


def test_pairs_of_one_value_alone_are_compared_and_weigh_alike(tmp_path, capsys):
    data = stored(tmp_path / "store", "run", LABELS, LOGITS, facts=ITERATIONS)
    monitor = saved(tmp_path / "m")
    code, details = evaluated(tmp_path, "--monitors", monitor, "--data", data, "--within", "iteration")
    assert code == 0
    told = {one["monitor"]: one for one in details["within"]}["m"]
    # iteration 0: 2 of 3 pairs rightly ranked, iteration 1: 1 of 3; all together 12 of 16
    assert (told["within"], told["plain"], told["pairs"]) == (0.5, 0.75, 6 / 16)
    assert (told["values"], told["values_with_both"], told["n"]) == (2, 2, 8)
    assert told["difference"] == 0.25
    rows = json.loads((tmp_path / "results" / "results.json").read_text())
    each = {r["value"]: r["auroc"] for r in rows if r["by"] == "iteration" and r["monitor"] == "m"}
    assert each == {"0": pytest.approx(2 / 3), "1": pytest.approx(1 / 3)}
    assert "AUROC within iteration" in (tmp_path / "results" / "results.html").read_text()
    assert " within iteration |" in capsys.readouterr().out


def drifting(rng, seen):
    """Sixty initial states in six iterations that grow more harmful; logits see the iteration, and `seen`
    of the label."""
    labels, logits, facts, groups = [], [], [], []
    for iteration in range(6):
        for state in range(60):
            label = int(rng.random() < 0.05 + 0.18 * iteration)
            labels.append(label)
            logits.append(2.0 * iteration + seen * label + rng.normal())
            facts.append({"iteration": str(iteration)})
            groups.append(state)
    return labels, logits, facts, groups


@pytest.mark.parametrize("seen", [0.0, 3.0])
def test_a_fact_that_explains_the_plain_number_is_told(tmp_path, capsys, seen):
    labels, logits, facts, groups = drifting(np.random.default_rng(3), seen)
    data = stored(tmp_path / "store", "run", labels, logits, facts=facts, groups=groups)
    options = ["--monitors", saved(tmp_path / "m"), "--data", data, "--within", "iteration"]
    code, details = evaluated(tmp_path, *options)
    assert code == 0
    told = next(one for one in details["within"] if one["monitor"] == "m")
    assert 0.7 < told["alone"] < 0.9
    if seen:
        assert told["within_low"] > 0.9
    else:
        assert told["within_low"] < 0.5 < told["within_high"]
        assert told["difference_low"] > 0.1
        warned = capsys.readouterr().out
        assert "of m owes something to iteration, which alone has 0." in warned
        assert "of length owes" not in warned


def test_the_fact_alone_of_labels_that_do_not_depend_on_it_is_chance():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        labels, values = rng.integers(2, size=120).astype(float), rng.integers(8, size=120).astype(object)
        found.append(fact_alone(labels, values, [str(i // 2) for i in range(120)], 0).value)
    assert abs(float(np.mean(found)) - 0.5) < 0.02  # in the same rows it would be .6


def test_the_interval_within_knows_rows_of_one_state_in_several_iterations():
    labels, logits, facts, groups = drifting(np.random.default_rng(1), 1.0)
    label, logit = np.array(labels, float), np.array(logits)
    bins = [np.array([f["iteration"] == str(i) for f in facts]) for i in range(6)]
    once = auroc_within(label, logit, groups, bins)
    twice = auroc_within(np.tile(label, 2), np.tile(logit, 2), groups * 2, [np.tile(b, 2) for b in bins])
    assert once.value == pytest.approx(twice.value)
    assert area(label, logit, groups, bins).variance == pytest.approx(
        area(np.tile(label, 2), np.tile(logit, 2), groups * 2, [np.tile(b, 2) for b in bins]).variance
    )


def test_one_class_within_a_fact_is_no_number_and_no_crash(tmp_path):
    benign = stored(tmp_path / "store", "benign", [0] * 4, LOGITS[:4], facts=ITERATIONS[2:6])
    apart = stored(
        tmp_path / "store", "apart", [0, 0, 1, 1], LOGITS[:4], facts=[{"iteration": x} for x in "0011"]
    )
    code, details = evaluated(
        tmp_path, "--monitors", saved(tmp_path / "m"), "--data", benign, apart, "--within", "iteration"
    )
    assert code == 0
    assert {one["dataset"] for one in details["within"]} == {"apart"}
    assert {one["within"] for one in details["within"]} == {None}
    (saved_threshold,) = [
        one for one in details["thresholds"] if (one["monitor"], one["dataset"]) == ("m", "benign")
        and one["threshold_from"] == "saved"
    ]  # fmt: skip
    assert (saved_threshold["fpr"], saved_threshold["recall"]) == (1.0, None)


def test_rows_of_all_data_sets_and_of_one_are_chosen(tmp_path):
    one, two = (stored(tmp_path / "store", n, LABELS, LOGITS, facts=ITERATIONS) for n in ("one", "two"))
    code, details = evaluated(
        tmp_path, "--monitors", saved(tmp_path / "m"), "--data", one, f"{two}:iteration=0..1",
        "--where", "one:iteration!=1",
    )  # fmt: skip
    assert code == 0
    assert [(d["name"], d["rows"]) for d in details["datasets"]] == [("one", 4), ("two:iteration=0..1", 8)]
    assert "Only conversations with one:iteration!=1." in details["notes"]


def test_scores_are_json_lines_and_their_file_is_called_so(tmp_path, capsys):
    data = stored(tmp_path / "store", "run", LABELS, LOGITS, facts=ITERATIONS)
    table = tmp_path / "scores.csv"
    monitor = saved(tmp_path / "m")
    arguments = ["--monitors", monitor, "--data", data, "--scores", table, "--out", tmp_path / "results"]
    assert main([str(argument) for argument in arguments]) == 2
    assert "scores.csv: what is written are JSON lines" in capsys.readouterr().err
    assert not table.exists()


def test_every_conversation_has_its_scores_on_a_line(tmp_path):
    data = stored(tmp_path / "store", "run", LABELS, LOGITS, facts=ITERATIONS)
    code, _ = evaluated(
        tmp_path, "--monitors", saved(tmp_path / "m", threshold=10.5), "--data", data,
        "--scores", tmp_path / "scores.jsonl",
    )  # fmt: skip
    assert code == 0
    lines = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert [line["scores"]["m"]["score"] for line in lines] == LOGITS
    assert [line["scores"]["m"]["flagged"] for line in lines] == [logit >= 10.5 for logit in LOGITS]
    assert lines[0]["scores"]["m"]["probability"] == pytest.approx(1 / (1 + math.exp(-1)))
    assert set(lines[0]["scores"]["length"]) == {"score"}  # tokens are no log-odds
    assert (lines[4]["id"], lines[4]["label"], lines[4]["facts"]) == ("4", 1.0, {"iteration": "1"})


def test_labels_that_are_degrees_are_correlated_with_what_monitors_say(tmp_path):
    degrees = [0.9, 0.1, 0.4, 0.2, 0.6, 0.8, 1.0, 0.7]
    soft = stored(tmp_path / "store", "soft", degrees, LOGITS)
    hard = stored(tmp_path / "store", "hard", LABELS, LOGITS)
    code, _ = evaluated(tmp_path, "--monitors", saved(tmp_path / "m"), "--data", soft, hard)
    assert code == 0
    rows = json.loads((tmp_path / "results" / "results.json").read_text())
    found = {row["dataset"]: row for row in rows if row["monitor"] == "m" and row["by"] is None}
    assert found["soft"]["rank_correlation"] == pytest.approx(spearmanr(degrees, LOGITS).statistic)
    assert found["soft"]["rank_correlation_low"] < found["soft"]["rank_correlation"]
    assert found["hard"]["rank_correlation"] is None
    assert "<th>rank correlation</th>" in (tmp_path / "results" / "results.html").read_text()


def calibrated(folder, calibration, **more):
    monitor = Monitor.load(saved(folder, **more))
    monitor.card = monitor.card.model_copy(update={"calibration": calibration})
    return monitor.save(folder)


def test_monitors_are_pooled_by_their_calibrated_logits(tmp_path):
    data = stored(tmp_path / "store", "mt", LABELS, LOGITS, other=[0.0, 5.0] * 4)
    calibrated(tmp_path / "ms" / "one", Calibration(slope=0.1, offset=-1.0, rows=9))
    calibrated(tmp_path / "ms" / "two", Calibration(slope=2.0, offset=0.5, rows=9), weight=(0.0, 1.0))
    saved(tmp_path / "ms" / "raw")
    code, details = evaluated(
        tmp_path, "--monitors", tmp_path / "ms", "--data", data, "--pool", "both=one,two", "every=all",
        "--scores", tmp_path / "scores.jsonl",
    )  # fmt: skip
    assert code == 0
    first, second = (
        json.loads(line)["scores"] for line in (tmp_path / "scores.jsonl").read_text().splitlines()[:2]
    )
    assert first["both"]["score"] == pytest.approx(((0.1 - 1) + 0.5) / 2)
    assert second["both"]["score"] == pytest.approx((-1 + 10.5) / 2)
    assert second["every"]["score"] == pytest.approx((0.0 - 1 + 10.5) / 3)
    notes = " ".join(details["notes"])
    assert "both is the mean of the calibrated logits of one, two." in notes
    assert "of raw the logit as it is" in notes
    rows = json.loads((tmp_path / "results" / "results.json").read_text())
    assert {row["control"] for row in rows if row["monitor"] == "both"} == {None}


@pytest.mark.parametrize(
    ("pool", "told"),
    [
        ("x=one,three", "no monitor 'three'; there are one, two"),
        ("x=one", "one monitor alone"),
        ("one=all", "two monitors, pools or controls are called one"),
        ("length=all", "two monitors, pools or controls are called length"),
    ],
)
def test_a_pool_that_is_none_is_told(tmp_path, capsys, pool, told):
    data = stored(tmp_path / "store", "mt", LABELS, LOGITS)
    for name in ("one", "two"):
        saved(tmp_path / "ms" / name)
    code, _ = evaluated(tmp_path, "--monitors", tmp_path / "ms", "--data", data, "--pool", pool)
    assert code == 1
    assert told in capsys.readouterr().err


def test_calibration_tells_log_odds_and_never_turns_a_monitor_round():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=4000) * 5
    labels = (rng.random(4000) < 1 / (1 + np.exp(-(0.4 * logits - 1)))).astype(float)
    found = platt(labels, logits)
    assert (found.slope, found.offset) == (pytest.approx(0.4, abs=0.05), pytest.approx(-1, abs=0.15))
    turned = platt(1 - labels, logits)
    assert turned.slope == 0
    assert turned.offset == pytest.approx(math.log((1 - labels.mean()) / labels.mean()))
    assert platt(np.ones(5), logits[:5]) is None
