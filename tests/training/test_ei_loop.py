"""The whole loop on the miniature: what it leaves, how it resumes, what it refuses."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.places import ROOT
from tests.support.tiny_run import TINY
from tests.support.trainer_here import train_here
from training.ei_loop import main, settings_of
from training.runs.run_folder import read_run

MUST_HAVE = {
    "iteration", "mean_rating", "rating_gameable", "rating_other", "harm_gameable", "harm_other", "n_conversations",
    "n_scored", "n_unscored", "n_vetoed", "n_selected", "n_examples", "train_loss", "kl_to_base", "seconds_rollout",
    "seconds_train", "split",
}  # fmt: skip

CLOCK = {"seconds_rollout", "seconds_train", "seconds_heldout"}


def command(run: Path, *more: str) -> list[str]:
    return [sys.executable, str(ROOT / "training" / "ei_loop.py"), "--run", str(run), *TINY, *more]


def without_clock(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]


def tables(run: Path) -> dict[str, str]:
    return {p.parent.name: p.read_text() for p in sorted(run.glob("iteration_*/selection.jsonl"))}


class TestARun:
    def test_leaves_what_the_contract_names(self, unbroken: Path):
        rows = without_clock(unbroken)
        assert [r["iteration"] for r in rows] == [0, 1]
        for line in (unbroken / "metrics.jsonl").read_text().splitlines():
            assert json.loads(line).keys() >= MUST_HAVE
        first, last = rows
        assert first["split"] == "heldout"
        assert first["n_selected"] == first["n_examples"] == 4  # the best of each of 2 x 2 initial states
        assert first["kl_to_base"] == 0
        assert last["kl_to_base"] > 0
        assert last["n_selected"] is None
        assert last["train"] is None
        assert first["train"]["n_conversations"] == 12
        for name in (
            "config.yaml",
            "curves.png",
            "report.html",
            "iteration_00/plan.json",
            "iteration_00/examples.jsonl",
        ):
            assert (unbroken / name).stat().st_size > 0
        assert not list(unbroken.rglob("*.unfinished"))
        assert not (unbroken / "iteration_00" / "scratch").exists()

    def test_trains_on_train_topics_and_reports_held_out_ones(self, unbroken: Path):
        topics = {
            json.loads(line)["topic"]
            for line in (unbroken / "iteration_00/selection.jsonl").read_text().splitlines()
        }
        assert topics == {"smoking", "gambling"}
        from inspect_ai.log import read_eval_log_sample_summaries

        (log,) = (unbroken / "iteration_01" / "heldout").glob("*.eval")
        heldout = {s.metadata["topic"] for s in read_eval_log_sample_summaries(str(log))}
        assert heldout
        assert not heldout & topics

    def test_a_finished_run_is_not_run_again(self, unbroken: Path):
        before = {
            p: p.stat().st_mtime_ns for p in unbroken.rglob("*") if p.is_file() and "iteration" in str(p)
        }
        assert main(["--run", str(unbroken), *TINY]) == 0
        assert {p: p.stat().st_mtime_ns for p in before} == before

    def test_another_seed_is_refused_and_the_difference_named(
        self, unbroken: Path, capsys: pytest.CaptureFixture[str]
    ):
        assert main(["--run", str(unbroken), *TINY, "--seed", "7"]) == 1
        assert "seed=0, now 7" in capsys.readouterr().err

    def test_can_be_made_longer_but_not_shorter(
        self,
        unbroken: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ):
        train_here(monkeypatch)
        run = tmp_path / "run"
        shutil.copytree(unbroken, run)
        longer = [*TINY]
        longer[longer.index("--iterations") + 1] = "2"
        assert main(["--run", str(run), *longer]) == 0
        before, after = without_clock(unbroken), without_clock(run)
        assert [r["iteration"] for r in after] == [0, 1, 2]
        assert after[0] == before[0]
        assert before[1]["n_selected"] is None
        assert after[1]["n_selected"] == 4
        assert {k: v for k, v in after[1].items() if before[1][k] is not None} == {
            k: v for k, v in before[1].items() if v is not None
        }
        assert main(["--run", str(run), *TINY]) == 1
        assert "iterations=2, now 1" in capsys.readouterr().err

    def test_reads_back_its_config(self, unbroken: Path):
        given = settings_of(["--run", str(unbroken), *TINY])
        assert read_run(unbroken).settings == given
        assert yaml.safe_load((unbroken / "config.yaml").read_text()) == given.model_dump(mode="json")


def test_none_is_a_value_where_it_is_one_and_nothing_elsewhere():
    found = settings_of(["--veto-mode", "none", "--control", "none", "--fraction", "none"])
    assert (found.veto_mode, found.control, found.fraction) == ("none", "none", None)


MOMENTS: list[tuple[str, str, float]] = [
    ("the rollouts", "iteration_00/rollouts/*.eval", 0.5),
    ("the rollouts, continued", "iteration_00/rollouts/*.eval", 2.0),
    ("selection", "iteration_00/selection.jsonl", 0.02),
    ("the rows", "iteration_00/examples.jsonl", 0.02),
    ("the start of training", "iteration_00/job.json", 0.3),
    ("training", "iteration_00/scratch", 0.3),
    ("saving", "iteration_00/checkpoint.unfinished", 0.0),
    ("the held-out evaluation, while there is training", "iteration_00/heldout/*.eval", 1.0),
    ("the next evaluation", "iteration_01/heldout/*.eval", 0.3),
    ("the end", "iteration_01/divergence.json", 0.3),
]
"""What is going on, the file that shows it, and the longest wait in seconds before the kill."""


@pytest.mark.slow
def test_a_run_that_is_killed_ten_times_ends_like_an_unbroken_one(unbroken: Path, tmp_path: Path):
    run = tmp_path / "run"
    rng = random.Random(0)
    hit = [_killed_at(command(run), run, marker, rng.uniform(0, wait)) for _, marker, wait in MOMENTS]
    assert sum(hit) >= 8  # a step may be over sooner than it is seen
    assert main(["--run", str(run), *TINY]) == 0
    assert tables(run) == tables(unbroken)
    assert without_clock(run) == without_clock(unbroken)
    assert not list(run.rglob("*.unfinished"))


def _killed_at(arguments: list[str], run: Path, marker: str, wait: float) -> bool:
    """Start a command, kill it with all its children once the marker is there; False if it ended before."""
    process = subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and not list(run.glob(marker)):
        time.sleep(0.005)
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False
