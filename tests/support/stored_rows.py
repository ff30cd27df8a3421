"""Made-up rows for tests of the activation store; light to import in a process of its own."""

import os
import subprocess
import sys

import numpy as np
import torch

from probes.activations.capture_spec import CaptureSpec
from probes.activations.shards.writing_shards import CapturedRow
from tests.support.places import ROOT

SPEC = CaptureSpec(
    model="some/model",
    revision="c0ffee",
    adapter=None,
    template="plain:1",
    point="residual",
    dtype="float16",
    tokens="all",
    max_tokens=None,
    truncation="left",
)


def spec(**changes):
    return CaptureSpec.model_validate(SPEC.model_dump() | changes)


def row(key, tokens=3, layers=(4,), hidden=8, seed=0, dtype=torch.float16):
    """Random activations, the same for the same seed and shape."""
    generator = torch.Generator().manual_seed(seed)
    return CapturedRow(
        key=key,
        token_ids=np.arange(tokens, dtype=np.int32) + 100_000,
        message=np.arange(tokens, dtype=np.int32) // 2 - 1,
        role=np.arange(tokens, dtype=np.uint8) % 5,
        layers={n: torch.randn(tokens, hidden, generator=generator).to(dtype) for n in layers},
    )


def shard_files(entry):
    return sorted(entry.folder.glob("shard-*.safetensors"))


def in_another_process(code, *arguments, **more):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )
