import shutil
import sys
import types
from pathlib import Path

import pytest

from scorers.influence import influence
from scorers.preference import preference
from tests.support.told import told
from training.errors import RunError
from training.reporting.tracking import (
    COLUMNS,
    CONVERSATIONS,
    Tracker,
    check_trackers,
    run_id,
    without_secrets,
)
from training.settings import LoopSettings

ROW = {
    "iteration": 0,
    "split": "heldout",
    "mean_rating": 5.5,
    "n_scored": 8,
    "kl_to_base": None,
    "train": {"mean_rating": 6.0, "harm_other": None},
}


class FakeRun:
    def __init__(self, calls):
        self.calls = calls

    def log(self, values, step=None):
        self.calls.append(("log", values, step))

    def define_metric(self, name, step_metric=None):
        self.calls.append(("define_metric", name, step_metric))

    def finish(self):
        self.calls.append(("finish",))


@pytest.fixture
def fake(monkeypatch):
    """A tracker's package that writes down what it is told."""

    def make(name):
        calls = []
        module = types.ModuleType(name)

        def init(**options):
            calls.append(("init", options))
            return FakeRun(calls)

        module.init = init
        module.Settings = dict
        module.Table = lambda columns, data: {"columns": columns, "data": data}
        monkeypatch.setitem(sys.modules, name, module)
        return calls

    return make


@pytest.fixture(scope="module")
def kept():
    return {}


@pytest.fixture
def run(converse, tmp_path, kept):
    """A run folder with the held-out log of iteration 0."""
    heldout = tmp_path / "the run" / "iteration_00" / "heldout"
    heldout.mkdir(parents=True)
    if not kept:
        log = converse(
            told("Well, well."),
            states=4,
            epochs=5,
            turns=1,
            scorers=[preference(), influence()],
            roles={
                "preference": told(lambda p: {str(len(str(p)) % 9 + 1): 1.0}),
                "influence": told({"0": 1.0}),
            },
        )
        path = Path(log.location.removeprefix("file://"))
        kept[path.name] = path.read_bytes()
    for name, content in kept.items():
        (heldout / name).write_bytes(content)
    return tmp_path / "the run"


def settings(run, *trackers, **options):
    return LoopSettings(run=run, report_to=list(trackers), **options)


def logged(calls):
    return [call for call in calls if call[0] == "log"]


def test_secrets_are_masked_wherever_they_stand():
    told = without_secrets(
        {
            "api_key": "sk-1",
            "HF_TOKEN": "hf-2",
            "nested": [{"clientSecret": "3"}, {"Password": ["4", "5"]}],
            "base_url": "https://me:six@host/v1",
            "launcher": "env WANDB_API_KEY=seven torchrun",
            "max_tokens": 300,
            "tokenizer_path": "somewhere",
            "task_args": {"turns": 3, "topics": "smoking"},
        }
    )
    assert told == {
        "api_key": "***",
        "HF_TOKEN": "***",
        "nested": [{"clientSecret": "***"}, {"Password": ["***", "***"]}],
        "base_url": "https://***@host/v1",
        "launcher": "env WANDB_API_KEY=*** torchrun",
        "max_tokens": 300,
        "tokenizer_path": "somewhere",
        "task_args": {"turns": 3, "topics": "smoking"},
    }


@pytest.mark.parametrize("name", ["wandb", "trackio", "tensorboard"])
def test_a_tracker_that_is_not_installed_is_said_so_before_the_run(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if name == "tensorboard" else name, None)
    with pytest.raises(RunError, match=f"{name} is not installed.*pip install '?{name}"):
        check_trackers([name])


def test_an_unknown_tracker_is_refused():
    with pytest.raises(RunError, match="no tracker 'mlflow'; there are wandb, trackio, tensorboard"):
        check_trackers(["mlflow"])


def test_no_tracker_loads_nothing_and_writes_nothing(run, monkeypatch):
    for name in ("wandb", "trackio", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    check_trackers([])
    tracker = Tracker(settings(run), run)
    tracker.log(ROW)
    tracker.close()
    assert sorted(p.name for p in run.iterdir()) == ["iteration_00"]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_numbers_and_conversations_are_logged_and_nulls_are_not(run, fake, name):
    calls = fake(name)
    check_trackers([name])
    tracker = Tracker(settings(run, name, model_args={"api_key": "sk-1"}), run)
    tracker.log(ROW)
    tracker.close()
    (_, options), *_, finish = calls
    assert finish == ("finish",)
    assert options["resume"] == "allow"
    assert options["config"]["model_args"] == {"api_key": "***"}
    ((_, values, step),) = logged(calls)
    table = values.pop("conversations")
    assert values == {"iteration": 0.0, "mean_rating": 5.5, "n_scored": 8.0, "train/mean_rating": 6.0}
    assert step == (0 if name == "trackio" else None)
    assert table["columns"] == list(COLUMNS)
    assert len(table["data"]) == CONVERSATIONS
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in table["data"]]
    ratings = [float(row["rating"]) for row in rows]
    assert ratings == sorted(ratings, reverse=True)
    assert all("[model]\nWell, well." in row["conversation"] for row in rows)
    assert (run / rows[0]["log"]).exists()


