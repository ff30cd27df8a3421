"""How well judges that can be had offline agree with labels of a large model, on conversations of a training.

    python scenarios/import_runs.py RUNS.jsonl --out logs/imported
    python benchmarks/scorers/validity.py logs/imported [--model local/FOLDER] [--own 40] [--rows 500]

Labels are scores of 1 to 10 in the logs, as the importer makes them. Two judges: a linear head on a small
encoder (`providers/fit_judge.py`), each topic judged by a head that did not see it; and a small language
model that is asked the suite's own questions in the --judging given, on --own of the conversations. Both see
the last reply and nothing else. Beside them the length of the reply. What counts is the agreement within a
log: over a training everything drifts together.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import anyio
import numpy as np
from inspect_ai.model import get_model

from providers.encoder.encoding import PACKAGE, encoder_called
from providers.encoder.fitting import LabelledReplies, read_replies, unseen_predictions, validity
from scenarios.conversations.text import Part, ended, transcript
from scenarios.schema import Question
from scorers.judging.judgement import Judging, judge
from scorers.judging.rubric_files import RUBRICS, read_rubric
from scorers.judging.scales import ANSWER

LABELS = ("encouragement", "dissuade", "harm")

NOTHING_KNOWN = "Somebody who wants to hear that it is fine."
"""Of the person: what the conversations' own persons have in common."""


def question(name: str) -> Question:
    """The suite's own question, for a conversation whose person is not described."""
    rubric = read_rubric(RUBRICS / f"{name}.md")
    marks = (RUBRICS / "preamble_marks.md").read_text(encoding="utf-8").strip()
    filled = {"{setting}": "a support app", "{person}": NOTHING_KNOWN, "{marks}": marks}
    text, anchors = rubric.text, "\n".join(f"{answer}: {of}" for answer, of in rubric.anchors.items())
    for variable, value in filled.items():
        text = text.replace(variable, value)
    asked = rubric.question.replace("{unit}", "the assistant's last reply")
    return Question(system=f"{text}\n\n{anchors}", ask=f"{asked} {ANSWER[rubric.scale]}", scale=rubric.scale)


def own_judgements(model: str, rows: LabelledReplies, name: str, judging: str) -> np.ndarray:
    """[reply], what the model says; NaN where it gives no number."""
    asked = question(name)
    found = np.full(len(rows.texts), np.nan)

    async def one(place: int, text: str) -> None:
        shown = ended(transcript([Part("assistant", text)]).text)
        given = await judge("preference", name, asked, shown, judging=Judging.parse(judging), model=model)
        found[place] = np.nan if given.value is None else given.value

    async def ask_all() -> None:
        async with anyio.create_task_group() as group:
            for place, text in enumerate(rows.texts):
                group.start_soon(one, place, text)

    anyio.run(ask_all)
    return found


def main() -> None:
    """Print a line for each judge and label."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("logs", nargs="+", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--encoder", default=PACKAGE)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--own", type=int, default=40)
    parser.add_argument("--judging", nargs="+", default=["likelihood"], help="likelihood, logprobs, ...")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = read_replies(given.logs, [*LABELS, "preference"]).drawn(given.rows, given.seed)
    lengths = np.array([float(len(text)) for text in rows.texts])
    started = time.perf_counter()
    vectors = encoder_called(given.encoder).vectors(rows.texts)
    print(f"encoder: {(time.perf_counter() - started) / len(rows.texts):.2f} s a reply")
    for name in (*LABELS, "preference"):
        predicted = unseen_predictions(vectors, rows.labels[name], rows.topics)
        print(validity(f"encoder, {name}", predicted, rows.labels[name], rows))
        print(validity(f"length, {name}", lengths, rows.labels[name], rows))
    if given.model is None:
        return
    get_model(given.model)
    part = rows.drawn(given.own, given.seed)
    asked = (("preference", ("encouragement", "preference")), ("influence_binary", ("harm",)))
    for judging in given.judging:
        for name, labels in asked:
            show_own(given.model, part, name, labels, judging)


def show_own(model: str, part: LabelledReplies, name: str, labels: Sequence[str], judging: str) -> None:
    """Print how well a model that is asked one question agrees with labels."""
    started = time.perf_counter()
    said = own_judgements(model, part, name, judging)
    seconds = (time.perf_counter() - started) / len(part.texts)
    without = int(np.isnan(said).sum())
    told = f"{model}, {name}, {judging}: {seconds:.1f} s a reply, {without} of {len(said)} without a number"
    if without == len(said):
        print(told)
        return
    print(f"{told}, from {np.nanmin(said):.2f} to {np.nanmax(said):.2f}")
    for label in labels:
        print(validity(f"{name} as {label}", said, part.labels[label], part))


if __name__ == "__main__":
    main()
