"""All families for several models as one set, killed in the middle and gone on with."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_sample_summaries

from analysis.table import main as table
from miniature.checkpoint import base_checkpoint
from tasks.run_set import EvaluationSet, arguments_of, main
from tests.support.places import ROOT

RECIPE = yaml.safe_load((ROOT / "tasks" / "sets" / "families.yaml").read_text())
TASKS = RECIPE["tasks"]


def scores_in(folder: Path) -> dict[tuple[str, str, str], str]:
    """Task, model and sample -> uuid of its conversation, of all logs that can be read."""
    found = {}
    for log in list_eval_logs(str(folder)):
        with contextlib.suppress(ValueError, OSError, KeyError):  # it is being written
            header = read_eval_log(log, header_only=True).eval
            for sample in read_eval_log_sample_summaries(log):
                if sample.completed:
                    found[header.task, header.model, str(sample.id)] = sample.uuid
    return found


def test_the_set_has_all_families_and_says_each_thing_once(tmp_path: Path):
    families = {path.parent.name for path in (ROOT / "scenarios").glob("*/family.yaml")} - {"stakes"}
    assert set(TASKS) == families
    words = arguments_of(
        EvaluationSet.model_validate(
            RECIPE | {"options": {"split": "heldout", "topics": ["a", "b"], "veto": None}}
        )
    )
    assert words[:2] == [os.path.relpath(ROOT / "tasks" / f"{name}.py") for name in TASKS[:2]]
    assert words[words.index("--model") + 1] == "openai/gpt-4.1,openai/gpt-4.1-mini"
    assert "influence=google/gemini-2.5-pro" in words
    assert words[-6:] == ["-T", "split=heldout", "-T", "topics=a,b", "-T", "veto=null"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tasks": ["terapy"]}, ":1: tasks: no task 'terapy'; did you mean 'therapy'?"),
        ({"tasks": ["therapy", "therapy"]}, "name each task once"),
        ({"models": [""]}, ":1: models: '' is no model; give each as openai/gpt-4.1, provider first"),
        ({"models": ["a/b", "a/b"]}, "name each model once"),
        ({"roles": {"influnce": "a/b"}}, "did you mean 'influence'?"),
        ({"options": {"splt": "train"}}, "-T splt: no such option; did you mean 'split'?"),
        ({"option": {}}, "did you mean 'options'?"),
    ],
)
def test_a_wrong_file_is_told_with_its_line(change: dict, says: str, tmp_path: Path, capsys):
    said = {"tasks": ["therapy"], "models": ["miniature/agent"]} | change
    (tmp_path / "set.yaml").write_text(json.dumps(said))
    assert main([str(tmp_path / "set.yaml"), "--log-dir", str(tmp_path / "logs")]) == 1
    assert says in (line := capsys.readouterr().err)
    assert line.count("\n") == 1
    assert not (tmp_path / "logs").exists()


@pytest.mark.slow
def test_a_set_that_is_killed_goes_on_with_what_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    models = ["miniature/agent", f"local/{base_checkpoint()}"]
    plays = {"user": "user", "judge": "judge", "influence": "judge"}
    said = RECIPE | {
        "models": models,
        "roles": {role: f"miniature/{plays[role]}" for role in RECIPE["roles"]},
        "options": {"turns": 2},
    }
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(said))
    words = ["tasks/run_set.py", tmp_path / "set.yaml", "--log-dir", tmp_path / "set"]
    command = [sys.executable, *words, "--limit", "2", "--display", "plain"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    first = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    until = time.monotonic() + 600
    while len(scores_in(tmp_path / "set")) < 8:
        assert first.poll() is None, first.stdout.read()
        assert time.monotonic() < until
        time.sleep(0.5)
    first.send_signal(signal.SIGKILL)
    first.wait()
    kept = scores_in(tmp_path / "set")
    assert len(kept) < 2 * 2 * len(TASKS)

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    after = scores_in(tmp_path / "set")
    assert {key: after[key] for key in kept} == kept
    assert {(task, model) for task, model, _ in after} == {(t, m) for t in TASKS for m in models}
    assert len(after) == 2 * 2 * len(TASKS)

    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout[-3000:]
    assert scores_in(tmp_path / "set") == after

    assert table([str(tmp_path / "set")]) == 0
    printed = capsys.readouterr().out
    heads = re.findall(r"^(\w+) \| (\S+) \| 2 conversations \| success", printed, re.MULTILINE)
    assert sorted(heads) == sorted((t, m) for t in TASKS for m in models)
    assert printed.count("roles: influence = miniature/judge, ") == len(heads)