@pytest.mark.parametrize(("name", "key"), [("wandb", "id"), ("trackio", "name")])
def test_a_run_that_goes_on_is_the_same_and_sends_nothing_twice(run, fake, name, key):
    calls = fake(name)
    for rows in ([ROW], [ROW, ROW | {"iteration": 1}]):
        tracker = Tracker(settings(run, name), run)
        for row in rows:
            tracker.log(row)
        tracker.close()
    inits = [options[key] for what, *rest in calls if what == "init" for options in rest]
    assert inits == [run_id(run)] * 2
    assert [values["iteration"] for _, values, _ in logged(calls)] == [0.0, 1.0]


def test_a_line_that_changed_is_sent_again(run, fake):
    calls = fake("wandb")
    tracker = Tracker(settings(run, "wandb"), run)
    for row in (ROW, ROW, ROW | {"n_selected": 4}):
        tracker.log(row)
    assert [values.get("n_selected") for _, values, _ in logged(calls)] == [None, 4.0]


def test_what_one_tracker_has_another_still_gets(run, fake):
    first, second = fake("wandb"), fake("trackio")
    Tracker(settings(run, "wandb"), run).log(ROW)
    Tracker(settings(run, "wandb", "trackio"), run).log(ROW)
    assert (len(logged(first)), len(logged(second))) == (1, 1)


def test_a_tracker_that_fails_gets_the_line_next_time(run, fake, monkeypatch):
    calls = fake("wandb")
    tracker = Tracker(settings(run, "wandb"), run)
    with monkeypatch.context() as patch:
        patch.setattr(FakeRun, "log", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tracker.log(ROW)
    Tracker(settings(run, "wandb"), run).log(ROW)
    assert len(logged(calls)) == 1


def test_a_tracked_run_is_known_by_its_folder_as_long_as_that_is_there(tmp_path):
    run = tmp_path / "a run: 1"
    run.mkdir()
    named = run_id(run)
    assert named.startswith("a-run-1-")
    assert run_id(run) == named
    moved = run.rename(tmp_path / "moved")
    assert run_id(moved) == named
    run.mkdir()  # as if the first one had been deleted
    assert run_id(run) != named


def test_folders_of_one_name_are_two_runs(tmp_path, fake):
    calls = fake("wandb")
    for parent in ("a", "b"):
        run = tmp_path / parent / "ei"
        run.mkdir(parents=True)
        Tracker(settings(run, "wandb"), run).close()
    first, second = [options for what, *rest in calls if what == "init" for options in rest]
    assert first["name"] == second["name"] == "ei"
    assert first["id"] != second["id"]


def test_a_run_that_is_taken_up_again_with_another_tracker_or_more_rounds_keeps_its_id(run, fake):
    first, second = fake("wandb"), fake("trackio")
    Tracker(settings(run, "wandb"), run).log(ROW)
    Tracker(settings(run, "wandb", "trackio", iterations=9), run).log(ROW | {"iteration": 1})
    ids = [options["id"] for what, *rest in first if what == "init" for options in rest]
    assert ids == [run_id(run)] * 2
    assert second[0][1]["name"] == run_id(run)


def test_a_damaged_state_is_said_and_all_is_sent_again(run, fake, capsys):
    calls = fake("wandb")
    Tracker(settings(run, "wandb"), run).log(ROW)
    named = run_id(run)
    (run / "tracking.json").write_text('{"id": "the')
    Tracker(settings(run, "wandb"), run).log(ROW)
    assert "tracking.json is damaged; the trackers get a new run" in capsys.readouterr().err
    assert run_id(run) != named
    assert len(logged(calls)) == 2


def test_tensorboard_has_the_numbers_and_the_words(run):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    check_trackers(["tensorboard"])
    for rows in ([ROW], [ROW, ROW | {"iteration": 1, "mean_rating": 7.0}]):
        tracker = Tracker(settings(run, "tensorboard", model_args={"api_key": "sk-very-secret"}), run)
        for row in rows:
            tracker.log(row)
        tracker.close()
    (folder,) = (run / "tensorboard").iterdir()
    assert folder.name == run_id(run)
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("mean_rating")] == [(0, 5.5), (1, 7.0)]
    assert [e.value for e in events.Scalars("train/mean_rating")] == [6.0, 6.0]
    texts = set(events.Tags()["tensors"])
    assert f"conversations/{CONVERSATIONS - 1:02d}/text_summary" in texts
    (told,) = (e.tensor_proto.string_val[0].decode() for e in events.Tensors("conversations/00/text_summary"))
    assert "    Well, well." in told
    stored = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"sk-very-secret" not in stored


def test_a_run_without_a_log_still_has_its_numbers(run, fake):
    calls = fake("wandb")
    shutil.rmtree(run / "iteration_00")
    Tracker(settings(run, "wandb"), run).log(ROW)
    assert "conversations" not in logged(calls)[0][1]
