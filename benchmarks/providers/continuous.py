"""Rollouts with today's `local/` beside that of an earlier commit: the same conversations, in other seconds.

    python benchmarks/providers/continuous.py [--commit abfe2f7] [--runs 16x3 64x3] [--tokens 64 256]
        [--model FOLDER] [--work talk | cast | engine] [--batch-size 64] [--repeats 3]

`talk`: the agent talks with a user who says fixed lines, through a whole Inspect eval; `cast`: with one that
the same model plays, and is judged by it; `engine`: tokens go through the engine alone, and replies are of 4
tokens to the most. Repeats take turns, each from an empty prefix cache; medians are shown, and the range of
wall seconds. It is checked that both have said the same: replies are greedy, since seeds have come to draw
otherwise; the roles of `cast` draw all the same, and part. `wait` is the share of a batch's steps that an
answer would wait for the longest beside it, if all were one batch: 1 - mean / longest.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path
from statistics import mean, median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.earlier_commit import EarlierCommit
from benchmarks.providers.earlier_rollouts import answer
from miniature.checkpoint import base_checkpoint

BEFORE = "abfe2f7"
"""The last commit at which a batch ran to its end before the next began."""


def today(request: dict[str, Any]) -> dict[str, Any]:
    """The same with the code of this tree."""
    return answer(lambda *names: importlib.import_module(names[0]), request)


def told(seconds: list[float]) -> str:
    """Median and range."""
    return f"{median(seconds):7.2f} ({min(seconds):.2f}-{max(seconds):.2f})"


def measure(earlier: EarlierCommit, request: dict[str, Any], repeats: int) -> str:
    """One line of the table."""
    small = request | {"conversations": 2, "turns": 1}
    earlier.ask(small)
    today(small)
    pairs = [(earlier.ask(request), today(request)) for _ in range(repeats)]
    before, after = ([pair[side]["seconds"] for pair in pairs] for side in (0, 1))
    work = [median(pair[side]["cpu"] for pair in pairs) for side in (0, 1)]
    written = pairs[0][1]["written"]
    same = all(one["said"] == other["said"] for one, other in pairs)
    name = f"{request['conversations']} x {request['turns']}, {request['max_tokens']}"
    wait = 1 - mean(written) / max(written)
    return (
        f"{name:>13} {told(before):>21} {told(after):>21} {median(before) / median(after):>6.2f} "
        f"{work[0]:>7.2f} {work[1]:>6.2f} {work[0] / work[1]:>6.2f} "
        f"{mean(written):>6.1f} {wait:>5.2f} {'yes' if same else 'NO':>6}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commit", default=BEFORE)
    parser.add_argument("--runs", nargs="+", default=["16x3", "64x3"], help="CONVERSATIONSxTURNS")
    parser.add_argument("--tokens", nargs="+", type=int, default=[64, 256], help="most tokens of a reply")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--megabytes", type=int, default=512, help="of the prefix cache")
    parser.add_argument("--work", choices=["talk", "cast", "engine"], default="talk")
    parser.add_argument("--model", help="folder of a checkpoint; the miniature by default")
    arguments = parser.parse_args()
    path = str(Path(arguments.model).resolve()) if arguments.model else str(base_checkpoint())
    earlier = EarlierCommit.start(arguments.commit, Path(__file__).with_name("earlier_rollouts.py"))
    if earlier is None:
        raise SystemExit(f"the history does not have {arguments.commit}")
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}, {arguments.commit} and today's")
    print(
        f"{'':>13} {'wall seconds':>50} {'CPU seconds':>21} {'tokens':>12} {'said':>6}\n"
        f"{'talks, most':>13} {arguments.commit:>21} {'today':>21} {'ratio':>6} "
        f"{'before':>7} {'today':>6} {'ratio':>6} {'mean':>6} {'wait':>5} {'alike':>6}"
    )
    with earlier:
        for text in arguments.runs:
            conversations, turns = map(int, text.split("x"))
            for most in arguments.tokens:
                request = {
                    "model": path,
                    "conversations": conversations,
                    "turns": turns,
                    "max_tokens": most,
                    "batch_size": arguments.batch_size,
                    "megabytes": arguments.megabytes,
                    "work": arguments.work,
                }
                print(measure(earlier, request, arguments.repeats), flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
