"""A Slurm cluster of two nodes on this machine, with daemons, ports and folders of its own."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue", "sinfo")

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
KillWait=5
MinJobAge=16
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Why no cluster can be started here; None if one can."""
    missing = [p for p in PROGRAMS if _program(p) is None]
    if missing:
        return f"Slurm is not installed: {', '.join(missing)} (apt-get install slurmctld slurmd slurm-client munge)"
    return None if os.geteuid() == 0 else "only root can start Slurm's daemons"


class Cluster:
    """Commands on a running cluster."""

    def __init__(self, folder: Path) -> None:
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}

    def run(self, *command: str | Path, check: bool = True, **variables: str) -> str:
        """Standard output of a command that must succeed, unless `check` says otherwise."""
        done = subprocess.run(
            [str(c) for c in command],
            env=os.environ | self.environment | variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def submit(self, *arguments: str | Path, **variables: str) -> str:
        """Number of the job."""
        return self.run("sbatch", "--parsable", *arguments, **variables).strip()

    def state(self, job: str) -> str:
        """State of a job, also of one that has just ended."""
        for part in self.run("scontrol", "show", "job", job).split():
            if part.startswith("JobState="):
                return part.partition("=")[2]
        raise AssertionError(f"no state of job {job}")


def wait_for(what: str, seconds: float, condition: object) -> None:
    """Wait until a condition, a function without arguments, holds."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.1)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A running cluster, whose daemons end with it whatever happens."""
    # not pytest's folder: it is closed to others, and munge wants its socket where everybody may look
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        _lay_out(folder)
        here = Cluster(folder)
        munge, private = folder / "munge", folder / "munge" / "private"
        _start(
            stack,
            here,
            [
                *("munged", "--foreground", f"--socket={munge}/socket", f"--pid-file={munge}/pid"),
                *(f"--key-file={private}/key", f"--seed-file={private}/seed", f"--log-file={private}/log"),
            ],
        )
        wait_for("munged", 10, (munge / "socket").exists)
        _start(stack, here, ["slurmctld", "-D"])
        for node in ("one", "two"):
            _start(stack, here, ["slurmd", "-D", "-N", node])
        stack.callback(here.run, "scancel", "--user=root", check=False)
        wait_for("nodes", 30, lambda: _states(here) == ["idle", "idle"])
        yield here


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _lay_out(folder: Path) -> None:
    private = folder / "munge" / "private"
    private.mkdir(parents=True)
    private.chmod(0o700)
    key = private / "key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    for name in ("state", "spool-one", "spool-two"):
        (folder / name).mkdir()
    controller, first, second = _free_ports(3)
    told = CONFIG.format(
        host=socket.gethostname(), folder=folder, controller=controller, first=first, second=second
    )
    (folder / "slurm.conf").write_text(told)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _start(stack: ExitStack, here: Cluster, command: Sequence[str]) -> None:
    program = _program(command[0])
    assert program is not None
    process = subprocess.Popen(
        [program, *command[1:]],
        env=os.environ | here.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _states(here: Cluster) -> list[str]:
    return here.run("sinfo", "--noheader", "--Node", "--format=%T", check=False).split()
