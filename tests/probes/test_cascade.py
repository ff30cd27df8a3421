"""The command on files of scores, on captured rows with a log, and what it refuses."""

import csv
import json
import math

import numpy as np
import pytest
from inspect_ai import eval  # noqa: A004

from analysis.ranking import area, compare
from probes.cascade import main
from probes.cascades.measured.equals import equals_judge
from probes.cascades.measured.points import Point
from probes.cascades.saved import read_cascade
from probes.laboratory.rows import StakesRow, write_rows
from tasks.stakes import stakes
from tests.support.cascades import gaussian_rows, write_scores
from tests.support.evaluated_rows import saved, stored
from tests.support.stored_rows import spec
from tests.support.told import told

FEW = ["--budgets", "0.2,1"]


def run(out, *options):
    code = main([*map(str, options), *FEW, "--out", str(out)])
    return code, json.loads((out / "points.json").read_text()) if code == 0 else None


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Scores of three monitors on a calibration set and two test sets."""
    parts = [gaussian_rows(n, seed=n, judges=(2.0, 3.0), name=f"set{n}") for n in (200, 150, 120)]
    parts[1] = parts[1]._replace(ties=[t._replace(group=f"g{i // 2}") for i, t in enumerate(parts[1].ties)])
    folder = tmp_path_factory.mktemp("made")
    lacking = {parts[0].ids[3], parts[1].ids[0], parts[1].ids[7]}
    return parts, write_scores(folder, parts, columns=(0, 1, 2), lacking=lacking)


def common(files):
    return ["--scores", files[0], "--calibration", "set200", "--judge", files[1]]


def one(points, **wanted):
    (found,) = [p for p in points if all(p[k] == v for k, v in wanted.items())]
    return found


def test_points_are_what_ranking_says_of_the_rows_that_all_scored(tmp_path, made, capsys):
    parts, files = made
    code, found = run(tmp_path, *common(files), "--test", "set150", "set120")
    assert code == 0
    points = found["points"]
    keep = np.array([i not in (0, 7) for i in range(150)])
    labels, groups = parts[1].labels[keep], [parts[1].groups[i] for i in np.flatnonzero(keep)]
    probe, judge = (area(labels, parts[1].columns[n].logits[keep], groups) for n in (0, 1))
    alone = one(points, strategy="probe alone", dataset="set150")
    assert (alone["n"], alone["auroc"]) == (148, pytest.approx(probe.value))
    expected = compare(probe, judge)
    assert (alone["difference_to_judge"], alone["difference_p"]) == pytest.approx(
        (expected.value, expected.p)
    )
    assert found["excluded"]["set150"] == {"not given to judge1": 2}
    judged = one(points, strategy="judge alone", dataset="mean")
    assert (judged["asked"], judged["flops"]) == (1.0, pytest.approx(1000))
    here = one(points, strategy="likelihood-ratio", merge="likelihood-ratio", budget=0.2, dataset="set120")
    assert here["flops"] == pytest.approx(1 + 1000 * here["asked"])
    assert here["seconds"] == pytest.approx(0.1 * here["asked"])
    assert {p["strategy"] for p in points} >= {"uncertainty", "top-risk", "value", "earlier", "random"}
    assert {p["merge"] for p in points} >= {"replace", "mean", "weighted-logits"}
    with (tmp_path / "points.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(points)
    assert float(rows[0]["auroc"]) == points[0]["auroc"]
    page = (tmp_path / "cascade.md").read_text()
    assert "2 not given to judge1" in page
    assert "AUROC" in capsys.readouterr().out
    assert (tmp_path / "cascade.png").stat().st_size > 10_000
    cascade = read_cascade(tmp_path)
    assert (cascade.monitor.name, cascade.monitor.folder, cascade.budget) == ("probe", None, 0.1)
    assert (cascade.fitted_on.rows, cascade.fitted_on.datasets) == (199, ["set200"])


def test_three_monitors_and_groups_drawn_apart(tmp_path, made):
    _, files = made
    code, found = run(
        tmp_path, *common(files)[:2], "--calibration", "set150", *common(files)[4:], "--third", files[2]
    )
    assert code == 0
    assert found["monitors"] == ["probe", "judge1", "judge2"]
    assert [stage.judge for stage in read_cascade(tmp_path).stages] == ["judge1", "judge2"]
    n = {p["n"] for p in found["points"]}
    assert n == {148 - read_cascade(tmp_path).fitted_on.rows}
    everything = one(found["points"], strategy="uncertainty", budget=1.0)
    assert 0 < everything["asked_third"] <= 0.6
    assert everything["flops"] == pytest.approx(
        1 + 1000 * everything["asked"] + 1e6 * everything["asked_third"]
    )


def test_another_cascade_is_drawn_beside_if_it_is_of_the_same_rows(tmp_path, made, capsys):
    _, files = made
    first = tmp_path / "first"
    assert run(first, *common(files), "--test", "set120")[0] == 0
    other = [*common(files)[:4], "--judge", files[2], "--test", "set120", "--compare-with", first]
    assert run(tmp_path / "second", *other)[0] == 0
    capsys.readouterr()
    for changed, said in (
        ([*other[:-3], "set150", "--compare-with", first], "other test rows"),
        ([*other, "--fpr", "0.05"], "false-positive rate 0.01, here 0.05"),
    ):
        assert run(tmp_path / "third", *changed)[0] == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert said in line
        assert "two configurations" in line
    assert not (tmp_path / "third").exists()


def test_what_cannot_be_is_refused_in_one_line(tmp_path, made, capsys):
    parts, files = made
    both = tmp_path / "both.jsonl"
    both.write_text(files[1].read_text() + files[2].read_text())
    odd = tmp_path / "odd.json"
    odd.write_text('{"test_rows": "", "points": [], "settings": []}')
    turned = write_scores(
        tmp_path / "turned",
        [parts[0]._replace(columns=[c._replace(logits=-c.logits) for c in parts[0].columns])],
        columns=(1,),
    )[0]
    test = ["--test", "set120"]
    for options, status, said in (
        ([*common(files), "--test", "set200"], 1, "overlaps the test split: 200 of 200"),
        ([*common(files), *test, "--low", "0.7", "--high", "0.3"], 2, "thresholds cross"),
        ([*common(files), *test, "--budget", "0"], 2, "above 0 and at most 1"),
        ([*common(files), *test, "--budgets", "1.5"], 2, "above 0 and at most 1"),
        ([*common(files), *test, "--low", "0.7"], 2, "go together"),
        ([*common(files), "--test", "nowhere"], 1, "there are set200, set150, set120"),
        ([*common(files), *test, "--monitor", "prob"], 1, "no such monitor"),
        ([*common(files)[:4], "--judge", both, *test], 1, "name one with --judge-name: judge1, judge2"),
        ([*common(files), turned, *test], 1, "two configurations"),
        ([*common(files), *test, "--third", files[1]], 1, "asks different monitors"),
        ([*common(files), *test, "--cost", "dollars"], 1, "there are flops, seconds, calls"),
        ([*common(files), *test, "set120"], 1, "share 120 rows"),
        ([*common(files), *test, "--compare-with", odd], 1, "no points of a cascade"),
    ):
        budgets = [] if "--budgets" in options else FEW
        assert main([*map(str, options), *budgets, "--out", str(tmp_path / "out")]) == status, options
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert said in line
    one_class = write_scores(tmp_path / "one", [parts[2]._replace(labels=np.ones(120))], columns=(0, 1))
    options = ["--scores", one_class[0], "--calibration", "set120", "--judge", one_class[1]]
    assert run(tmp_path / "out", *options)[0] == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "--calibration: " in line
    assert " 0 negative rows" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("whose", [0, 1])
def test_a_row_whose_score_is_null_is_counted_and_a_line_that_is_none_is_named(tmp_path, made, capsys, whose):
    _, files = made
    name = ("probe", "judge1")[whose]
    lines = files[whose].read_text().splitlines()
    options = list(common(files))
    options[1 if whose == 0 else 5] = tmp_path / "changed.jsonl"

    def changed(**other):
        new = json.dumps(json.loads(lines[5]) | other)
        (tmp_path / "changed.jsonl").write_text("\n".join([*lines[:5], new, *lines[6:]]) + "\n")
        return run(tmp_path / "out", *options, "--test", "set120")

    for other, said in (
        ({"scores": {name: {"score": "high"}}}, f"{name} has no number"),
        ({"scores": {name: 0.5}}, f"{name} has no number"),
        ({"scores": [1]}, "no id with scores"),
        ({"label": "yes"}, "label 'yes'"),
        ({"facts": [1]}, "facts is no mapping"),
        ({"cost": {name: {"flops": "many"}}}, "cost: of"),
    ):
        assert changed(**other)[0] == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "changed.jsonl:6: " in line
        assert said in line
    code, found = changed(scores={name: {"score": None}}, cost={name: {"flops": None}})
    assert code == 0
    assert found["excluded"]["set200"][f"without a usable answer of {name}"] == 1


def test_a_saved_monitor_first_and_an_asked_model_second(tmp_path, capsys):
    count = 40
    labels = [n % 2 for n in range(count)]
    logits = [1.5 * y - 0.75 + math.sin(7.0 * n) for n, y in enumerate(labels)]
    ids, groups = [str(n) for n in range(count)], [f"p{n // 2}" for n in range(count)]
    data = stored(tmp_path / "store", "mt", labels, logits, groups=groups)
    monitor = saved(tmp_path / "monitors" / "probe")
    write_rows(
        tmp_path / "mt.jsonl",
        [
            StakesRow(id=i, pair=g, messages=[{"role": "user", "content": f"({i})"}], label=y)
            for i, g, y in zip(ids, groups, labels, strict=True)
        ],
    )

    def script(prompt):
        number = int(prompt[-1].text.split("(")[1].split(")")[0])
        if number == 5:
            return "I'd rather not say."
        high = 0.8 if number % 2 else 0.3
        return {"high": high, "low": 1 - high}

    task = stakes(str(tmp_path / "mt.jsonl"), template="single_word", cache=False)
    (log,) = eval(task, model=told(script, "m"), log_dir=str(tmp_path / "logs"), display="none")
    options = ["--monitor", monitor, "--calibration", data, "--judge", log.location]
    code, found = run(tmp_path / "out", *options, "--low", "0.2", "--high", "0.8")
    assert code == 0
    assert sum(sum(left.values()) for left in found["excluded"].values()) == 1
    assert (
        "without a usable answer of likelihood single_word m" in (tmp_path / "out" / "cascade.md").read_text()
    )
    cascade = read_cascade(tmp_path / "out")
    assert (cascade.monitor.folder, cascade.strategy) == (str(monitor), "fixed")
    assert cascade.monitor.model
    assert (cascade.stages[0].low, cascade.stages[0].high) == (0.2, 0.8)
    # a model whose size is not known has no FLOPs, and they are not made up
    assert {p["flops"] for p in found["points"]} == {None}
    assert one(found["points"], strategy="judge alone")["seconds"] > 0
    other = saved(tmp_path / "monitors" / "other", of=spec(dtype="float32", revision="another"))
    assert main([*map(str, ["--monitor", other, *options[2:]]), "--out", str(tmp_path / "x")]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "fitted on other activations" in line


def point(budget, low, p, value=0.0):
    row = {"strategy": "value", "merge": "mean", "dataset": "a", "n": 9, "asked_third": None, "low": None}
    row |= {"high": None, "flagged_recall": None, "flagged_fpr": None, "flops": None, "seconds": None}
    for name in ("asked", "auroc", "recall_at_asked_fpr"):
        row |= {name: 0.5, f"{name}_low": 0.4, f"{name}_high": 0.6}
    row |= {"difference_to_judge": value, "difference_low": low, "difference_high": 0.1, "difference_p": p}
    return Point.of_row(row | {"budget": budget, "dollars": None})


def test_the_cheapest_that_equals_the_judge_is_not_looked_for_behind_one_that_may_not():
    points = [
        point(1.0, -0.001, 1.0),
        point(0.5, -0.009, 0.3),
        point(0.2, -0.03, 0.4),
        point(0.1, -0.005, 0.9),
    ]
    found = equals_judge([*points, point(0.05, -0.2, 0.01)], 0.01)
    assert (found.cheapest.budget, found.undecided.budget) == (0.5, 0.1)
    assert "from budget 0.5 on" in found.told()
    assert "not evidence that there is none" in found.told()
    alone = point(None, 0.1, 0.001, 0.2)._replace(name="probe alone")
    told = equals_judge([alone, point(1.0, 0.1, 0.001, 0.2)], 0.01).told()
    assert "there is nothing to equal" in told
    assert equals_judge([alone, points[2]], 0.01).cheapest is None
    nothing = equals_judge([point(1.0, -0.02, 0.001, -0.01)], 0.01)
    assert (nothing.cheapest, nothing.undecided) == (None, None)
    assert "At no budget is it shown" in nothing.told()
    assert equals_judge([point(1.0, math.nan, math.nan)], 0.01).cheapest is None
