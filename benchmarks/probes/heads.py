"""What fitting and scoring heads cost: each head alone, all parity heads x 3 seeds at once, and the model.

    python benchmarks/probes/heads.py                      # 1,000 conversations x 200 tokens x 512
    python benchmarks/probes/heads.py --full               # 10,000 conversations, and a store of 6 GB
    python benchmarks/probes/heads.py --store /big/disk    # where the made-up store is put

Activations are random, with a direction that tells the label in a tenth of the tokens, in half precision, on
disk. The trained heads take the same number of steps however many conversations there are.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from probes.activations.capture_spec import CaptureSpec
from probes.activations.ragged import Ragged
from probes.activations.shards.writing_shards import CapturedRow
from probes.activations.store import DatasetCard, DatasetRow, Store, open_dataset, save_dataset
from probes.heads.base import score_together
from probes.heads.table import HEADS, make_head

TOKENS, HIDDEN = 200, 512
SHARD = 500
TRAIN, CHECK = "train", "check"
SPEC = CaptureSpec(
    model="random",
    revision="none",
    adapter=None,
    template="plain:1",
    point="residual",
    dtype="float16",
    tokens="all",
    max_tokens=None,
    truncation="left",
)


def make_store(root: Path, rows: int, layers: list[int]) -> int:
    """Write a training set, and one of a tenth of its size; returns bytes."""
    generator = torch.Generator().manual_seed(0)
    entry = Store(root).entry(SPEC)
    nothing = np.zeros(TOKENS, dtype=np.int32)
    for name, count in ((TRAIN, rows), (CHECK, max(100, rows // 10))):
        for start in range(0, count, SHARD):
            shard = []
            for number in range(start, min(start + SHARD, count)):
                values = {}
                for layer in layers:
                    values[layer] = torch.randn(TOKENS, HIDDEN, generator=generator)
                    place = number * 7 % (TOKENS - TOKENS // 10)
                    values[layer][place : place + TOKENS // 10, :4] += 1.5 * (number % 2)
                shard.append(
                    CapturedRow(
                        f"{name}-{number}",
                        nothing,
                        nothing,
                        nothing.astype(np.uint8),
                        {layer: value.half() for layer, value in values.items()},
                    )
                )
            entry.write(shard)
        table = [
            DatasetRow(id=str(i), key=f"{name}-{i}", label=i % 2, group=str(i), n_tokens=TOKENS, truncated=0)
            for i in range(count)
        ]
        save_dataset(root, name, table, DatasetCard(spec=entry.spec.key, source="random"))
    return sum(p.stat().st_size for p in root.rglob("*.safetensors"))


def fit_each(root: Path, names: list[str]) -> None:
    """Seconds to fit each head alone, from disk, with a validation set."""
    train, check = open_dataset(root, TRAIN), open_dataset(root, CHECK)
    layer = train.activations.available[0]
    x, validation = train.activations.layer(layer), check.activations.layer(layer)
    print(
        f"\none head at a time: {len(x)} conversations x {TOKENS} tokens x {HIDDEN}, "
        f"{len(validation)} to check on"
    )
    print(f"{'head':>22} {'wall s':>8} {'CPU s':>8} {'AUROC':>8}")
    for name in names:
        clock, cpu = time.perf_counter(), time.process_time()
        head = make_head(name).fit(x, train.labels, validation=(validation, check.labels))
        clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
        found = roc_auc_score(check.labels, head.decision_function(validation))
        print(f"{name:>22} {clock:>8.2f} {cpu:>8.2f} {found:>8.3f}", flush=True)


def fit_all(root: Path, out: Path) -> None:
    """The command, in a process of its own: seconds and peak memory."""
    command = [sys.executable, __file__, "--measure", str(out), "--store", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print("\nall 10 parity heads x 3 seeds, every layer of the store, in one command")
    print(
        f"{found['monitors']} monitors, {found['wall']:.1f} s, {found['wall'] / found['monitors']:.2f} s each"
    )
    print(f"peak memory {found['peak_mb']:.0f} MB, of which {found['imported_mb']:.0f} MB are libraries")


def measure(root: Path, out: Path) -> None:
    """What `fit_all` runs."""
    from probes.fit import main as fit

    imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    clock = time.perf_counter()
    options = [
        "--data",
        str(root / TRAIN),
        "--validation",
        str(root / CHECK),
        "--layers",
        "all",
        "--keep",
        "all",
    ]
    if fit([*options, "--heads", "parity", "--seeds", "3", "--folds", "0", "--out", str(out)]):
        raise SystemExit(1)
    found = {
        "wall": time.perf_counter() - clock,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "imported_mb": imported,
        "monitors": len(list(out.glob("*/monitor.json"))),
    }
    print(json.dumps(found))


def score_each(rows: int = 32, repeats: int = 5) -> None:
    """Seconds per 1,000 tokens: a random Llama without its head, and each head on one of its layers."""
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    model = LlamaModel(
        LlamaConfig(
            vocab_size=16_000,
            hidden_size=HIDDEN,
            intermediate_size=4 * HIDDEN,
            num_hidden_layers=8,
            num_attention_heads=8,
        )
    ).eval()
    ids = torch.randint(16_000, (rows, TOKENS))
    with torch.inference_mode():
        hidden = model(ids, use_cache=False).last_hidden_state
        forward = _fastest(lambda: model(ids, use_cache=False), repeats)
    unit = 1000 / (rows * TOKENS)
    print(f"\nscoring, {rows} conversations x {TOKENS} tokens: ms per 1,000 tokens")
    print(f"{'forward, 8 layers':>22} {1000 * forward * unit:>8.2f}")
    x = Ragged.from_rows(list(hidden.half()))
    for name in HEADS:
        head = make_head(name)
        head.set_weights(torch.randn(HIDDEN, head.channels), torch.zeros(head.channels))
        cost = _fastest(lambda head=head: score_together([head], x), repeats)
        print(
            f"{name:>22} {1000 * cost * unit:>8.3f}  {100 * cost / forward:>6.2f} % of the forward",
            flush=True,
        )


def _fastest(work: object, repeats: int) -> float:
    assert callable(work)
    work()
    times = []
    for _ in range(repeats):
        clock = time.perf_counter()
        work()
        times.append(time.perf_counter() - clock)
    return min(times)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1000, help="conversations in the training set")
    parser.add_argument("--layers", type=int, default=1, help="layers in the store")
    parser.add_argument("--full", action="store_true", help="10,000 conversations and three layers")
    parser.add_argument("--store", type=Path, help="folder for the store; a temporary one if not given")
    parser.add_argument("--only", choices=["each", "all", "score"], help="one of the three tables")
    parser.add_argument(
        "--heads", nargs="+", choices=list(HEADS), default=list(HEADS), help="fitted one at a time"
    )
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.store, arguments.measure)
        return
    rows, layers = (10_000, 3) if arguments.full else (arguments.rows, arguments.layers)
    if arguments.only in (None, "score"):
        score_each()
    if arguments.only == "score":
        return
    with tempfile.TemporaryDirectory(dir=arguments.store) as folder:
        root = Path(folder) / "store"
        size = make_store(root, rows, list(range(1, layers + 1)))
        print(f"\nstore: {size / 1e9:.2f} GB, {layers} layers")
        if arguments.only in (None, "all"):
            fit_all(root, Path(folder) / "monitors")
        if arguments.only in (None, "each"):
            fit_each(root, arguments.heads)


if __name__ == "__main__":
    main()
