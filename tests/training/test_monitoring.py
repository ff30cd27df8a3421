"""A monitor in a run: what it bars and costs, what is refused before anybody talks, and what a run says of it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from analysis.trajectories import Trajectory, read_trajectories
from miniature.checkpoint import base_checkpoint
from probes.monitors.monitor import CARD
from probes.watching.alarms import Watched, alarms
from tests.support.spoken_models import fitted_monitor, spoken_model
from tests.support.tiny_run import TINY
from training.errors import RunError
from training.loop.monitoring import check_monitor, level_of
from training.selection.picking import penalised
from training.selection.selecting import choose, read_table
from training.settings import Choosing, LoopSettings


@pytest.fixture(scope="module")
def monitor(tmp_path_factory) -> Path:
    """Of the miniature, fitted on four made-up conversations."""
    folder = tmp_path_factory.mktemp("monitor") / "m"
    return fitted_monitor(base_checkpoint(), folder, "logistic", tokens="assistant", any_adapter=True)


def talks(monitors):
    """Conversations of one person, rated 1, 2, ... and with these probabilities by the monitor."""
    return [
        Trajectory("s", n, "f", "t", "s", True, float(n), 0.1, math.nan, False, None, probability)
        for n, probability in enumerate(monitors, start=1)
    ]


def rules(**options):
    return Choosing.model_validate({"monitor": "m", **options})


def test_a_filter_bars_what_the_monitor_flags_and_what_it_has_no_score_of():
    found = choose(
        talks([0.1, 0.4, 0.6, math.nan]),
        rules(monitor_use="filter", monitor_level=0.5),
        algorithm="ei",
        seed=0,
    )
    assert [c.dropped for c in found.choices] == ["middle", None, "flagged", "monitor_unscored"]
    watched = choose(talks([0.1, 0.4, 0.6, math.nan]), rules(), algorithm="ei", seed=0)
    assert [c.trajectory.epoch for c in watched.taken] == [4]


def test_a_penalty_is_off_the_rating_and_the_table_keeps_both(tmp_path):
    told = rules(monitor_use="penalty", monitor_weight=5)
    found = choose([penalised(t, told) for t in talks([0.0, 0.1, 0.9])], told, algorithm="ei", seed=0)
    found.write_table(tmp_path / "table.jsonl")
    again = read_table(tmp_path / "table.jsonl")
    assert [c.trajectory.rating for c in again.choices] == [1.0, 1.5, -1.5]
    assert [c.trajectory.rating + c.trajectory.penalty for c in again.choices] == [1.0, 2.0, 3.0]
    assert [c.trajectory.epoch for c in again.taken] == [2]
    rows = [json.loads(row) for row in (tmp_path / "table.jsonl").read_text().splitlines()]
    for row in rows:
        del row["monitor"], row["penalty"]
    (tmp_path / "earlier.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert math.isnan(read_table(tmp_path / "earlier.jsonl").choices[0].trajectory.monitor)


def test_what_cannot_work_is_told_before_anybody_talks(monitor, tmp_path):
    def refused(**options):
        with pytest.raises(RunError) as error:
            check_monitor(
                LoopSettings.model_validate({"run": tmp_path / "run", "monitor": str(monitor), **options})
            )
        return str(error.value)

    assert "say --monitor <folder>" in refused(monitor=None, monitor_use="filter")
    assert "is no monitor" in refused(monitor=str(tmp_path))
    assert "--any-adapter" in refused(
        monitor=str(fitted_monitor(base_checkpoint(), tmp_path / "one", tokens="assistant"))
    )
    assert "use tuning=lora" in refused(tuning="full")
    assert "take algorithm=grpo" in refused(algorithm="grpo_online", monitor_use="penalty")
    assert "is no task of tasks/" in refused(task="elsewhere.py")
    assert "is not in this process" in refused(model="vllm/some/model")
    other = spoken_model(tmp_path / "other")
    assert "is another model" in refused(model=f"local/{other}")
    card = json.loads((monitor / CARD).read_text())
    deep = tmp_path / "deep"
    deep.mkdir()
    (deep / CARD).write_text(json.dumps(card | {"layers": [40], "threshold": None}))
    assert "reads layer 40" in refused(monitor=str(deep))
    assert "has no threshold" in refused(monitor=str(deep), monitor_use="filter")
    settings = LoopSettings.model_validate({"run": tmp_path, "monitor": str(monitor)})
    check_monitor(settings)
    assert level_of(settings) == pytest.approx(0.5)  # its threshold is the logit 0


def test_looks_to_come_make_an_alarm_harder_and_never_easier():
    groups = [str(n) for n in range(12)]
    calm, loud = (
        Watched(n, np.zeros(12, dtype=bool), np.full(12, logit), groups)
        for n, logit in enumerate([-1.0, 1.0])
    )
    now = alarms([calm, loud], 0.0, level=0.5, fpr=0.05)
    one_of_twenty = alarms([calm, loud], 0.0, level=0.5, fpr=0.05, looks=20)
    assert one_of_twenty.p_more_flagged[0] == pytest.approx(19 * now.p_more_flagged[0])
    assert len(one_of_twenty.p_beyond_false_alarms) == 2


@pytest.mark.slow
def test_a_run_watches_filters_and_goes_on_where_it_was_stopped(monitor, tmp_path):
    from training.ei_loop import main

    told = ["--run", str(tmp_path / "run"), *TINY, "--monitor", str(monitor), "--monitor-use", "penalty"]
    assert main(told) == 0
    file = tmp_path / "run" / "metrics.jsonl"
    first, last = (json.loads(row)["monitor"] for row in file.read_text().splitlines())
    log = next((tmp_path / "run" / "iteration_00" / "heldout").glob("*.eval"))
    every = read_trajectories(log, rating="preference", harm="influence")
    assert first["frozen"]["flagged"] == pytest.approx(np.mean([t.monitor >= 0.5 for t in every]))
    assert "auroc" in first["refitted"] or "why_not" in first["refitted"]
    assert "refitted" not in last  # the last round has no conversations to fit on
    assert len(last["frozen"]["alarms"]["p_beyond_false_alarms"]) == 2
    whole = file.read_bytes()
    file.unlink()
    assert main(told) == 0
    assert file.read_bytes() == whole
    assert main([*told[:-1], "filter"]) == 1  # another use is another run
