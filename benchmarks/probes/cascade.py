"""Probe first, a model second: AUROC and recall against cost, on stakes data.

    python benchmarks/probes/stakes_baselines.py --data STAKES --model FOLDER --out results/baselines
    python benchmarks/probes/cascade.py --baselines results/baselines --out results/cascade

Takes what the first command left: captured rows, probes, logs of the asked model, scores of fine-tuned ones;
nothing is computed by a model again. First is the probe with the best AUROC on its own validation rows (or
--monitor). Second is each asked template and each fine-tuned model in turn. Half of the groups of every test
set fix the cascade, the other half measure it, the same for all; the seeds draw the halves anew.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from analysis.reporting.markdown import interval, table
from probes.cascade import POINTS, build_cascade
from probes.cascades.measured.cascade_settings import CascadeSettings
from probes.cascades.measured.points import JUDGE, PROBE
from probes.evaluation.comparisons import MEAN
from probes.evaluation.scored import read_monitors

TESTS = ("synthetic", "anthropic", "mts")
BUDGETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
SHOWN = (0.1, 0.2, 0.5, 1.0)


def best_probe(folder: Path) -> Path:
    """The monitor with the highest AUROC on the rows that it was validated on: no test row is looked at."""
    named = read_monitors([folder])
    found = max(named, key=lambda one: one.monitor.card.metrics.get("auroc") or 0.0)
    return folder / found.name


def judges(folder: Path, sets: Sequence[str]) -> dict[str, list[Path]]:
    """Who may be asked second -> files of its scores, or logs."""
    found = {
        path.name: [path] for path in sorted((folder / "baselines").glob("*")) if any(path.glob("*.jsonl"))
    }
    for path in sorted((folder / "logs").glob("*")):
        template, _, name = path.name.rpartition("-")
        if name in sets and any(path.glob("*.eval")):
            found.setdefault(template, []).append(path)
    return found


def measure(options: argparse.Namespace, judge: str, files: Sequence[Path], seed: int) -> dict[str, Any]:
    """One cascade; its points."""
    out = options.out / judge / f"seed{seed}"
    if not (out / "cascade.json").exists():
        settings = CascadeSettings.model_validate(
            {
                "monitor": str(options.monitor),
                "calibration": [str(options.baselines / "activations" / name) for name in options.sets],
                "judge": list(files),
                "strategy": options.strategy,
                "budgets": list(BUDGETS),
                "seed": seed,
                "out": out,
            }
        )
        build_cascade(settings, progress=sys.stderr.isatty())
    return json.loads((out / POINTS).read_text())


def whole(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Points in the mean over data sets, or on the only one."""
    means = [row for row in found["points"] if row["dataset"] == MEAN]
    return means or found["points"]


def lines_of(judge: str, runs: Sequence[dict[str, Any]], merge: str) -> list[list[str]]:
    """Rows of the table: of one seed with intervals, of several the means over them."""
    lines: list[list[str]] = []
    first = whole(runs[0])
    wanted = [(name, "", None) for name in (PROBE, JUDGE)]
    for name in dict.fromkeys(row["strategy"] for row in first):
        own = "mean" if name == "earlier" else "replace" if name == "random" else merge
        wanted += [(name, own, budget) for budget in SHOWN if name not in (PROBE, JUDGE)]
    for name, own, budget in wanted:
        rows = [row for run in runs for row in whole(run) if _is(row, name, own, budget)]
        if len(rows) == len(runs):
            lines.append([judge, name, "-" if budget is None else f"{budget:g}", *_numbers(rows)])
    return lines


def _is(row: dict[str, Any], name: str, merge: str, budget: float | None) -> bool:
    return (row["strategy"], row["merge"], row["budget"]) == (name, merge, budget)


def _numbers(rows: Sequence[dict[str, Any]]) -> list[str]:
    def of(name: str) -> float:
        return float(np.mean([row[name] for row in rows]))

    def told(name: str, low: str, high: str, **form: Any) -> str:
        if len(rows) == 1:
            return interval(rows[0][name], rows[0][low], rows[0][high], **form)
        values = [row[name] for row in rows]
        return f"{of(name):{form.get('sign', '')}.3f} ({min(values):.3f} to {max(values):.3f})"

    return [
        f"{100 * of('asked'):.0f}",
        told("auroc", "auroc_low", "auroc_high"),
        told("recall_at_asked_fpr", "recall_at_asked_fpr_low", "recall_at_asked_fpr_high"),
        told("difference_to_judge", "difference_low", "difference_high", sign="+"),
        *("-" if rows[0][cost] is None else f"{of(cost):.2e}" for cost in ("flops", "seconds")),
    ]


def told_equal(found: dict[str, Any]) -> str:
    """What the paired test says."""
    equal, margin = found["equals_judge"]["cheapest"], found["equals_judge"]["margin"]
    if equal is None:
        return f"at no budget shown to be at most {margin:g} AUROC worse than the judge alone"
    if equal["budget"] is None:
        return f"the probe alone is at most {margin:g} AUROC worse than the judge: there is nothing to equal"
    return (
        f"from budget {equal['budget']:g} ({100 * equal['asked']:.0f} % asked) on at most {margin:g} AUROC "
        f"worse than the judge alone: {equal['difference_to_judge']:+.3f} [{equal['difference_low']:+.3f}, "
        f"{equal['difference_high']:+.3f}]"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--baselines", type=Path, required=True, help="folder that stakes_baselines.py filled"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the cascades")
    parser.add_argument("--monitor", type=Path, help="folder of the first monitor")
    parser.add_argument("--sets", nargs="+", default=list(TESTS), help="captured data sets")
    parser.add_argument("--strategy", default="likelihood-ratio", help="as in probes/cascade.py")
    parser.add_argument("--seeds", type=int, default=1, help="draws of calibration and test half")
    options = parser.parse_args()
    options.monitor = options.monitor or best_probe(options.baselines / "monitors")
    asked = judges(options.baselines, options.sets)
    if not asked:
        raise SystemExit(
            f"{options.baselines}: nobody to ask: no logs/*-mts/*.eval and no baselines/*/scores.jsonl"
        )
    lines: list[list[str]] = []
    runs: list[dict[str, Any]] = []
    for judge, files in asked.items():
        runs = [measure(options, judge, files, seed) for seed in range(options.seeds)]
        lines += lines_of(judge, runs, "likelihood-ratio")
        print(f"{judge}: {'; '.join(told_equal(run) for run in runs)}")
        left = runs[0]["excluded"]
        print(f"  left out: {left}" if any(left.values()) else "  every row has both scores")
    rows = {row["dataset"]: row["n"] for row in runs[0]["points"] if row["strategy"] == PROBE}
    print(f"\nfirst monitor: {options.monitor.name}; test rows: {rows}\n")
    head = ["judge", "who is asked about", "budget", "asked %", "AUROC", "recall at 1 % FPR"]
    print(table([*head, "AUROC less the judge's", "FLOPs", "s"], lines))


if __name__ == "__main__":
    main()
