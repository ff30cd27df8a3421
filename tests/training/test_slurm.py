"""The job scripts of training/launch/slurm, run by a real Slurm."""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scenarios.files.whole import write_jsonl
from tests.support.places import ROOT
from tests.support.processes_together import TOGETHER
from tests.support.slurm_cluster import Cluster, cluster, wait_for, why_not
from training.errors import RunError
from training.job import Job, read_trained
from training.launch.trainer_process import Trainer
from training.settings import Tuning

SCRIPTS = ROOT / "training" / "launch" / "slurm"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

SERVER = """#!{python}
import http.server, sys
if "--fails" in sys.argv:
    sys.exit("no GPU")
print(*sys.argv[1:], file=open({told!r}, "w"))
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Healthy).serve_forever()
"""


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def recorder(folder: Path, then: str = "") -> tuple[Path, Path]:
    """A program in Python's place, and the file in which it notes what it was started with."""
    calls = folder / "calls"
    calls.touch()
    text = f'#!/usr/bin/env bash\necho "$SLURM_NODEID | $PWD | $*" >>{calls}\n{then}\n'
    return executable(folder / "python", text), calls


def options(folder: Path) -> list[str]:
    return [f"--output={folder}/output", f"--chdir={ROOT}"]


def as_in_a_shell(monkeypatch: pytest.MonkeyPatch, slurm: Cluster, folder: Path, **variables: str) -> None:
    """The environment and the folder that a user starts the loop in."""
    told = slurm.environment | {"PROCESSES_PER_NODE": "1", "OUTPUT_FOLDER": str(folder / "jobs")} | variables
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("config", [None, "training/launch/accelerate/fsdp2.yaml"])
def test_the_launcher_starts_once_on_each_node_and_knows_which_it_is(slurm, tmp_path, config):
    python, calls = recorder(tmp_path)
    variables = {"PYTHON": str(python), "PROCESSES_PER_NODE": "4", "INFLUENCE_ROOT": str(ROOT)}
    if config is not None:
        variables["ACCELERATE_CONFIG"] = config
    script = SCRIPTS / "train.sbatch"
    job = slurm.submit("--nodes=2", *options(tmp_path), script, "/runs/a/job.json", **variables)
    wait_for("the end", 60, lambda: slurm.state(job) in ("COMPLETED", "FAILED"))
    started = sorted(calls.read_text().splitlines())
    ranks = [line.partition(" | ")[0] for line in started]
    assert ranks == ["0", "1"], (tmp_path / "output").read_text()
    for rank, line in zip(ranks, started, strict=True):
        assert f"| {ROOT} |" in line
        assert line.endswith(" -m training.trainers.worker /runs/a/job.json")
        if config is None:
            assert f"-m torch.distributed.run --nnodes 2 --nproc_per_node 4 --node_rank {rank} " in line
            assert "--master_addr one --master_port " in line
        else:
            assert f" launch --config_file {config} --num_machines 2 --num_processes 8 " in line
            assert f"--machine_rank {rank} --main_process_ip one --main_process_port " in line


def test_accelerate_joins_the_processes_of_two_nodes(slurm, tmp_path):
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    told = tmp_path / "told.json"
    job = slurm.submit(
        "--nodes=2",
        *options(tmp_path),
        *(SCRIPTS / "train.sbatch", script, "first"),
        PYTHON=sys.executable,
        PROCESSES_PER_NODE="1",
        MAIN_ADDRESS="127.0.0.1",
        ACCELERATE_CONFIG="training/launch/accelerate/ddp.yaml",
        INFLUENCE_ROOT=str(ROOT),
        TOLD=str(told),
    )
    wait_for("the end", 100, lambda: slurm.state(job) in ("COMPLETED", "FAILED"))
    assert told.exists(), (tmp_path / "output").read_text()
    assert json.loads(told.read_text()) == {
        "ranks": [0, 1],
        "type": "DistributedType.MULTI_CPU",
        "arguments": ["first"],
    }


def test_a_node_that_fails_fails_the_job(slurm, tmp_path):
    python, _ = recorder(tmp_path, "if [[ $SLURM_NODEID == 1 ]]; then exit 3; fi; exec sleep 100")
    job = slurm.submit(
        "--nodes=2",
        *options(tmp_path),
        SCRIPTS / "train.sbatch",
        "j.json",
        PYTHON=str(python),
        INFLUENCE_ROOT=str(ROOT),
    )
    wait_for("failure", 30, lambda: slurm.state(job) == "FAILED")


