"""How often the suite's intervals hold the true value.

    python benchmarks/analysis/coverage.py [--cases 400] [--all]

Made-up conversations in 8, 16 and 64 clusters (initial states, groups) of 1, 2 and 8, whose members are alike
to a degree (intra-cluster correlation 0, .3, .9), with shares of .05, .2 and .5; the functions that print
numbers give an interval for each case. A case counts where there is an interval that nothing is said against;
how many those are is told. Cells that come out below 95 % are tried four times as often, to tell chance from
fault.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.analysis.known_values import INTERVALS, Case, Setting, Simulation

CLUSTERS, SIZES, ALIKE = (8, 16, 64), (1, 2, 8), (0.0, 0.3, 0.9)
WANTED, FROM_CLUSTERS = 0.93, 16
"""Coverage that is asked for, from so many clusters on."""


@dataclass
class Cell:
    """How an interval did in one setting."""

    at: Setting
    cases: int = 0
    held: int = 0
    doubted: int = 0
    none: int = 0
    widths: list[float] = field(default_factory=list)

    def add(self, case: Case) -> None:
        """Count a case."""
        if math.isnan(case.low):
            self.none += 1
        elif case.doubted:
            self.doubted += 1
        else:
            self.cases += 1
            self.held += case.low - 1e-9 <= case.true <= case.high + 1e-9
            self.widths.append(case.high - case.low)

    @property
    def coverage(self) -> float:
        """NaN with fewer than 50 cases."""
        return self.held / self.cases if self.cases >= 50 else math.nan

    @property
    def falls_short(self) -> bool:
        """By more than two standard errors."""
        if math.isnan(self.coverage):
            return False
        return self.coverage + 2 * math.sqrt(0.93 * 0.07 / self.cases) < WANTED


def tried(simulation: Simulation, at: Setting, cases: int, seed: int) -> Cell:
    """Cases of one setting, four times as many where the first come out low."""
    rng, cell = (
        np.random.default_rng([seed, at.clusters, at.size, round(100 * at.alike), round(100 * at.share)]),
        Cell(at),
    )
    for _ in range(cases):
        cell.add(simulation(at, rng))
    if not math.isnan(cell.coverage) and cell.coverage < 0.95:
        for _ in range(3 * cases):
            cell.add(simulation(at, rng))
    return cell


def settings(shares: Sequence[float]) -> Iterator[Setting]:
    """All cells."""
    for clusters in CLUSTERS:
        for size in SIZES:
            for alike in ALIKE:
                for share in shares:
                    yield Setting(clusters, size, alike, share)


def line(name: str, cells: Sequence[Cell]) -> str:
    """For each number of clusters the lowest and the mean coverage, and how many cases count."""
    told = []
    for clusters in CLUSTERS:
        mine = [cell for cell in cells if cell.at.clusters == clusters]
        known = [cell.coverage for cell in mine if not math.isnan(cell.coverage)]
        every = sum(cell.cases + cell.doubted + cell.none for cell in mine)
        sure = sum(cell.cases for cell in mine) / every
        told.append(f"{min(known):.3f}  {np.mean(known):.3f}  {sure:4.0%}" if known else f"-{sure:19.0%}")
    short = sum(cell.falls_short for cell in cells if cell.at.clusters >= FROM_CLUSTERS)
    return (
        f"{name:<39}" + "".join(f"{cell:<24}" for cell in told) + (f"{short:>3} cells short" if short else "")
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table. Exit status 1 if an interval without a doubt beside it falls short."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cases", type=int, default=250, help="in each cell; low ones get four times as many"
    )
    parser.add_argument("--only", default="", help="intervals whose name has this")
    parser.add_argument("--all", action="store_true", help="every cell as well")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for all cells")
    options = parser.parse_args(arguments)
    began, found, short = time.process_time(), {}, []
    print(f"{'':<39}" + "".join(f"{f'{n} clusters':<24}" for n in CLUSTERS))
    print(f"{'coverage of 95 % intervals':<39}" + "lowest  mean  counted   " * len(CLUSTERS))
    for name, (simulation, shares) in INTERVALS.items():
        if options.only not in name:
            continue
        cells = [tried(simulation, at, options.cases, options.seed) for at in settings(shares)]
        found[name] = cells
        print(line(name, cells), flush=True)
        short += [(name, c) for c in cells if c.falls_short and c.at.clusters >= FROM_CLUSTERS]
        for cell in cells if options.all else ():
            width = np.mean(cell.widths) if cell.widths else math.nan
            print(f"    {cell.at._asdict()} {cell.coverage:.3f} of {cell.cases}, width {width:.3f}")
    print(f"\nbelow {WANTED:.0%} at {FROM_CLUSTERS} clusters or more, by more than chance explains:")
    for name, cell in short:
        at = cell.at
        told = f"{at.clusters} x {at.size}, alike {at.alike}, share {at.share}"
        print(f"  {name:<38}{told:<40}{cell.coverage:.3f} of {cell.cases}")
    if not short:
        print("  none")
    print(f"{time.process_time() - began:.0f} s of CPU")
    if options.json:
        rows = [
            {"interval": name, **cell.at._asdict(), "coverage": cell.coverage, "cases": cell.cases,
             "doubted": cell.doubted, "none": cell.none}
            for name, cells in found.items()
            for cell in cells
        ]  # fmt: skip
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 1 if any("as if" not in name for name, _ in short) else 0


if __name__ == "__main__":
    sys.exit(main())
