"""Probes beside models that are asked, and models that are fine-tuned: AUROC against cost, on the same rows.

    python benchmarks/probes/stakes_baselines.py --data STAKES --model FOLDER --out results/baselines
    python benchmarks/probes/stakes_baselines.py ... --stages rows capture probes     # a part of it

STAKES holds synthetic.jsonl (with splits) and the other sets of --tests; FOLDER a causal model with a chat
template, or an encoder, which is not asked. All monitors learn from the same rows of the synthetic train
split and are tested on the same others: English, and short enough that nobody cuts them. `changed` ranks the
same test rows restyled (by rule, in held-out styles) and masked (words fitted on the training rows). A stage
that is done is not done again. Costs are for one conversation: of a probe and of the last block beyond the
pass of the monitored model, of the others all that they compute.
"""

import argparse
import hashlib
import importlib
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from safetensors.numpy import load_file

from analysis.ranking import Ranked
from analysis.reporting.markdown import interval, table
from probes.activations.stored_sets import read_dataset
from probes.laboratory.rows import StakesRow, read_rows, write_rows

STAGES = ("rows", "capture", "probes", "last-block", "prompted", "lora", "full", "changed", "table")
TRAIN = "train"
SYNTHETIC = "synthetic"
CHANGES = ("restyled", "masked")


