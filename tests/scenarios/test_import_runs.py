import json
import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import score
from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log, read_eval_log_sample_summaries

from scenarios import import_runs as importer
from scenarios.earlier.runs import ImportOptions
from scenarios.files.located_yaml import ScenarioError
from scenarios.import_runs import import_runs, main
from scorers.influence import influence
from tests.support.conversations import the_samples
from tests.support.earlier_runs import AGENT, BOOKING, USER, imported, row, said, write_rows
from tests.support.places import DATA
from tests.support.told import asked, told

SHARED = DATA / "influence_runs"


# -- logs -----------------------------------------------------------------------------------------


def test_one_log_for_each_iteration_with_where_it_came_from(tmp_path):
    rows = [row(iteration_number=i, trajectory_id=t) for i in (10, 0, 2) for t in (0, 1)]
    logs = imported(tmp_path, *rows, model="none/llama")
    assert [Path(log.location).name for log in logs] == ["tea-0000.eval", "tea-0002.eval", "tea-0010.eval"]
    assert [[s.id for s in the_samples(log)] for log in logs] == [["weak_tea-7-0", "weak_tea-7-1"]] * 3
    spec = logs[1].eval
    assert (spec.task, spec.model, spec.tags) == ("tea", "none/llama", ["imported", "tea", "iteration-2"])
    facts = spec.metadata["imported"]
    assert (facts["source"], facts["iteration"], facts["rows"]) == ("runs.jsonl", 2, 2)
    assert len(facts["sha256"]) == 64
    assert len({log.eval.eval_id for log in logs}) == 3
    assert {info.task for info in list_eval_logs(str(tmp_path / "logs"))} == {"tea"}


def test_rows_of_an_iteration_may_lie_apart_and_blank_lines_are_nothing(tmp_path):
    rows = [row(iteration_number=i, trajectory_id=t, traj_rew=2.0 + t) for t in range(3) for i in (0, 1)]
    path = tmp_path / "runs.jsonl"
    path.write_text("\n\n".join(json.dumps(r, ensure_ascii=False) for r in rows))
    done = import_runs(path, tmp_path / "logs", ImportOptions(name="tea"))
    for log in map(str, done.written):
        values = {s.id: s.scores["preference"].value for s in read_eval_log_sample_summaries(log)}
        assert values == {f"weak_tea-7-{t}": 2.0 + t for t in range(3)}


def test_a_log_can_be_scored_anew(tmp_path):
    changes = BOOKING | {"env_name": "normal_tea"}
    (log,) = imported(tmp_path, row(), row(trajectory_id=1, **changes))
    judge = told({"1": 0.75, "0": 0.25})
    again = score(
        log,
        influence(),
        model_roles={"influence": judge},
        action="append",
        display="none",
    )
    assert [s.scores["influence1"].value for s in the_samples(again)] == [0.75, 0.75]
    assert [s.scores["influence"].value for s in the_samples(again)] == [1.5, 1.5]
    metrics = next(s for s in again.results.scores if s.name == "influence1").metrics
    assert metrics["gameable"].value == metrics["other"].value == 0.75
    booking = next(p[-1].text for p in asked(judge) if "coffee" in p[-1].text)
    assert "Error: sold out" in booking
    assert "Take coffee." in booking


# -- again, and again -----------------------------------------------------------------------------


def test_a_second_run_writes_only_what_is_missing_or_made_otherwise(tmp_path):
    rows = [row(iteration_number=i) for i in range(3)]
    path, out = write_rows(tmp_path / "runs.jsonl", *rows), tmp_path / "logs"
    options = ImportOptions(name="tea")
    first = import_runs(path, out, options)
    before = first.written[0].read_bytes()
    first.written[1].unlink()
    first.written[2].write_bytes(first.written[2].read_bytes()[:100])
    again = import_runs(path, out, options)
    assert (again.written, again.kept) == (first.written[1:], first.written[:1])
    assert first.written[0].read_bytes() == before
    assert not import_runs(path, out, options).written
    assert len(import_runs(path, out, ImportOptions(name="tea", model="none/other")).written) == 3
    changed = import_runs(write_rows(path, *rows[:2], row(iteration_number=1, trajectory_id=5)), out, options)
    assert len(changed.written) == 2
    assert changed.stale == first.written[2:]


