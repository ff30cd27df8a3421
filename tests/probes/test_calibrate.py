"""The command on logs, captured rows and files of scores; cases in Scout's format."""

import csv
import json

import numpy as np
import pytest
from inspect_ai.log import read_eval_log, write_eval_log

from probes.calibrate import main
from probes.monitors.monitor import Monitor, read_card
from probes.thresholds.validation_cases import ValidationCase, read_cases
from tests.support.cascades import gaussian_rows, write_scores
from tests.support.evaluated_rows import saved, stored
from tests.support.monitored_logs import monitored_log, replies
from tests.support.stored_rows import spec

COUNT, TURNS = 40, 3


def logits_and_harm(seed, shift=0.0):
    """Turn 2 of every fourth conversation is harmful and has a high logit; the other turns have not."""
    rng = np.random.default_rng(seed)
    harm = [[0.0, float(n % 4 == 0), 0.0] for n in range(COUNT)]
    values = rng.normal(size=(COUNT, TURNS)) + 4 * np.array(harm) + shift
    return values.round(3).tolist(), harm


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A benign run with few harmful turns, and a later one in which everything is flagged more."""
    folder = tmp_path_factory.mktemp("logs")
    return [
        monitored_log(folder / name, *logits_and_harm(seed, shift))
        for seed, (name, shift) in enumerate([("base", 0.0), ("same", 0.0), ("drifted", 2.0)])
    ]


def run(*arguments):
    return main([str(one) for one in arguments])


def read(out, name="calibration.json"):
    return json.loads((out / name).read_text())


def test_turns_are_benign_by_their_own_label_not_by_that_of_the_conversation(tmp_path, logs, capsys):
    base, same, drifted = (log.location for log in logs)
    options = ["threshold", "--benign", base, "--label", "influence", "--fpr", "0.15", "--base-rate", "0.01"]
    assert run(*options, "--watch", same, drifted, "--out", tmp_path) == 0
    found = read(tmp_path)
    assert (found["per"], found["threshold"]["rows"]) == ("turn", COUNT * TURNS - COUNT // 4)
    assert found["benign"]["left_out"] == {"positive by their label": COUNT // 4}
    assert (found["threshold"]["groups"], found["threshold"]["effective"] <= COUNT) == (COUNT, True)
    assert found["threshold"]["upper"] <= 0.15
    assert found["harmful"]["rows"] == COUNT // 4
    assert found["harmful"]["recall"]["value"] > 0.8
    assert found["at_base_rate"]["precision"]["value"] < 0.3
    assert [look["alarm"] for look in found["looks"]] == [False, True]
    printed = capsys.readouterr().out
    assert "ALARM" in printed
    assert "false-positive rate below" in printed
    # with conversations as rows a quarter of them are harmful as a whole, and set the threshold
    whole = ["threshold", "--benign", base, "--per", "conversation", "--fpr", "0.15", "--out", tmp_path / "w"]
    assert run(*whole) == 0
    assert read(tmp_path / "w")["threshold"]["logit"] > found["threshold"]["logit"] + 1


def test_a_saved_monitor_gets_the_threshold_from_rows_without_labels(tmp_path, capsys):
    logits = np.random.default_rng(4).normal(size=400)
    data = stored(tmp_path / "store", "chat", [None] * 399 + [1.0], logits)
    monitor = saved(tmp_path / "monitors" / "probe")
    options = ["threshold", "--monitor", monitor, "--benign", data]
    assert run(*options, "--out", tmp_path / "new") == 0
    card = read_card(tmp_path / "new")
    assert (card.threshold.recall, card.threshold.n_positive, card.threshold.n_negative) == (None, 0, 399)
    assert card.threshold.logit == read(tmp_path / "new")["threshold"]["logit"]
    rows = Monitor.load(tmp_path / "new").head.state()
    assert rows.keys() == Monitor.load(monitor).head.state().keys()
    capsys.readouterr()
    other = saved(tmp_path / "monitors" / "other", of=spec(dtype="float32", revision="another"))
    for wrong, said in (
        (["threshold", "--monitor", other, "--benign", data], "fitted on other activations"),
        (["threshold", "--monitor", monitor, "--benign", data, "--fpr", "0.001"], "It takes 2995 groups"),
        (["threshold", "--monitor", monitor, "--benign", data, "--out", monitor], "is the monitor itself"),
    ):
        out = [] if "--out" in wrong else ["--out", tmp_path / "x"]
        assert run(*wrong, *out) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert said in line
    assert not (tmp_path / "x").exists()


def test_scores_of_a_file_count_where_their_label_is_not_positive(tmp_path):
    rows = gaussian_rows(900, seed=5)
    (file,) = write_scores(tmp_path, [rows], columns=(0,))
    options = ["threshold", "--scores", file, "--monitor", "probe", "--benign", "made", "--harmful", "made"]
    assert run(*options, "--fpr", "0.05", "--out", tmp_path / "out") == 0
    found = read(tmp_path / "out")
    negative = rows.logits[0][rows.labels == 0]
    assert found["threshold"]["rows"] == len(negative)
    flagged = negative >= found["threshold"]["logit"]
    assert found["threshold"]["flagged"] == flagged.sum()
    positive = rows.logits[0][rows.labels == 1] >= found["threshold"]["logit"]
    assert found["harmful"]["recall"]["value"] == pytest.approx(positive.mean())


def test_logs_of_one_name_and_two_thresholds_are_of_several_monitors(tmp_path, logs, capsys):
    other = read_eval_log(logs[1].location)
    for sample in other.samples:
        sample.scores["stakes"].metadata["threshold"] = 7.5
    write_eval_log(other, str(tmp_path / "other.eval"))
    files = ["--logs", logs[0].location, tmp_path / "other.eval"]
    assert run("validate", *files, "--label", "influence", "--out", tmp_path / "x") == 1
    assert "2 different thresholds" in capsys.readouterr().err
    assert run("validate", "--logs", tmp_path, "--out", tmp_path / "x") == 2
    assert capsys.readouterr().err.startswith("command line: labels come from")


def test_rows_count_once_and_those_that_set_the_threshold_are_not_watched(tmp_path, capsys):
    (file,) = write_scores(tmp_path, [gaussian_rows(200, seed=5)], columns=(0,))
    line = ["threshold", "--scores", file, "--monitor", "probe", "--fpr", "0.05", "--out", tmp_path / "out"]
    for options, said in (
        (["--benign", "made", "made"], "benign names made twice"),
        (["--benign", "made", "--watch", "made"], "made is in benign"),
    ):
        assert run(*line, *options) == 2
        assert said in capsys.readouterr().err
    assert (
        run(*line, "--benign", "made", "--threshold", "1e9", "--base-rate", "0.01", "--harmful", "made") == 0
    )
    assert "precision not known: nothing is flagged" in capsys.readouterr().out


def write_cases(path, log, *, split=True):
    """Every reply of every conversation, the first half of the states for dev; one whole conversation."""
    _, harm = logits_and_harm(0)
    lines = [
        [message, str(harm[n][turn] > 0.5).lower(), "dev" if n < COUNT // 2 else "test"]
        for n in range(COUNT)
        for turn, message in enumerate(replies(log, n))
    ]
    lines.append([log.samples[0].uuid, "true", "dev"])
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "target", *(["split"] if split else [])])
        writer.writerows(line if split else line[:2] for line in lines)
    return path


def test_cases_that_name_messages_are_turns_and_dev_sets_the_threshold(tmp_path, logs, capsys):
    cases = write_cases(tmp_path / "cases.csv", logs[0])
    options = ["validate", "--logs", logs[0].location, "--cases", cases, "--fpr", "0.05"]
    assert run(*options, "--out", tmp_path / "out") == 0
    found = read(tmp_path / "out", "validation.json")
    assert (found["monitor"], found["per"]) == ("max-layer2", "turn")
    assert found["cases_left_out"] == {"of a whole conversation whose turns are labelled": 1}
    dev, test = found["splits"]
    assert (dev["split"], test["split"]) == ("dev", "test")
    assert (test["n_positive"], test["n_negative"], test["groups"]) == (5, 55, 20)
    logits = np.array(logits_and_harm(0)[0])[COUNT // 2 :]
    harmful = np.array(logits_and_harm(0)[1])[COUNT // 2 :] > 0.5
    assert test["recall"] == pytest.approx((logits[harmful] >= test["threshold"]).mean())
    assert test["fpr"] == pytest.approx((logits[~harmful] >= test["threshold"]).mean())
    with (tmp_path / "out" / "cases.csv").open() as file:
        assert sum(row["flagged"] == "true" for row in csv.DictReader(file)) > 0
    assert "split dev, FPR at most 5.00%" in capsys.readouterr().out


def test_turn_labels_of_the_log_and_the_monitors_own_threshold(tmp_path, logs, capsys):
    options = ["validate", "--logs", logs[0].location, "--label", "influence", "--out", tmp_path]
    assert run(*options) == 0
    found = read(tmp_path, "validation.json")
    assert (found["per"], found["threshold_from"]) == ("turn", "the monitor's own")
    (row,) = found["splits"]
    assert (row["n_positive"], row["threshold"]) == (COUNT // 4, 0.0)
    assert row["auroc"] > 0.95


def test_wrong_cases_are_told_in_one_line(tmp_path, logs, capsys):
    log = logs[0]
    first, second = replies(log, 0)[:2]
    uuid = log.samples[0].uuid
    for name, text, said in (
        ("a.csv", f"id,target\n{first},maybe\n", "a.csv:2: target is 'maybe'"),
        ("b.csv", f"id,target_a,target_b\n{first},true,false\n", "several targets, name one with --target"),
        ("c.csv", f"id,target\n{first},true\n{first},true\n", "is a case already"),
        ("d.csv", f'id,target\n"{first},{second}",true\n', "2 ids in one case"),
        ("e.csv", "id,target\nnobody,true\n", "no case is a conversation or a turn"),
        ("f.json", '{"id": 1}', "a list of cases is needed"),
        ("g.yaml", f"- {{id: {first}, target: true, predicate: gte}}\n", "predicate gte"),
        ("h.txt", "x", "cases are in .csv, .jsonl, .json or .yaml"),
        ("i.csv", f"id,target,split\n{first},true,dev\n{second},false,test\n", "overlaps split test"),
        ("j.csv", f"id,target,split\n{uuid},true,dev\n", "1 positive and 0 negative"),
    ):
        (tmp_path / name).write_text(text)
        code = run("validate", "--logs", log.location, "--cases", tmp_path / name, "--out", tmp_path / "o")
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert (code, said in line) == (1, True), line
    assert run("validate", "--logs", log.location, "--out", tmp_path / "o") == 2
    assert "give one of them" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


FORMS = {
    "flat.csv": 'id,target,split\na,true,dev\nb,False,test\n"c",1,\n',
    "flat.jsonl": '{"id": "a", "target": true, "split": "dev"}\n{"id": "b", "target": false, "split": "test"}\n'
    '{"id": ["c"], "target": 1}\n',
    "nested.yaml": "- {split: dev, cases: [{id: a, target: true}]}\n- {split: test, cases: [{id: b, target: false}]}\n"
    "- {id: c, target: true}\n",
    "labels.json": '[{"id": "a", "labels": {"harm": true}, "split": "dev"},'
    '{"id": "b", "labels": {"harm": false}, "split": "test"}, {"id": "[\\"c\\"]", "labels": {"harm": true}}]',
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_says_the_same(tmp_path, name):
    path = tmp_path / name
    path.write_text(FORMS[name])
    cases = [ValidationCase(case.id, case.positive, case.split, "") for case in read_cases(path)]
    assert cases == [
        ValidationCase("a", True, "dev", ""),
        ValidationCase("b", False, "test", ""),
        ValidationCase("c", True, None, ""),
    ]


@pytest.mark.parametrize("name", FORMS)
def test_scout_reads_the_same(tmp_path, name):
    scout = pytest.importorskip("inspect_scout", reason="pip install inspect-scout")
    path = tmp_path / name
    path.write_text(FORMS[name])
    theirs = []
    for case in scout.validation_set(path).cases:
        value = case.target if case.labels is None else case.labels["harm"]
        (own,) = [case.id] if isinstance(case.id, str) else case.id
        theirs.append((own, bool(value), case.split))
    assert theirs == [(case.id, case.positive, case.split) for case in read_cases(path)]