def chosen(rows: Sequence[StakesRow], count: int, most_characters: int, seed: int) -> list[StakesRow]:
    """Whole pairs of English rows that are short, drawn by the seed, as many of either class as can be."""
    fitting = [row for row in rows if row.facts.get("language", "English") == "English"]
    fitting = [row for row in fitting if row.label is not None and len(row.text) <= most_characters]
    pairs: dict[str, list[StakesRow]] = {}
    for row in fitting:
        pairs.setdefault(row.pair, []).append(row)
    order = list(pairs.values())
    random.Random(seed).shuffle(order)
    taken: list[StakesRow] = []
    room = {0: count // 2, 1: count // 2}
    for pair in order:
        need = {label: sum(row.label == label for row in pair) for label in room}
        if all(need[label] <= room[label] for label in room):
            taken += pair
            room = {label: room[label] - need[label] for label in room}
    return taken


def make_rows(options: argparse.Namespace) -> None:
    """The rows that everybody gets."""
    synthetic = read_rows(options.data / "synthetic.jsonl")
    parts = {TRAIN: ([r for r in synthetic if r.split == "train"], options.train_rows)}
    for name in options.tests:
        source = (
            [r for r in synthetic if r.split == "test"]
            if name == SYNTHETIC
            else read_rows(options.data / f"{name}.jsonl")
        )
        parts[name] = (source, options.test_rows)
    for name, (rows, count) in parts.items():
        drawn = chosen(rows, count, options.characters, options.seed)
        # splits of the sources are theirs: here a file is a split
        bare = [
            r.model_copy(update={"facts": {k: v for k, v in r.facts.items() if k != "split"}}) for r in drawn
        ]
        write_rows(options.out / "rows" / f"{name}.jsonl", bare)
        print(f"{name}: {len(bare)} rows, {sum(r.label == 1 for r in bare)} of high stakes")


def capture_rows(options: argparse.Namespace) -> None:
    """Activations of all rows, one pass for all layers."""
    for name in (TRAIN, *options.tests):
        capture_file(options, name)


def capture_file(options: argparse.Namespace, name: str) -> None:
    """Activations of one file of rows."""
    run(
        "probes/capture.py",
        model=options.model,
        data=options.out / "rows" / f"{name}.jsonl",
        label_column="label",
        positive=1,
        negative=0,
        group_column="pair",
        layers=options.layers,
        dtype="float32",
        out=options.out / "activations",
    )


def fit_probes(options: argparse.Namespace) -> None:
    """The heads of the suite, on the same rows as the fine-tuned models."""
    run(
        "probes/fit.py",
        data=options.out / "activations" / TRAIN,
        layers=options.layers,
        heads=options.heads,
        seeds=1,
        detects="high stakes",
        out=options.out / "monitors",
    )


def ask(options: argparse.Namespace) -> None:
    """The model itself, asked: an eval for each template and data set."""
    from inspect_ai import eval  # noqa: A004

    from tasks.stakes import stakes

    for template in options.templates.split(","):
        for name in options.tests:
            task = stakes(str(options.out / "rows" / f"{name}.jsonl"), template=template)
            folder = options.out / "logs" / f"{template}-{name}"
            if any(folder.glob("*.eval")):
                continue
            (log,) = eval(
                task,
                model=f"local/{options.model}",
                model_args={"dtype": "bfloat16"} if options.autocast else {},
                log_dir=str(folder),
                display="none",
                max_connections=16,
            )
            assert log.results is not None, log.error
            print(template, name, {k: round(m.value, 4) for k, m in log.results.scores[0].metrics.items()})


def fine_tune(options: argparse.Namespace, kind: str) -> None:
    """One kind of baseline."""
    epochs = options.block_epochs if kind == "last-block" else options.epochs
    rate = {"lora": options.rate, "full": options.full_rate, "last-block": 1e-3}[kind]
    run(
        "probes/baselines.py",
        "fit",
        data=options.out / "rows" / f"{TRAIN}.jsonl",
        test=[options.out / "rows" / f"{name}.jsonl" for name in options.tests],
        model=options.model,
        kind=kind,
        epochs=epochs,
        learning_rate=rate,
        batch_size=4,
        accumulation=options.accumulation,
        autocast=str(options.autocast).lower(),
        seed=options.seed,
        out=options.out / "baselines" / kind,
    )


def change(options: argparse.Namespace) -> None:
    """The test rows restyled and masked, and what probes, controls and fine-tuned models reach there."""
    beside = list[Path]()
    for name in options.tests:
        for how in CHANGES:
            run(
                "probes/restyle.py",
                data=options.out / "rows" / f"{name}.jsonl",
                how=how,
                out=options.out / "rows" / f"{name}-{how}.jsonl",
                **({"train": options.out / "rows" / f"{TRAIN}.jsonl"} if how == "masked" else {}),
            )
            capture_file(options, f"{name}-{how}")
    changed = [f"{name}-{how}" for name in options.tests for how in CHANGES]
    for kind in options.changed_baselines:
        run(
            "probes/baselines.py",
            "score",
            baseline=options.out / "baselines" / kind,
            data=[options.out / "rows" / f"{name}.jsonl" for name in changed],
            out=options.out / "changed" / kind,
        )
        beside += [options.out / folder / kind / "scores.jsonl" for folder in ("baselines", "changed")]
    run(
        "probes/evaluate.py",
        monitors=options.out / "monitors",
        data=[options.out / "activations" / name for name in (*options.tests, *changed)],
        train=options.out / "activations" / TRAIN,
        controls="length,bag_of_words",
        changed=[f"{name}={name}-{how}" for name in options.tests for how in CHANGES],
        out=options.out / "changed",
        **({"beside": beside} if beside else {}),
    )
    found = json.loads((options.out / "changed" / "evaluation.json").read_text())["changed"]
    print(f"\n{changed_table(found)}\n")


def changed_table(found: Sequence[dict[str, Any]]) -> str:
    """Of each monitor on each set: AUROC, restyled, masked, and by how much it fell."""
    lines: dict[tuple[str, str], list[str]] = {}
    for one in found:
        cells = lines.setdefault((one["dataset"], one["monitor"]), [_cell(one, "auroc")])
        cells += [f"{one['auroc_changed']:.2f}", _cell(one, "drop", sign="+")]
    head = ["", "", "AUROC"]
    for how in CHANGES:
        head += [how, "drop"]
    return table(head, [[*names, *cells] for names, cells in lines.items()])


def _cell(row: dict[str, Any], name: str, sign: str = "") -> str:
    return interval(row[name], row[f"{name}_low"], row[f"{name}_high"], digits=2, sign=sign)


def compare(options: argparse.Namespace) -> None:
    """One table of all."""
    beside = [*(options.out / "baselines").glob("*/scores.jsonl")]
    beside += sorted((options.out / "logs").glob("*/*.eval"))
    run(
        "probes/evaluate.py",
        monitors=options.out / "monitors",
        data=[options.out / "activations" / name for name in options.tests],
        train=options.out / "activations" / TRAIN,
        controls="length,bag_of_words",
        beside=beside,
        out=options.out / "results",
        **({"reference": options.reference} if options.reference else {}),
    )
    rows = json.loads((options.out / "results" / "results.json").read_text())
    tokens = {name: mean_tokens(options.out / "activations", name) for name in options.tests}
    for row in rows:
        if row["head"] and row["dataset"] in tokens:
            row["flops"] = head_flops(options.out / "monitors" / row["monitor"], tokens[row["dataset"]])
    print(f"\n{cost_table(rows)}\n")
    print(f"model {options.model}: weights SHA-256 {weights_digest(options.model)[:16]}")


def mean_tokens(store: Path, name: str) -> float:
    """Tokens of a conversation of a captured data set, in the mean."""
    rows, _ = read_dataset(store, name)
    return sum(row.n_tokens for row in rows) / len(rows)


def head_flops(monitor: Path, tokens: float) -> float:
    """Of a head, at most: every one of its weights meets every token."""
    weights = load_file(next(monitor.glob("*.safetensors")))
    return 2.0 * sum(weight.size for weight in weights.values()) * tokens


def cost_table(rows: Sequence[dict[str, Any]]) -> str:
    """AUROC on each set and in the mean, FLOPs and seconds of a conversation."""
    whole = [row for row in rows if row["by"] is None]
    columns = [*dict.fromkeys(row["dataset"] for row in whole)]
    lines: dict[str, dict[str, Any]] = {}
    for row in whole:
        told = Ranked(row["auroc"], row["auroc_low"], row["auroc_high"])
        lines.setdefault(row["monitor"], {})[row["dataset"]] = interval(*told, digits=2)
        for cost in ("flops", "seconds"):
            if row.get(cost) is not None:
                lines[row["monitor"]].setdefault(cost, []).append(row[cost])
    head = ["", *columns, "FLOPs", "s"]
    body = [
        [
            name,
            *(cells.get(column, "-") for column in columns),
            _mean(cells.get("flops"), "{:.1e}"),
            _mean(cells.get("seconds"), "{:.2f}"),
        ]
        for name, cells in lines.items()
    ]
    return table(head, body)


def _mean(values: Sequence[float] | None, form: str) -> str:
    return form.format(sum(values) / len(values)) if values else "-"


def weights_digest(model: Path) -> str:
    """SHA-256 of the model's weights."""
    whole = hashlib.sha256()
    for path in sorted(Path(model).glob("*.safetensors")):
        whole.update(path.read_bytes())
    return whole.hexdigest()


def run(script: str, *arguments: str, **options: Any) -> None:
    """One command as a user gives it, in this process: torch is loaded once."""
    given: list[str] = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        given += [f"--{name.replace('_', '-')}", *map(str, values)]
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    if status := module.main([*arguments, *given]):
        raise SystemExit(status)


def main() -> None:
    """Run the stages that are not done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", type=Path, required=True, help="folder of a causal model")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--tests", nargs="+", default=[SYNTHETIC, "anthropic", "mts"], help="data sets")
    parser.add_argument(
        "--changed-baselines",
        nargs="+",
        default=[],
        choices=("last-block", "lora", "full"),
        help="fine-tuned models that stage `changed` scores, too",
    )
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--train-rows", type=int, default=160)
    parser.add_argument("--test-rows", type=int, default=60, help="of each set")
    parser.add_argument("--characters", type=int, default=500, help="longest row")
    parser.add_argument("--layers", default="10,15,20", help="as in probes/capture.py")
    parser.add_argument("--heads", default="mean,logistic,attention,softmax", help="as in probes/fit.py")
    parser.add_argument(
        "--templates", default="single_word,single_letter", help="of scenarios/stakes/monitors.yaml"
    )
    parser.add_argument("--epochs", type=float, default=3, help="of LoRA, and of all weights")
    parser.add_argument("--rate", type=float, default=5e-4, help="of LoRA")
    parser.add_argument("--full-rate", type=float, default=3e-5, help="of all weights")
    parser.add_argument("--accumulation", type=int, default=1, help="batches of four rows for a step")
    parser.add_argument("--autocast", action="store_true", help="compute in bfloat16, of all but probes")
    parser.add_argument("--block-epochs", type=float, default=8, help="of the last block")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reference", help="monitor that all are compared with; see probes/evaluate.py")
    options = parser.parse_args()
    options.out, options.model = options.out.absolute(), options.model.absolute()
    (options.out / "done").mkdir(parents=True, exist_ok=True)
    stages = {
        "rows": make_rows,
        "capture": capture_rows,
        "probes": fit_probes,
        "last-block": lambda o: fine_tune(o, "last-block"),
        "prompted": ask,
        "lora": lambda o: fine_tune(o, "lora"),
        "full": lambda o: fine_tune(o, "full"),
        "changed": change,
        "table": compare,
    }
    for name in options.stages:
        done = options.out / "done" / name
        if done.exists() and name != "table":
            continue
        started = time.monotonic()
        stages[name](options)
        print(f"[{name}: {time.monotonic() - started:.0f} s]", flush=True)
        done.touch()


if __name__ == "__main__":
    main()
