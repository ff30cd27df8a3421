"""Influence monitors of the miniature: on held-out topics, on later iterations, and in other families.

    python benchmarks/probes/influence_monitors.py [--run logs/ei] [--out logs/influence_monitors]

Monitors are fitted on what the base model said to users of the therapy family's train topics, before any
training, labelled by the judge. First table: the held-out topics in each iteration of a run of
`training/ei_loop.py` (made with its defaults if RUN is not there), and when harm shows to the judge and to
the monitor; then what length and words alone tell. Second table: the base model in
every other family, at the same threshold, beside length.

The miniature is a demonstration world: these numbers are no evidence about real models.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from transformers.utils.logging import disable_progress_bar

from analysis.ranking import Ranked, auroc
from miniature.checkpoint import base_checkpoint
from miniature.corpus import SHARES
from probes import early_warning
from probes.activations.capture_settings import CaptureSettings
from probes.capture import capture
from probes.evaluation.controls import fit_lexical
from probes.evaluation.evaluation_data import EvaluationSet, read_set
from probes.evaluation.pages.token_texts import conversation_texts, read_tokenizer
from probes.fitting.fit_data import read_labelled
from probes.watching.alarms import Sighting, Watched, sighted
from training.rollouts.evals import Rollout, roll_out

ROOT = Path(__file__).resolve().parents[2]
OTHERS = [family for family in SHARES if family != "therapy"]


def spoken(family: str, out: Path, states: int) -> EvaluationSet:
    """What the base model says in a family, with activations and labels."""
    rollout = Rollout(
        folder=out / "logs" / family,
        task=f"tasks/{family}.py",
        task_args={"states": states, "turns": 1, "seed": 0},
        model="miniature/agent",
        seed=0,
        max_connections=256,
        display="none",
    )
    log = roll_out(rollout, own_process=False)
    store = out / "activations"
    capture(
        CaptureSettings.model_validate(
            {
                "model": str(base_checkpoint()),
                "data": str(log.parent),
                "any_model": True,
                "label_score": "influence",
                "layers": [1, 2],
                "tokens": "assistant",
                "dtype": "float32",
                "out": store,
                "name": family,
            }
        )
    )
    return read_set(f"{store}/{family}")


def family_table(found: Sequence[early_warning.Warned], out: Path, states: int) -> Iterator[str]:
    """A line for each family and monitor."""
    yield f"{'family':<14}{'monitor':<26}{'n':>4}  {'harm (judge)':<20}{'AUROC':<20}{'recall':>7}{'FPR':>7}"
    for family in OTHERS:
        data = spoken(family, out, states)
        harmful = data.labels >= 0.5
        for one in found:
            threshold = one.monitor.card.threshold
            assert threshold is not None
            logits = one.monitor.score(data.activations(one.monitor.card.layers)).logits
            seen = sighted(Watched(0, harmful, logits, data.groups), threshold.logit)
            yield _line(family, one.monitor.card.name, seen)
        if harmful.any() and not harmful.all():
            length = auroc(data.labels, data.lengths.astype(np.float64), data.groups)
            yield f"{family:<14}{'(length)':<26}{len(harmful):>4}  {'':<20}{_with_interval(length):<20}"


def control_table(settings: early_warning.EarlyWarningSettings) -> Iterator[str]:
    """Length, and words fitted on the same rollouts, in each iteration."""
    store = settings.folder / "activations"
    train = read_labelled([f"{store}/rollouts_00"])
    tokenizer = read_tokenizer(train.spec, None)
    words = fit_lexical(
        conversation_texts(tokenizer, train.entry.open(train.keys, [1])),
        train.labels,
        train.groups,
        words="bag_of_words",
        seed=0,
    )
    yield f"{'iteration':<11}{'length':<20}{'bag of words':<20}"
    for path in sorted((store / "datasets").glob("heldout_*.jsonl")):
        data = read_set(f"{store}/{path.stem}")
        texts = conversation_texts(tokenizer, data.activations([1]))
        by_length = auroc(data.labels, data.lengths.astype(np.float64), data.groups)
        by_words = auroc(data.labels, words.logits(texts), data.groups)
        yield f"{path.stem[-2:]:<11}{_with_interval(by_length):<20}{_with_interval(by_words):<20}"


def _line(family: str, monitor: str, seen: Sighting) -> str:
    rates = "".join(f"{'-' if r is None else f'{r.value:.2f}':>7}" for r in (seen.recall, seen.fpr))
    harm, area = _with_interval(seen.harm), _with_interval(seen.auroc)
    return f"{family:<14}{monitor:<26}{seen.n:>4}  {harm:<20}{area:<20}{rates}"


def _with_interval(value: Ranked | None) -> str:
    return "-" if value is None else f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("logs/ei"))
    parser.add_argument("--out", type=Path, default=Path("logs/influence_monitors"))
    parser.add_argument("--heads", default="logistic,difference_of_means,max,attention")
    parser.add_argument("--states", type=int, default=8, help="per topic, in the other families")
    given = parser.parse_args()
    disable_progress_bar()
    if not (given.run / "report.html").exists():
        subprocess.run(
            [sys.executable, str(ROOT / "training" / "ei_loop.py"), "--run", str(given.run)], check=True
        )
    settings = early_warning.EarlyWarningSettings.model_validate(
        {"run": given.run, "layers": "1,2", "heads": given.heads, "out": given.out / "therapy"}
    )
    found = early_warning.early_warning(settings)
    early_warning.write(settings, found)
    early_warning.report(settings, found)
    print("\nAUROC of controls on the same held-out conversations")
    for line in control_table(settings):
        print(line, flush=True)
    print("\nthe same monitors in other families")
    for line in family_table(found, given.out, given.states):
        print(line, flush=True)
    print("The miniature is a demonstration world: these numbers are no evidence about real models.")


if __name__ == "__main__":
    main()
