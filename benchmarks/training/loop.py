"""What the loop costs over its bare parts, on the miniature: one run, side by side.

    python benchmarks/training/loop.py [--iterations 2] [--states 4] [--epochs 8]

The loop is `training/ei_loop.py` with all that it does: Inspect evals with three judges per reply, logs,
selection, rows, the trainer's process, divergence, curves and report. The bare parts do the same model work
in one process: `model.generate` in batches of 64 for as many replies to the same prompts, and TRL's
`SFTTrainer` on the same rows with the same settings, as it is and with the loop's one change to it
(`training/trainers/scored_places.py`). Importing and loading are counted on both sides.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

BATCH = 64


def run_loop(folder: Path, options: list[str]) -> float:
    """Seconds of the whole command."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, str(ROOT / "training" / "ei_loop.py"), "--run", str(folder), *options],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def prompts_of(run: Path) -> list[list[dict[str, Any]]]:
    """What the agent was asked, once per reply, over the whole run."""
    from analysis.trajectories import read_trajectories
    from training.examples.from_logs import Mark, rows_of_log

    prompts = []
    for log in sorted(run.glob("iteration_*/*/*.eval")):
        places = [(t.sample, t.epoch) for t in read_trajectories(log, rating="preference", harm="influence")]
        rows = rows_of_log(log, dict.fromkeys(places, Mark(None, None, None, None)))
        prompts += [row["prompt"] for row in rows]
    return prompts


def bare(work: Path) -> None:
    """Generate and train with nothing around it; prints the seconds of each as JSON."""
    started = time.perf_counter()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from training.trainers.scored_places import only_labelled_places

    importlib.import_module("trl.trainer.sft_trainer")
    told = json.loads(work.read_text(encoding="utf-8"))
    tokenizer: Any = AutoTokenizer.from_pretrained(told["base"])
    tokenizer.padding_side = "left"
    model: Any = AutoModelForCausalLM.from_pretrained(told["base"]).eval()
    loaded = time.perf_counter()
    texts = [
        tokenizer.apply_chat_template(p, tokenize=False, add_generation_prompt=True) for p in told["prompts"]
    ]
    torch.manual_seed(0)
    for start in range(0, len(texts), BATCH):
        batch = tokenizer(
            texts[start : start + BATCH],
            return_tensors="pt",
            padding=True,
            add_special_tokens=False,
            return_token_type_ids=False,
        )
        with torch.inference_mode():
            model.generate(**batch, max_new_tokens=300, do_sample=True, top_k=0)
    generated = time.perf_counter()
    started_training = time.perf_counter()
    _train(told, tokenizer, work.parent / "as_it_is")
    trained = time.perf_counter()
    with only_labelled_places():
        _train(told, tokenizer, work.parent / "labelled")
    done = time.perf_counter()
    print(
        json.dumps(
            {
                "load": loaded - started,
                "generate": generated - loaded,
                "train": trained - started_training,
                "train, labelled places": done - trained,
            }
        )
    )


def _train(told: dict[str, Any], tokenizer: Any, out: Path) -> None:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    for number, rows in enumerate(told["rows"]):
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(told["base"]),
            args=SFTConfig(
                output_dir=f"{out}-{number}",
                max_length=1024,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                seed=0,
                **told["config"],
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        trainer.train()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--states", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if given.bare is not None:
        bare(given.bare)
        return
    from miniature.checkpoint import base_checkpoint
    from scenarios.files.strict_json import read_jsonl
    from training.runs.run_folder import read_run

    base = str(base_checkpoint())
    options = [
        "--iterations",
        str(given.iterations),
        "--states",
        str(given.states),
        "--epochs",
        str(given.epochs),
    ]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        whole = run_loop(run, options)
        settings = read_run(run).settings
        rows = [read_jsonl(path) for path in sorted(run.glob("iteration_*/examples.jsonl"))]
        prompts = prompts_of(run)
        work = Path(folder) / "work.json"
        work.write_text(
            json.dumps(
                {
                    "base": base,
                    "prompts": prompts,
                    "rows": [[{k: r[k] for k in ("prompt", "completion")} for r in part] for part in rows],
                    "config": {
                        "learning_rate": settings.learning_rate,
                        "lr_scheduler_type": settings.schedule,
                        "num_train_epochs": settings.passes,
                        "per_device_train_batch_size": settings.batch_size,
                    },
                }
            ),
            encoding="utf-8",
        )
        started = time.perf_counter()
        told = subprocess.run(
            [sys.executable, __file__, "--bare", str(work)], check=True, capture_output=True, text=True
        )
        plain = time.perf_counter() - started
        parts = json.loads(told.stdout.splitlines()[-1])
        metrics = read_jsonl(run / "metrics.jsonl")
    spent = {
        k: sum(m[k] or 0 for m in metrics) for k in ("seconds_rollout", "seconds_heldout", "seconds_train")
    }
    conversations = sum(
        m["n_conversations"] + ((m["train"] or {}).get("n_conversations") or 0) for m in metrics
    )
    print(f"{conversations} conversations, {len(prompts)} replies, {sum(map(len, rows))} rows trained on")
    print(f"{'':<26}{'generate':>12}{'train':>12}{'whole':>12}{'loop / bare':>14}")
    talk = spent["seconds_rollout"] + spent["seconds_heldout"]
    print(f"{'loop (part of it at once)':<26}{_seconds(talk, spent['seconds_train'], whole)}")
    for name, kind, other in (
        ("bare", "train", "train, labelled places"),
        ("bare, labelled places", "train, labelled places", "train"),
    ):
        total = plain - parts[other]
        print(f"{name:<26}{_seconds(parts['generate'], parts[kind], total)}{whole / total:>14.2f}")


def _seconds(*spans: float) -> str:
    return "".join(f"{span:>10.1f} s" for span in spans)


if __name__ == "__main__":
    main()
