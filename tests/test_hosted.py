"""Fine-tuning at OpenAI, against a stub on the loopback that speaks its API."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scenarios.files.whole import write_jsonl
from training.hosted import FAILURES, HostedError, Options, fine_tune, main

ROOT = Path(__file__).parent.parent
SECRET = "sk-a-secret-of-this-test"
LINE = {
    "messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Ho.", "weight": 1}]
}


class Handler(BaseHTTPRequestHandler):
    server: "Stub"  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.keys.add(self.headers["Authorization"])
        if self.path == "/v1/files":
            self.server.uploads.append(body)
            self._send(200, self.server.file(len(self.server.uploads)))
        elif self.server.refuses:
            message = self.server.refuses + " for key " + self.headers["Authorization"]
            self._send(400, {"error": {"message": message, "type": "x", "code": "y", "param": None}})
        else:
            self._send(200, self.server.create(json.loads(body)))

    def do_GET(self) -> None:
        if self.path.partition("?")[0].endswith("/jobs"):
            self._send(200, {"object": "list", "data": self.server.jobs[::-1], "has_more": False})
            return
        self.server.polls += 1
        if self.server.down:
            self.server.down -= 1
            self._send(500, {"error": {"message": "down"}})
            return
        job = next(j for j in self.server.jobs if j["id"] == self.path.rpartition("/")[2])
        if len(self.server.statuses) > 1:
            job["status"] = self.server.statuses.pop(0)
        else:
            job["status"] = self.server.statuses[0]
        if job["status"] == "succeeded":
            job["fine_tuned_model"] = f"ft:{job['model']}:org::{job['id']}"
        if job["status"] == "failed":
            job["error"] = self.server.reason
        self._send(200, job)

    def _send(self, status, payload) -> None:
        data = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format, *args) -> None:  # noqa: A002
        pass


class Stub(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.uploads, self.asked, self.jobs = [], [], []
        self.statuses = ["validating_files", "running", "succeeded"]
        self.reason = None
        self.refuses = ""
        self.down = 0
        self.polls = 0
        self.keys = set()
        self.answers = threading.Event()
        self.answers.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def file(self, number):
        known = {"object": "file", "bytes": 1, "filename": "f", "purpose": "fine-tune"}
        return known | {"id": f"file-{number}", "created_at": 1000 + number, "status": "processed"}

    def create(self, body):
        self.asked.append(body)
        job = {
            "id": f"ftjob-{len(self.asked)}",
            "object": "fine_tuning.job",
            "created_at": 1000 + len(self.asked),
            "model": body["model"],
            "training_file": body["training_file"],
            "status": "queued",
            "fine_tuned_model": None,
            "error": None,
            "hyperparameters": {},
            "organization_id": "org",
            "result_files": [],
            "seed": body["seed"],
        }
        self.jobs.append(job)
        self.answers.wait(30)
        return job


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.answers.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def options(stub, tmp_path):
    write_jsonl(tmp_path / "train.jsonl", [LINE] * 10)
    known = {"examples": tmp_path / "train.jsonl", "model": "gpt-small", "base_url": stub.url}

    def make(**changes):
        return Options.model_validate(known | changes)

    return make


@pytest.fixture
def record(tmp_path):
    return tmp_path / "train.jsonl.job.json"


def no_wait(seconds: float) -> None:
    assert 0 < seconds <= 300


def test_a_job_from_upload_to_model(stub, options, tmp_path, record):
    waits = []
    asked = options(passes=2, learning_rate_multiplier=0.5, suffix="mine", seed=3)
    assert fine_tune(asked, sleep=waits.append) == "ft:gpt-small:org::ftjob-1"
    (upload,) = stub.uploads
    assert (tmp_path / "train.jsonl").read_bytes() in upload
    assert b"fine-tune" in upload
    assert stub.asked == [
        {
            "model": "gpt-small",
            "training_file": "file-1",
            "seed": 3,
            "suffix": "mine",
            "method": {
                "type": "supervised",
                "supervised": {"hyperparameters": {"n_epochs": 2, "learning_rate_multiplier": 0.5}},
            },
        }
    ]
    assert waits == [10.0, 15.0]
    known = json.loads(record.read_text())
    assert (known["job"], known["fine_tuned_model"]) == ("ftjob-1", "ft:gpt-small:org::ftjob-1")


def test_a_file_of_pairs_is_trained_with_dpo(stub, options, tmp_path):
    pair = {"input": {"messages": LINE["messages"][:1]}, "preferred_output": [], "non_preferred_output": []}
    write_jsonl(tmp_path / "train.jsonl", [pair])
    fine_tune(options(batch_size=4), sleep=no_wait)
    assert stub.asked[0]["method"] == {"type": "dpo", "dpo": {"hyperparameters": {"batch_size": 4}}}


def test_what_is_done_is_not_done_again(stub, options):
    first = fine_tune(options(), sleep=no_wait)
    polls = stub.polls
    assert fine_tune(options(), sleep=no_wait) == first
    assert (len(stub.uploads), len(stub.asked), stub.polls) == (1, 1, polls)


class TestKilled:
    """The command as a process of its own, killed with SIGKILL."""

    @pytest.fixture
    def killed(self, stub, options, tmp_path):
        def run(when):
            command = [sys.executable, "training/hosted.py", str(tmp_path / "train.jsonl")]
            told = ["--model", "gpt-small", "--base-url", stub.url, "--poll", "0.05"]
            process = subprocess.Popen(
                [*command, *told],
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            )
            deadline = time.monotonic() + 60
            while not when():
                assert process.poll() is None, "ended by itself"
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()

        return run

    def test_while_waiting(self, stub, options, killed, record):
        stub.statuses = ["running"]
        killed(lambda: stub.polls >= 2)
        assert json.loads(record.read_text())["job"] == "ftjob-1"
        stub.statuses = ["succeeded"]
        assert fine_tune(options(), sleep=no_wait) == "ft:gpt-small:org::ftjob-1"
        assert (len(stub.uploads), len(stub.asked)) == (1, 1)

    def test_between_the_creation_and_its_answer(self, stub, options, killed, record):
        stub.answers.clear()
        killed(lambda: bool(stub.jobs))
        assert json.loads(record.read_text())["job"] is None
        stub.answers.set()
        assert fine_tune(options(), sleep=no_wait) == "ft:gpt-small:org::ftjob-1"
        assert (len(stub.uploads), len(stub.asked)) == (1, 1)


def test_between_upload_and_creation_the_file_is_used_and_other_jobs_are_not(stub, options, record):
    stub.refuses = "not now"
    with pytest.raises(HostedError):
        fine_tune(options(), sleep=no_wait)
    stub.refuses = ""
    stub.create({"model": "gpt-small", "training_file": "file-of-another", "seed": 0})
    assert fine_tune(options(), sleep=no_wait) == "ft:gpt-small:org::ftjob-2"
    assert len(stub.uploads) == 1
    assert stub.asked[1]["training_file"] == "file-1"


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        (
            "failed",
            {"code": "invalid_file", "message": "Line 3 is empty.", "param": "training_file"},
            r"ftjob-1 failed: invalid_file: Line 3 is empty\. \(training_file\)",
        ),
        ("failed", None, "failed; the service gives no reason"),
        ("cancelled", None, "ftjob-1 cancelled"),
    ],
)
def test_a_job_that_does_not_succeed_is_an_error_with_the_reason(stub, options, status, reason, message):
    stub.statuses, stub.reason = ["running", status], reason
    with pytest.raises(HostedError, match=f"{message}.*delete"):
        fine_tune(options(), sleep=no_wait)
    # nor is another one paid for
    with pytest.raises(HostedError, match=message):
        fine_tune(options(), sleep=no_wait)
    assert len(stub.asked) == 1


def test_a_service_that_is_away_for_a_while_is_waited_for(stub, options, monkeypatch):
    monkeypatch.setattr("openai._base_client.BaseClient._calculate_retry_timeout", lambda *a: 0.0)
    stub.down = 3 * (FAILURES - 1)  # the client itself asks three times
    assert fine_tune(options(), sleep=no_wait) == "ft:gpt-small:org::ftjob-1"


def test_a_service_that_stays_away_is_an_error_and_the_job_is_kept(stub, options, monkeypatch, record):
    monkeypatch.setattr("openai._base_client.BaseClient._calculate_retry_timeout", lambda *a: 0.0)
    stub.down = 3 * FAILURES
    with pytest.raises(HostedError, match="same command goes on"):
        fine_tune(options(), sleep=no_wait)
    assert json.loads(record.read_text())["job"] == "ftjob-1"
    assert fine_tune(options(), sleep=no_wait) == "ft:gpt-small:org::ftjob-1"
    assert len(stub.asked) == 1


def test_the_key_is_sent_and_never_written(stub, options, tmp_path, capfd):
    stub.refuses = "no such model"
    with pytest.raises(HostedError) as raised:
        fine_tune(options(), sleep=no_wait)
    assert "no such model for key Bearer ***" in str(raised.value)
    assert stub.keys == {f"Bearer {SECRET}"}
    stub.refuses = ""
    fine_tune(options(), sleep=no_wait)
    written = "".join(p.read_text() for p in tmp_path.iterdir()) + "".join(capfd.readouterr())
    assert SECRET not in written


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"model": "gpt-large"}, "another model"), ({"seed": 9, "passes": 3}, "another method, seed")],
)
def test_a_record_of_another_job_is_refused(stub, options, changes, message):
    fine_tune(options(), sleep=no_wait)
    with pytest.raises(HostedError, match=message):
        fine_tune(options(**changes), sleep=no_wait)
    assert len(stub.asked) == 1


def test_changed_examples_are_another_job(stub, options, tmp_path):
    fine_tune(options(), sleep=no_wait)
    write_jsonl(tmp_path / "train.jsonl", [LINE] * 11)
    with pytest.raises(HostedError, match="another examples_sha256"):
        fine_tune(options(), sleep=no_wait)
    fine_tune(options(record=tmp_path / "second.json"), sleep=no_wait)
    assert len(stub.asked) == 2


class TestMistakes:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "no such file; write one with training/export.py"),
            ("", "not in OpenAI's format"),
            ('{"prompt": [], "completion": []}\n', "not in OpenAI's format"),
            ('{"messages": [], "label": true}\n', "not in OpenAI's format"),
            ('{"messages": []}\n{"input": {}}\n', "not in OpenAI's format"),
            ("{oops\n", r"train\.jsonl:1: not JSON"),
        ],
    )
    def test_nothing_is_uploaded(self, stub, options, tmp_path, content, message):
        path = tmp_path / "train.jsonl"
        path.unlink() if content is None else path.write_text(content)
        with pytest.raises(HostedError, match=message):
            fine_tune(options(), sleep=no_wait)
        assert stub.uploads == []

    def test_no_key(self, stub, options, monkeypatch):
        monkeypatch.delenv("OPENAI_API_KEY")
        with pytest.raises(HostedError, match="set OPENAI_API_KEY"):
            fine_tune(options(), sleep=no_wait)

    def test_a_record_that_is_none(self, stub, options, record):
        record.write_text('{"something": 1}')
        with pytest.raises(HostedError, match=re.escape(f"{record}: not a record of a job")):
            fine_tune(options(), sleep=no_wait)

    def test_the_command(self, stub, options, tmp_path, capsys):
        stub.statuses = ["succeeded"]
        command = [str(tmp_path / "train.jsonl"), "--model", "gpt-small", "--base-url", stub.url]
        assert main(command) == 0
        assert capsys.readouterr().out == "openai/ft:gpt-small:org::ftjob-1\n"
        assert main([*command, "--seed", "5"]) == 1
        assert "another seed" in capsys.readouterr().err
        assert main(["--modl", "x"]) == 2
        assert "did you mean '--model'" in capsys.readouterr().err