def test_an_import_that_was_stopped_leaves_whole_logs_and_is_finished(tmp_path, monkeypatch):
    path, out = (
        write_rows(tmp_path / "runs.jsonl", *(row(iteration_number=i) for i in range(3))),
        tmp_path / "logs",
    )
    whole = importer.write_eval_log

    def stopped(log: EvalLog, location: Path, **arguments: Any) -> None:
        whole(log, location, **arguments)
        if log.eval.metadata["iteration"] == 1:
            location.write_bytes(location.read_bytes()[:50])
            raise KeyboardInterrupt

    monkeypatch.setattr(importer, "write_eval_log", stopped)
    with pytest.raises(KeyboardInterrupt):
        import_runs(path, out, ImportOptions(name="tea"))
    assert [Path(i.name).name for i in list_eval_logs(str(out))] == ["tea-0000.eval"]
    monkeypatch.setattr(importer, "write_eval_log", whole)
    done = import_runs(path, out, ImportOptions(name="tea"))
    assert ([p.name for p in done.kept], len(done.written)) == (["tea-0000.eval"], 2)
    assert sorted(p.name for p in out.iterdir()) == [f"tea-000{i}.eval" for i in range(3)]
    assert all(len(the_samples(read_eval_log(str(p)))) == 1 for p in done.written)


def test_a_log_that_was_not_imported_is_not_overwritten(tmp_path, converse):
    log = converse(turns=1)
    out = tmp_path / "imports"
    out.mkdir()
    other = out / "tea-0001.eval"
    other.write_bytes(Path(log.location).read_bytes())
    path = write_rows(tmp_path / "runs.jsonl", row(), row(iteration_number=1))
    with pytest.raises(ScenarioError, match=r"tea-0001\.eval: this log was not imported"):
        import_runs(path, out, ImportOptions(name="tea"))
    assert list(out.iterdir()) == [other]


# -- what is wrong --------------------------------------------------------------------------------


def without(name: str) -> dict[str, Any]:
    return {k: v for k, v in row(trajectory_id=1).items() if k != name}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("{", r":2: not valid JSON: .* \(column 2\)"),
        ("[1]", r":2: Input should be"),
        ('{"env_name": "a", "env_name": "b"}', ":2: env_name: this key is here twice"),
        (without("traj_rew"), ":2: traj_rew: missing column"),
        (without("history"), ":2: history: missing column"),
        (row(), ":2: env_name, initial_state_id, trajectory_id and iteration_number as on line 1"),
        (row(trajectory_id="1"), ":2: trajectory_id: Input should be a valid integer"),
        (row(trajectory_id=1, traj_rew="3"), ":2: traj_rew: "),
        (row(trajectory_id=1, preferences=[1]), ":2: preferences: "),
        (
            row(trajectory_id=1, preferences={"11": 1.0}),
            r":2: preferences: ratings are 1 to 10, got \['11'\]",
        ),
        (row(trajectory_id=1, influence_scores={"x": 1.0}), r":2: influence_scores: .* got \['x'\]"),
        (
            row(trajectory_id=1, transition_probs={"yes": 3}),
            r":2: transition_probs\.yes: 3.* is no probability",
        ),
        (
            row(trajectory_id=1, transition_probs={"yes": math.nan}),
            r":2: transition_probs\.yes: nan is no prob",
        ),
        (row(trajectory_id=1, preferences={"8": 5, "9": 4}), r":2: preferences\.8: 5.* is no probability"),
        (
            row(trajectory_id=1, preferences={"8": 0.6, "9": 0.6}),
            ":2: preferences: .* add up to 1.2, more than 1",
        ),
        (
            row(trajectory_id=1, preferences={"8": 1.0, "-1": math.inf}),
            r":2: preferences\.-1: the length penalty",
        ),
        (
            row(trajectory_id=1, influence_scores={"1": -0.5, "2": 1.0}),
            r":2: influence_scores\.1: -0.5 is no",
        ),
        (
            row(trajectory_id=1, history=said((USER, "\ud800"), (AGENT, "Yes."))),
            r":2: history\.0\.content: half a",
        ),
        (
            row(trajectory_id=1, history=[{"role": USER, "content": None}]),
            r":2: history\.0\.content: Input should",
        ),
        ('{"a": ' + "[" * 100_000, ":2: lists and objects too deep"),
        ('{"a": ' + "9" * 5000 + "}", ":2: Exceeds the limit"),
        (row(trajectory_id=1, harm="high"), ":2: harm: a label must be a number, got 'high'"),
        (row(trajectory_id=1, iteration_number=-1), ":2: iteration_number: "),
        (row(trajectory_id=1, turn=0), ":2: turn: "),
        (row(trajectory_id=1, turn=2), ":2: history: 1 agent messages, but turn is 2"),
        (row(trajectory_id=1, history=said(("system", "Hi."), (AGENT, "Yes."))), r":2: history\.0\.role: "),
        (
            row(trajectory_id=1, history=said(("tool_response", "Error"), (AGENT, "Yes."))),
            r":2: history\.0: tool_response without a tool_call",
        ),
        (
            row(trajectory_id=1, history=said(("environment_system", "Hi."), (AGENT, "Yes."))),
            r":2: history\.0: environment_system before the agent's first reply",
        ),
    ],
)
def test_a_bad_row_is_named_with_file_and_line_before_anything_is_written(tmp_path, second, message):
    path = tmp_path / "runs.jsonl"
    lines = [json.dumps(row()), second if isinstance(second, str) else json.dumps(second)]
    path.write_text("\n".join(lines))
    with pytest.raises(ScenarioError, match=r"runs\.jsonl" + message):
        import_runs(path, tmp_path / "logs", ImportOptions(name="tea"))
    assert not (tmp_path / "logs").exists()
    done = import_runs(path, tmp_path / "logs", ImportOptions(name="tea", skip_bad=True))
    assert (len(done.runs.refused), len(done.written)) == (1, 1)
    assert read_eval_log(str(done.written[0])).eval.metadata["imported"]["rows_refused"] == 1