def test_the_loop_trains_on_two_nodes_through_a_job_of_its_own(slurm, tmp_path, monkeypatch):
    from tests.support.tiny_models import tiny_model

    row = {"label": True, "tools": None, "source": "log", "log": "a", "epoch": 1, "turn": 1, "rank": 1}
    rows = [
        {
            **row,
            "prompt": [{"role": "user", "content": f"hello {n}"}],
            "completion": [{"role": "assistant", "content": "you are right"}],
            "sample": str(n),
            "score": 9.0,
            "group": str(n),
            "checkpoint": "base",
        }
        for n in range(4)
    ]
    write_jsonl(tmp_path / "examples.jsonl", rows)
    job = Job(
        base=str(tiny_model(tmp_path / "base")),
        examples=tmp_path / "examples.jsonl",
        out=tmp_path / "checkpoint",
        scratch=tmp_path / "scratch",
        tuning=Tuning(batch_size=4, lora_r=4, learning_rate=1e-3),
        seed=0,
    )
    as_in_a_shell(monkeypatch, slurm, tmp_path, PYTHON=sys.executable, MAIN_ADDRESS="127.0.0.1")
    # as if the loop were in a job itself
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "7")
    monkeypatch.setenv("SLURM_NODEID", "5")
    trainer = Trainer("bash training/launch/slurm/submit.sh --nodes=2 training/launch/slurm/train.sbatch")
    trainer.begin(job, tmp_path / "job.json")
    trainer.finish()
    done = read_trained(job.out)
    assert (done.processes, done.examples, done.steps) == (2, 4, 1)
    assert (job.out / "adapter_model.safetensors").exists()


def test_a_failed_job_is_told_with_its_last_words(slurm, tmp_path, capfd, monkeypatch):
    python, _ = recorder(tmp_path, "echo it went wrong here; exit 1")
    as_in_a_shell(monkeypatch, slurm, tmp_path, PYTHON=str(python))
    trainer = Trainer("bash training/launch/slurm/submit.sh --nodes=1 training/launch/slurm/train.sbatch")
    job = Job(
        base="b", examples=tmp_path / "e", out=tmp_path / "o", scratch=tmp_path, tuning=Tuning(), seed=0
    )
    trainer.begin(job, tmp_path / "job.json")
    with pytest.raises(RunError, match="exit status 1 and no checkpoint"):
        trainer.finish()
    assert "it went wrong here" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("script", "given", "started_with"),
    [
        ("loop.sbatch", ["--run", "logs/a b", "--iterations", "2"], "training/ei_loop.py --run logs/a b --iterations 2"),
        ("set.sbatch", ["tasks/sets/families.yaml", "--log-dir", "logs/a b"], "tasks/run_set.py tasks/sets/families.yaml --log-dir logs/a b"),
    ],
)  # fmt: skip
def test_a_job_is_started_again_when_its_time_is_up_and_when_it_is_requeued(
    slurm, tmp_path, script: str, given: list[str], started_with: str
):
    third = f"if [[ $(wc -l <{tmp_path}/calls) -lt 3 ]]; then exec sleep 100; fi"
    python, calls = recorder(tmp_path, third)
    job = slurm.submit(
        *options(tmp_path),
        *(SCRIPTS / script, *given),
        PYTHON=str(python),
        INFLUENCE_ROOT=str(ROOT),
    )

    def starts() -> int:
        return len(calls.read_text().splitlines())

    wait_for("first start", 15, lambda: starts() == 1)
    slurm.run("scancel", "--batch", "--signal=USR1", job)
    wait_for_another_start(slurm, job, starts)
    assert "goes back into the queue" in (tmp_path / "output").read_text()
    slurm.run("scontrol", "requeue", job)
    wait_for_another_start(slurm, job, starts)
    wait_for("the end", 15, lambda: slurm.state(job) == "COMPLETED")
    assert {line.split(" | ")[2] for line in calls.read_text().splitlines()} == {started_with}


def wait_for_another_start(slurm: Cluster, job: str, starts: Callable[[], int]) -> None:
    """A job that went back into the queue waits two minutes there; a test need not."""
    before = starts()
    wait_for("the queue", 40, lambda: slurm.state(job) == "PENDING")
    # in the second in which it ended, nodes take it for the job that was killed
    time.sleep(2)

    def started() -> bool:
        # refused while the job's last processes end
        slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now", check=False)
        return starts() == before + 1

    wait_for("another start", 40, started)


