"""A monitor in Inspect Scout says what it says as a scorer."""

import pytest

from scorers.stakes import stakes
from tests.support.monitor_runs import run, scores_metadata
from tests.support.spoken_models import fitted_monitor, spoken_model

scout = pytest.importorskip("inspect_scout", reason="pip install inspect-scout")


def test_a_scan_gives_the_scores_of_the_scorer(tmp_path):
    from probes.monitors.scout_scanner import monitored

    base = spoken_model(tmp_path / "base")
    monitor = str(fitted_monitor(base, tmp_path / "m", "max", tokens="assistant"))
    log = run(f"local/{base}", stakes(monitor), tmp_path)
    status = scout.scan(
        scanners=[monitored(monitor=monitor)],
        transcripts=scout.transcripts_from(str(tmp_path / "logs")),
        scans=str(tmp_path / "scans"),
        max_processes=1,
        display="none",
    )
    assert status.complete, status.errors
    table = scout.scan_results_df(status.location).scanners["monitored"]
    found = dict(zip(table["transcript_task_id"], table["value"].astype(float), strict=True))
    expected = {str(s.id): s.scores["stakes"].value for s in log.samples}
    assert found == pytest.approx(expected)
    assert len(scores_metadata(log)) == 4
