"""A report that is stopped while processes of its own read the logs: it ends, and so do they."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.places import ROOT
from tests.support.waiting import wait_until

REPORT = """
import sys
from analysis.reporting import gathering
gathering.APART = 0  # so few logs are read in this process otherwise
from analysis.report import main
sys.exit(main(sys.argv[1:]))
"""

COPIES = 300
"""So many that the processes still read when they are stopped."""


def readers(report: psutil.Process) -> list[psutil.Process]:
    return [c for c in report.children() if any("spawn_main" in part for part in c.cmdline())]


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_whole_group_ends_it_with_its_readers(
    sent: signal.Signals, status: int, tmp_path: Path
):
    for number in range(COPIES):
        shutil.copyfile(ROOT / "logs" / "example.eval", tmp_path / f"{number}.eval")
    command = [sys.executable, "-c", REPORT, str(tmp_path), "--out", str(tmp_path / "report")]
    running = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    report = psutil.Process(running.pid)
    assert wait_until(lambda: len(readers(report)) == 2)
    begun = readers(report)
    os.killpg(running.pid, sent)
    _, told = running.communicate(timeout=60)
    assert running.returncode == status, told
    assert "Traceback" not in told
    _, alive = psutil.wait_procs(begun, timeout=20)
    assert not alive
    assert not (tmp_path / "report").exists()
