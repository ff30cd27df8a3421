"""A real OpenAI-compatible server on the CPU, where it is installed: llama.cpp's, in a process of its own.

`pip install xllamacpp` brings it, as a wheel. LLAMA_SERVER_PYTHON names the Python of another environment that
has it.
"""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVE = """
import sys, threading
import xllamacpp
path, port, slots, context, threads = sys.argv[1], *map(int, sys.argv[2:])
params = xllamacpp.CommonParams()
params.model.path, params.port, params.n_parallel, params.n_ctx = path, port, slots, context
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
server = xllamacpp.Server(params)
threading.Event().wait()
"""

PATIENCE = 120
"""Seconds that the server may take to load."""


def server_python() -> str | None:
    """The Python that has the server; None if there is none."""
    if other := os.environ.get("LLAMA_SERVER_PYTHON"):
        return other
    return sys.executable if importlib.util.find_spec("xllamacpp") else None


@contextmanager
def llama_server(weights: Path, *, slots: int, context: int, threads: int) -> Iterator[str]:
    """A running server of a GGUF file.

    Args:
        weights: The file.
        slots: Conversations at the same time.
        context: Tokens of all of them together.
        threads: Of the CPU.

    Yields:
        The address for `openai-api/...`.
    """
    python = server_python()
    assert python is not None, "pip install xllamacpp"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    numbers = map(str, (port, slots, context, threads))
    process = subprocess.Popen(
        [python, "-c", SERVE, str(weights), *numbers], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(port, process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the server did not answer within {PATIENCE} s")