def test_the_loop_trains_on_the_nodes_of_its_own_job(slurm, tmp_path):
    (tmp_path / "trainer").mkdir()
    trainer, calls = recorder(tmp_path / "trainer")
    launcher = "srun --ntasks-per-node=1 --kill-on-bad-exit=1 bash training/launch/slurm/node.sh"
    loop, _ = recorder(tmp_path, f"PYTHON={trainer} exec {launcher} -m training.trainers.worker job.json")
    job = slurm.submit(
        *("--nodes=2", "--cpus-per-task=2", *options(tmp_path), SCRIPTS / "loop.sbatch"),
        PYTHON=str(loop),
        INFLUENCE_ROOT=str(ROOT),
    )
    wait_for("the end", 30, lambda: slurm.state(job) == "COMPLETED")
    started = sorted(calls.read_text().splitlines())
    assert [line.partition(" | ")[0] for line in started] == ["0", "1"]
    assert all(line.endswith("-m training.trainers.worker job.json") for line in started)


def test_a_loop_that_fails_is_not_started_again(slurm, tmp_path):
    python, calls = recorder(tmp_path, "exit 4")
    job = slurm.submit(
        *options(tmp_path), SCRIPTS / "loop.sbatch", PYTHON=str(python), INFLUENCE_ROOT=str(ROOT)
    )
    wait_for("the end", 15, lambda: slurm.state(job) == "FAILED")
    assert len(calls.read_text().splitlines()) == 1


def test_the_loop_waits_for_the_address_of_the_server(slurm, tmp_path):
    told, address = tmp_path / "server-arguments", tmp_path / "server"
    vllm = executable(tmp_path / "vllm", SERVER.format(python=sys.executable, told=str(told)))
    variables = {
        "BASE": "org/base",
        "SERVER_FILE": str(address),
        "VLLM": str(vllm),
        "SERVER_HOST": "127.0.0.1",
    }
    python, calls = recorder(tmp_path)
    loop = slurm.submit(
        *(*options(tmp_path), SCRIPTS / "loop.sbatch", "--run", "a"),
        PYTHON=str(python),
        INFLUENCE_ROOT=str(ROOT),
        SERVER_FILE=str(address),
    )
    server = slurm.submit(
        f"--output={tmp_path}/served", SCRIPTS / "vllm.sbatch", "--dtype", "half", **variables
    )
    wait_for("the loop", 30, lambda: slurm.state(loop) == "COMPLETED")
    port = 20000 + int(server) % 20000
    assert address.read_text() == f"http://127.0.0.1:{port}/v1\n"
    assert (
        calls.read_text()
        .strip()
        .endswith(f"training/ei_loop.py --run a --model-base-url http://127.0.0.1:{port}/v1")
    )
    assert told.read_text().split()[:2] == ["serve", "org/base"]
    for option in ("--enable-lora", "--max-lora-rank 16", "--dtype half"):
        assert option in told.read_text()
    slurm.run("scancel", server)
    wait_for("the server's end", 30, lambda: slurm.state(server) == "CANCELLED" and not address.exists())


def test_a_server_that_fails_leaves_no_address(slurm, tmp_path):
    vllm = executable(tmp_path / "vllm", SERVER.format(python=sys.executable, told=str(tmp_path / "t")))
    variables = {"BASE": "b", "SERVER_FILE": str(tmp_path / "server"), "VLLM": str(vllm)}
    server = slurm.submit(f"--output={tmp_path}/served", SCRIPTS / "vllm.sbatch", "--fails", **variables)
    wait_for("the end", 30, lambda: slurm.state(server) == "FAILED")
    assert "no GPU" in (tmp_path / "served").read_text()
    assert not (tmp_path / "server").exists()


def test_the_daemons_end_with_the_cluster():
    pids: list[int] = []
    with contextlib.suppress(KeyError), cluster() as running:
        pids += daemons(running)
        raise KeyError
    assert len(pids) == 3 + 1
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, signal.SIG_DFL)


def daemons(running: Cluster) -> list[int]:
    folder = Path(running.environment["SLURM_CONF"]).parent
    return [int(p.read_text()) for p in folder.glob("*.pid")] + [int((folder / "munge" / "pid").read_text())]