def test_a_file_without_rows_and_no_file(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ScenarioError, match="no rows to import"):
        import_runs(tmp_path / "empty.jsonl", tmp_path / "logs", ImportOptions(name="tea"))
    with pytest.raises(ScenarioError, match="cannot be read"):
        import_runs(tmp_path / "nowhere.jsonl", tmp_path / "logs", ImportOptions(name="tea"))


class Bomb:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('the pickle was loaded')",)


@pytest.mark.parametrize("name", ["runs.pkl", "runs.jsonl", "runs.pickle.gz"])
def test_a_pickle_is_refused_and_never_loaded(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ScenarioError, match="runs whatever code is in it"):
        import_runs(path, tmp_path / "logs", ImportOptions(name="tea"))


def test_the_way_to_convert_a_pickle_works(tmp_path):
    pandas = pytest.importorskip("pandas")
    rows = [
        row(all_visited_states={"initial_state"}, traj_rew=3.682261090413394),
        row(trajectory_id=1, harm=None),
    ]
    pandas.DataFrame(rows).to_pickle(tmp_path / "runs.pkl")
    with pytest.raises(ScenarioError) as refused:
        import_runs(tmp_path / "runs.pkl", tmp_path / "logs", ImportOptions(name="tea"))
    snippet = "\n".join(line.strip() for line in str(refused.value).splitlines() if line.startswith("    "))
    subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, check=True)
    done = import_runs(tmp_path / "runs.jsonl", tmp_path / "logs", ImportOptions(name="tea"))
    first, second = the_samples(read_eval_log(str(done.written[0])))
    assert first.scores["preference"].value == 3.682261090413394
    assert first.metadata["visited_states"] == ["initial_state"]
    assert second.scores["harm"].reason == "scoring_failed"


# -- the command ----------------------------------------------------------------------------------


def test_the_command_says_what_it_did(tmp_path, capsys):
    path = write_rows(
        tmp_path / "My Runs.jsonl", row(harm=None, calm=2.0), row(iteration_number=1, harm=2.0, calm=0.5)
    )
    arguments = [str(path), "--out", str(tmp_path / "logs"), "--label", "calm=0-1"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "2 conversations in 2 iterations" in shown
    assert "written 2, there already 0" in shown
    assert "unscored: 1 harm, 1 calm" in shown
    assert "columns kept as metadata: note_of_mine" in shown
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "written 0, there already 2" in shown
    assert "unscored: 1 harm, 1 calm" in shown
    assert sorted(p.name for p in (tmp_path / "logs").iterdir()) == ["my-runs-0000.eval", "my-runs-0001.eval"]


@pytest.mark.parametrize("label", ["calm", "calm=0-7", "preference=1-10"])
def test_a_label_needs_a_scale(tmp_path, capsys, label):
    assert main([str(write_rows(tmp_path / "a.jsonl", row())), "--label", label]) == 1
    assert "expected COLUMN=SCALE" in capsys.readouterr().err


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real runs are not on this machine")
@pytest.mark.parametrize(
    ("name", "scale", "known"),
    [
        ("booking", "0-1", {"preference": 2.004, "error_mentioning": 8.291, "influence": 0.068}),
        ("therapy", "1-5", {"preference": 4.168, "harm": 2.592, "influence": 1.907}),
    ],
)
def test_the_first_iteration_of_the_real_runs(tmp_path, name, scale, known):
    lines = (SHARED / f"{name}.jsonl").read_text().splitlines()
    path = tmp_path / f"{name}.jsonl"
    path.write_text("\n".join(x for x in lines if json.loads(x)["iteration_number"] == 0))
    done = import_runs(path, tmp_path / "logs", ImportOptions(name=name, influence_scale=scale))
    log = read_eval_log(str(done.written[0]), header_only=True)
    means = {s.name: s.metrics["mean"].value for s in log.results.scores}
    assert {k: round(means[k], 3) for k in known} == known
