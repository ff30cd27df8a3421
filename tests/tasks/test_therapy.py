"""The task as users run it, on the miniature; the first test to need it trains it, once."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from inspect_ai import eval, eval_set, score  # noqa: A004
from inspect_ai._cli.main import inspect as inspect_command
from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries

from analysis.table import main as table
from scenarios.conversations.dialogue import Dialogue
from scorers.influence import influence
from scorers.preference import preference
from scorers.transition import transition
from tasks.therapy import therapy
from tests.support.conversations import the_samples
from tests.support.places import ROOT
from tests.support.told import asked, told


def command(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("inspect")), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """One eval of the miniature: 24 conversations of up to three turns."""
    folder = tmp_path_factory.mktemp("therapy")
    (found,) = eval(
        therapy(states=2),
        model="miniature/agent",
        log_dir=str(folder),
        display="none",
        log_realtime=False,
        seed=1,
    )
    return found


def test_the_miniature_is_mostly_good_and_understood(log):
    samples = the_samples(log)
    assert len(samples) == 24
    ratings = [s.scores["preference"].value for s in samples]
    harms = [s.scores["influence"].value for s in samples]
    assert sum(math.isnan(v) for v in ratings) <= 2
    assert 0 <= sum(h > 0.5 for h in harms) <= 8
    other = [s.scores["preference"].value for s in samples if not s.metadata["gameable"]]
    assert sum(other) / len(other) > 5


def test_the_log_says_who_played_which_role(log):
    cast = the_samples(log)[0].store_as(Dialogue).cast
    assert cast == {
        "user": "miniature/user",
        "transition": "miniature/judge",
        "preference": "miniature/judge",
        "influence": "miniature/judge",
    }


def test_selection_can_work_from_the_summaries_alone(log):
    for summary in read_eval_log_sample_summaries(log.location):
        assert {"preference", "influence", "transition"} <= set(summary.scores or {})
        assert {"family", "topic", "gameable", "initial_state", "split"} <= set(summary.metadata)


def test_results_have_both_kinds_of_user_and_their_difference_with_its_interval(log):
    by_name = {s.name: {name: metric.value for name, metric in s.metrics.items()} for s in log.results.scores}
    for name in ("preference", "influence", "transition", "simulator"):
        found = by_name[name]
        assert list(found) == ["mean", "gameable", "other", "difference", "diff_low", "diff_high"]
        assert found["diff_low"] <= found["difference"] <= found["diff_high"]
        assert found["difference"] == pytest.approx(found["gameable"] - found["other"])


def test_the_table_shows_them_with_counts(log, capsys):
    assert table([log.location, "--by", "topic"]) == 0
    shown = capsys.readouterr().out
    for word in (
        "rating",
        "harm",
        "transition",
        "gameable users",
        "difference",
        "12 / 0",
        "demonstration world",
        "smoking",
    ):
        assert word in shown
    assert table([str(Path(log.location).parent / "nothing")]) == 1
    assert table(["--last", str(Path(log.location).parent)]) == 0
    assert capsys.readouterr().out.count("conversations |") == 1


def test_scoring_again_with_another_judge_asks_it_about_the_same_conversations(log):
    judge = told({"1": 0.75, "0": 0.25}, "other-judge")
    scored = score(
        log,
        influence(form="constitutional"),
        model_roles={"influence": judge},
        action="append",
        display="none",
    )
    values = {s.scores["influence1"].value for s in scored.samples}
    assert values == {0.75}
    assert len(asked(judge)) == sum(len(s.store_as(Dialogue).turns) for s in scored.samples)
    assert scored.samples[0].scores["influence1"].metadata["turns"][0]["model"] == str(judge)


def test_the_recorded_transition_is_used_again_and_another_judge_is_asked(log):
    def values(found):
        return [s.scores["transition1"].value for s in found.samples]

    same = score(log, transition(), action="append", display="none")
    assert values(same) == pytest.approx([s.scores["transition"].value for s in log.samples])
    judge = told({"yes": 0.4, "no": 0.6})
    other = score(
        log,
        transition(),
        model_roles={"transition": judge},
        action="append",
        display="none",
    )
    assert values(other) == pytest.approx([0.4] * len(log.samples))


def test_five_points_and_last_turn_and_length_penalty(log):
    judge = told(lambda prompt: {str(min(5, 1 + prompt[-1].text.count("[assistant]"))): 1.0})
    roles = {"judge": judge}
    scored = score(
        log,
        [
            influence(form="five_point"),
            preference(reward="last"),
            preference(reward="mean", length_penalty=0.01),
        ],
        model_roles=roles,
        action="append",
        display="none",
    )
    for sample in scored.samples:
        replies = [m.text for m in sample.messages if m.role == "assistant"]
        n = len(replies)
        assert sample.scores["influence1"].value == pytest.approx(sum(range(2, n + 2)) / n, abs=1e-4)
        assert sample.scores["preference1"].value == n + 1
        mean = sum(i + 2 - 0.01 * len(r) for i, r in enumerate(replies)) / n
        assert sample.scores["preference2"].value == pytest.approx(mean, abs=1e-4)


def test_samples_mode_works_on_the_miniature(tmp_path):
    (found,) = eval(
        therapy(states=1, gameable=1.0, topics="smoking", judging="samples:3", turns=1),
        model="miniature/agent",
        log_dir=str(tmp_path),
        display="none",
        log_realtime=False,
    )
    turns = the_samples(found)[0].scores["preference"].metadata["turns"]
    assert turns[0]["mode"] == "samples:3"


def test_epochs_are_clustered_by_initial_state(tmp_path):
    (found,) = eval(
        therapy(states=2, topics="smoking", turns=1),
        model="miniature/agent",
        epochs=3,
        log_dir=str(tmp_path),
        display="none",
        log_realtime=False,
    )
    assert len(the_samples(found)) == 6
    metrics = found.results.scores[0].metrics
    assert "difference" in metrics
    assert "diff_low" not in metrics  # three epochs of one state are one cluster of each kind


def test_a_real_model_needs_its_roles_named(tmp_path):
    agent = told("Hello.")
    (found,) = eval(
        therapy(states=2, topics="smoking"),
        model=agent,
        log_dir=str(tmp_path),
        display="none",
        log_realtime=False,
    )
    assert found.status == "error"
    assert "--model-role user=<model>" in found.error.message
    assert asked(agent) == []


def test_eval_set_finishes_what_failed(tmp_path):
    calls = []

    def flaky(_):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("the provider is down")
        return "Thank you for trusting me with this."

    roles = {
        "user": told("Well."),
        "judge": told(lambda p: {"no": 1.0} if "yes or no" in p[-1].text else {"1": 1.0}),
    }
    success, logs = eval_set(
        therapy(states=4, topics="smoking", turns=1),
        model=told(flaky),
        model_roles=roles,
        max_samples=1,
        retry_wait=0.1,
        log_dir=str(tmp_path),
        display="none",
    )
    assert success
    assert len(read_eval_log(logs[0].location).samples or []) == 4
    assert len(calls) == 5  # three that were done are not asked again


class TestCommands:
    def test_inspect_eval_without_a_model_runs_the_miniature(self, tmp_path, monkeypatch):
        monkeypatch.chdir(ROOT)
        done = command(
            "eval", "tasks/therapy.py", "-T", "states=1", "-T", "topics=smoking,gambling", "-T", "turns=1", "--display", "plain",
            "--log-dir", str(tmp_path),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        (path,) = tmp_path.glob("*.eval")
        found = read_eval_log(str(path))
        assert found.eval.model == "miniature/agent"
        assert len(found.samples) == 2
        scored = CliRunner().invoke(inspect_command, [
            "score", str(path), "--scorer", "scorers/influence.py", "-S", "form=five_point", "--action", "append", "--overwrite",
            "--display", "none",
        ])  # fmt: skip
        assert scored.exit_code == 0, (scored.output, scored.exception)
        names = [s.name for s in read_eval_log(str(path)).results.scores]
        written = ["preference", "influence", "transition", "simulator", "facts"]
        assert (sorted(names[:-1]), names[-1]) == (sorted(written), "influence1")

    def test_a_scenario_file_of_ones_own(self, family_file, tmp_path, monkeypatch):
        monkeypatch.setenv("PWD", str(tmp_path))  # as a shell does; the path is relative to it
        monkeypatch.chdir(ROOT)
        done = CliRunner().invoke(inspect_command, [
            "eval", "tasks/custom.py", "-T", f"scenario={family_file.name}", "-T", "states=2", "--model", "miniature/agent",
            "--display", "none", "--log-dir", str(tmp_path / "logs"),
        ])  # fmt: skip
        assert done.exit_code == 0, (done.output, done.exception)


def test_a_local_model_plays_every_other_role_with_one_copy_of_its_weights(tmp_path):
    from providers.local import engines
    from tests.support.tiny_models import tiny_model

    path = tiny_model(tmp_path / "model", context=4096)
    before = set(engines._engines)
    (found,) = eval(
        therapy(states=1, gameable=1.0, topics="smoking", turns=2, user_tokens=20),
        model=told("Thank you for telling me."),
        model_roles={"user": f"local/{path}", "judge": f"local/{path}"},  # pyright: ignore
        log_dir=str(tmp_path / "logs"),
        display="none",
        log_realtime=False,
    )
    samples = the_samples(found)
    assert len(set(engines._engines) - before) == 1
    for sample in samples:  # random weights put next to nothing on 1 to 10: no number, and never 0
        score = sample.scores["preference"]
        assert math.isnan(score.value)
        assert score.reason in ("cut", "invalid_response_format", "scoring_failed")
        assert score.metadata["turns"][0]["mode"] == "logprobs"
