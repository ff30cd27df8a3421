"""Rollouts, capture and a training step on a GPU, as shares of the bare passes and of what the chip can do.

    python benchmarks/providers/gpu.py                            # a GPU, 1.24 billion weights, bfloat16
    python benchmarks/providers/gpu.py --device cpu --size tiny   # the same table in under a minute

The model is made from a configuration, with random weights; nothing is downloaded. `of bare` is the time in
which the bare passes, all rows together and without padding, read and write as many tokens as were read and
written here, by the time that was taken; `of limit` is the same for the shortest time that the chip allows
(`benchmarks/providers/on_device/limits.py` has the formulas; both of the chip's numbers are measured first).
The limit of rollouts leaves out the attention within prompts. tokens/s of rollouts are those of replies, and
both engines read and write the same. Sized for ten minutes of a data-centre GPU at most.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--size", choices=["1b", "tiny"], default="1b")
    parser.add_argument("--repeats", type=int, default=3, help="of the rollouts; medians are shown")
    parser.add_argument("--megabytes", type=float, default=4096, help="of the prefix cache")
    arguments = parser.parse_args()
    if arguments.device == "cpu":  # before torch is loaded: trainer and capture take a GPU where there is one
        os.environ["CUDA_VISIBLE_DEVICES"] = ""

    import torch

    from benchmarks.providers.on_device.table import print_table

    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU; --device cpu --size tiny prints the same table without one")
    print_table(arguments.device, arguments.size, arguments.repeats, arguments.megabytes)


if __name__ == "__main__":
    main()
