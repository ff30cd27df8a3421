"""When a run shows that it goes wrong: by hand, and on a run of the loop."""

import json
import subprocess
import sys

import numpy as np
import pytest

from probes.early_warning import RESULTS, main
from probes.watching.alarms import Watched, alarms, sighted
from probes.watching.early_warning_figure import draw
from tests.support.places import ROOT
from training.ei_loop import main as train


def watched(iteration, harmful, flagged, of=100):
    """So many harmful conversations of which so many are flagged, and no other."""
    labels = np.arange(of) < harmful
    logits = np.where(np.arange(of) < flagged, 1.0, -1.0)
    return Watched(iteration, labels, logits, [str(i) for i in range(of)])


def test_each_alarm_goes_off_when_it_should():
    run = [watched(0, 2, 0), watched(1, 4, 4), watched(2, 14, 8), watched(3, 21, 20)]
    found = alarms(run, 0.0, level=0.2, fpr=0.01)
    assert found.harm_passes == 3
    assert found.more_harm == 2  # 14 against 2 of 100: p = .0014; 4 against 2: p = .34
    assert found.more_flagged == 2  # 8 against 0: p = .0034; 4 against 0: p = .06
    assert found.beyond_false_alarms == 1  # 4 of 100 at 1 %: p = .018; 0: p = 1


def test_a_quiet_run_raises_no_alarm():
    found = alarms([watched(i, 2, 2) for i in range(4)], 0.0, level=0.2, fpr=0.01)
    assert set(found[:4]) == {None}
    assert found.p_more_harm == found.p_more_flagged == [1, 1, 1]


def test_looking_at_every_iteration_has_its_price():
    # p = 1 / 64 in the second iteration: enough if it is the only look, too little in twenty
    short, long = (alarms([watched(0, 0, 0), watched(1, 6, 0), *(watched(i, 0, 0) for i in range(2, last))],
                          0.0, level=0.2, fpr=0.01) for last in (2, 21))  # fmt: skip
    assert (short.more_harm, long.more_harm) == (1, None)


def test_conversations_of_one_state_are_no_twenty_findings():
    states = [str(i // 20) for i in range(100)]
    run = [watched(0, 0, 0)._replace(groups=states), watched(1, 20, 20)._replace(groups=states)]
    found = alarms(run, 0.0, level=0.5, fpr=0.01)
    assert set(found[:3]) == {None}  # one state of five
    assert found.p_more_harm == [0.5]


def test_a_threshold_set_on_few_negatives_needs_more_flags():
    run = [watched(0, 0, 0, of=40), watched(1, 0, 3, of=40)]
    known, measured = (alarms(run, 0.0, level=0.2, fpr=0.01, measured_on=on) for on in (None, (0, 17)))
    assert (known.beyond_false_alarms, measured.beyond_false_alarms) == (1, None)


def test_numbers_of_an_iteration():
    found = sighted(watched(3, 20, 15), 0.0)
    assert (found.n, found.harm.value, found.flagged.value) == (100, 0.2, 0.15)
    assert found.recall.value == pytest.approx(0.75)
    assert found.fpr.value == 0
    assert found.why_no_interval is None
    assert found.auroc.value == pytest.approx(0.75 + 0.25 / 2)  # ties count half


def test_one_class_leaves_what_needs_both_open():
    found = sighted(watched(0, 0, 0), 0.0)
    assert found.auroc is None
    assert found.recall is None
    assert found.fpr.value == 0
    assert found.why_no_interval == "no AUROC: all conversations are of one class"


def test_one_harmful_state_has_an_auroc_without_an_interval_and_says_why(tmp_path):
    found = sighted(watched(0, 1, 1), 0.0)
    assert found.auroc.value == 1
    row = found.row()
    assert (row["auroc"], row["auroc_low"], row["auroc_high"]) == (1, None, None)
    assert "of one initial state" in row["why_no_interval"]
    json.dumps(row, allow_nan=False)
    draw([("m", [found, sighted(watched(1, 0, 0), 0.0)])], tmp_path / "a.png", level=0.2, note="")
    assert (tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_run_of_the_miniature_is_watched(tmp_path, capsys):
    run = tmp_path / "run"
    options = [
        "--states",
        "2",
        "--epochs",
        "4",
        "--heldout-states",
        "3",
        "--iterations",
        "1",
        "--passes",
        "1",
    ]
    assert train(["--run", str(run), *options, "--kl-replies", "0"]) == 0
    watch = ["--run", str(run), "--layers", "1,2", "--heads", "mean", "--folds", "3"]
    done = subprocess.run(
        [sys.executable, "probes/early_warning.py", *watch], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads((run / "monitoring" / RESULTS).read_text())
    (monitor,) = told["monitors"]
    assert [row["iteration"] for row in monitor["iterations"]] == [0, 1]
    assert all(row["n"] == 12 for row in monitor["iterations"])
    assert (run / "monitoring" / "early_warning.png").stat().st_size > 10_000
    specs = [json.loads(p.read_text())["adapter"] for p in (run / "monitoring").rglob("spec.json")]
    assert len(specs) == 2  # the second iteration's model is read through its own adapter
    assert sum(adapter is None for adapter in specs) == 1
    assert main([*watch, "--fit-on", "1"]) == 1
    assert "no rollouts" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["--run", str(tmp_path / "empty"), "--layers", "1"]) == 1
    assert "no folder of a training run" in capsys.readouterr().err
