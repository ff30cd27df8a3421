"""Nothing calls a host unless asked: the demo, the loop and the probes, with name look-ups forbidden."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from miniature.checkpoint import base_checkpoint
from tests.support.places import ROOT
from tests.support.tiny_run import TINY

BIN = Path(sys.executable).parent

GUARD = '''
"""Is loaded by every Python process whose path holds it, before anything else."""
import os, sys

RECORD = {record!r}
LOOK_UPS = {{"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}}

def is_here(host):
    return host is None or str(host) in ("", "127.0.0.1", "::1", "localhost", "0.0.0.0")

def guard(event, arguments):
    if event in LOOK_UPS:
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if not is_here(host):
        with open(RECORD, "a") as file:
            file.write(f"{{event}} {{host}}: {{' '.join(sys.argv)}}\\n")
        raise OSError(f"{{host}}: no network here")

with open(RECORD + ".processes", "a") as file:
    file.write(f"{{os.getpid()}} {{' '.join(sys.orig_argv)}}\\n")
sys.addaudithook(guard)
'''

SWITCHES = (
    "HF_HUB_OFFLINE",
    "HF_HUB_DISABLE_TELEMETRY",
    "DISABLE_TELEMETRY",
    "DO_NOT_TRACK",
    "TRANSFORMERS_OFFLINE",
)
"""With which a user may have silenced libraries already."""


class Offline:
    """Commands that run without a network, and what they tried."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.record = folder / "record"
        (folder / "sitecustomize.py").write_text(GUARD.format(record=str(self.record)))
        self.environment = {k: v for k, v in os.environ.items() if k not in SWITCHES} | {
            "PYTHONPATH": str(folder),
            "OMP_NUM_THREADS": "1",
            "INSPECT_DISPLAY": "none",
        }

    def run(self, *command: object) -> str:
        """Its standard output; the command must do its work."""
        done = subprocess.run(
            list(map(str, command)),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def tried(self) -> list[str]:
        return self.record.read_text().splitlines() if self.record.exists() else []

    def processes(self, word: str) -> int:
        """Processes that were watched whose command line holds a word."""
        lines = Path(f"{self.record}.processes").read_text().splitlines()
        return sum(word in line for line in lines)


@pytest.fixture
def offline(tmp_path: Path) -> Offline:
    base_checkpoint()  # made once, by whoever comes first
    return Offline(tmp_path / "guard")


def test_the_guard_sees_who_calls(offline: Offline):
    code = "import socket, contextlib\nwith contextlib.suppress(OSError): socket.getaddrinfo('huggingface.co', 443)"
    offline.run(sys.executable, "-c", code)
    assert len(offline.tried) == 1
    assert offline.tried[0].startswith("socket.getaddrinfo huggingface.co: ")


def test_the_guard_sees_telemetry_if_it_is_let(offline: Offline):
    """What the trainers would send without this suite's doing."""
    code = (
        "from huggingface_hub.utils import send_telemetry\nimport time\n"
        "send_telemetry('trl/test', library_name='trl')\ntime.sleep(1)"
    )
    offline.run(sys.executable, "-c", code)
    assert offline.tried


@pytest.mark.slow
def test_the_demo_calls_nobody(offline: Offline, tmp_path: Path):
    log_dir = tmp_path / "demo"
    arguments = ["-T", "states=2", "-T", "topics=smoking", "--log-dir", log_dir]
    offline.run(BIN / "inspect", "eval", "tasks/therapy.py", *arguments)
    assert "therapy" in offline.run(sys.executable, "analysis/table.py", log_dir)
    assert offline.processes("inspect") >= 1
    assert offline.tried == []


@pytest.mark.slow
def test_the_loop_calls_nobody(offline: Offline, tmp_path: Path):
    run = tmp_path / "run"
    # an unusual option, so that the trainer is asked beforehand, too
    offline.run(sys.executable, "training/ei_loop.py", "--run", run, *TINY, "--trainer-options", "optim=sgd")
    assert offline.processes("training.trainers.worker --check") == 1
    assert offline.processes("training.trainers.worker --wait") == 1
    assert (run / "report.html").exists()
    offline.run(sys.executable, "training/curves.py", run)
    offline.run(sys.executable, "training/publish.py", run, "--repo", "a/b", "--dry-run")
    assert offline.tried == []


@pytest.mark.slow
def test_the_probes_call_nobody(offline: Offline, tmp_path: Path):
    for name in ("train", "test"):
        rows = [
            {"id": f"{name}-{n}-{label}", "text": f"{name}, {word} number {n}", "label": label}
            for n in range(12)
            for word, label in (("a calm walk", 0), ("a loud alarm", 1))
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        offline.run(
            *(sys.executable, "probes/capture.py", "--model", base_checkpoint(), "--layers", 1),
            *("--data", tmp_path / f"{name}.jsonl", "--label-column", "label", "--text-column", "text"),
            *("--out", tmp_path / "activations", "--name", name),
        )
    train, test = (tmp_path / "activations" / name for name in ("train", "test"))
    monitors = tmp_path / "monitors"
    offline.run(
        *(sys.executable, "probes/fit.py", "--data", train, "--layers", 1, "--heads", "logistic"),
        *("--out", monitors),
    )
    offline.run(
        *(sys.executable, "probes/evaluate.py", "--monitors", monitors, "--data", test),
        *("--out", tmp_path / "results"),
    )
    offline.run(sys.executable, "probes/store.py", "verify", tmp_path / "activations")
    assert offline.processes("probes/") >= 5
    assert offline.tried == []
