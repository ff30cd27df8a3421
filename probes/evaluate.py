"""Evaluates monitors on captured data sets, beside controls.

    python probes/evaluate.py --monitors monitors/* --data activations/mt activations/synthetic:split=test \\
        --train activations/synthetic:split=train --by language --out results

Writes results.json (a row for every monitor and control on every data set and part of it), evaluation.json
(data sets, comparisons, thresholds elsewhere), results.html and figures. Controls that are fitted (words,
shuffled labels) need --train, the rows that the monitors were fitted on.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from analysis.figures.panels import Drawn
from analysis.ranking import Ranked
from probes.activations.whole_files import StoreError, write_whole
from probes.evaluation import comparisons, results
from probes.evaluation.beside.changed_sets import drops, drops_section, read_pairs
from probes.evaluation.beside.foreign_rows import (
    check_names,
    costs_section,
    foreign_comparisons,
    foreign_rows,
    lines_beside,
)
from probes.evaluation.beside.foreign_scores import ForeignScores, read_foreign
from probes.evaluation.comparisons import MEAN
from probes.evaluation.evaluate_settings import EvaluateSettings
from probes.evaluation.evaluation_data import EvaluationSet
from probes.evaluation.inputs import WORDS, EvaluationInputs, read_inputs
from probes.evaluation.metrics import usable_rows
from probes.evaluation.pages.figures import (
    DOTS_TELL,
    Bin,
    Dot,
    Line,
    draw_dots,
    draw_lengths,
    draw_reliability,
    draw_roc,
)
from probes.evaluation.pages.results_page import ResultFile, headline, results_page
from probes.evaluation.pages.results_sections import Found
from probes.evaluation.pages.token_texts import conversation_texts
from probes.evaluation.pooled import pooled
from probes.evaluation.results import LENGTH, SHUFFLED, ResultRow
from probes.evaluation.scored import (
    Scored,
    ShuffledLogits,
    length_control,
    score_monitors,
    shuffled_controls,
    word_control,
    write_score_rows,
)
from probes.evaluation.transfer import transfer
from probes.evaluation.within import told_of, within_facts
from probes.token_page import choose, write_token_page
from scenarios.commands.command_line import read_settings
from scenarios.commands.exits import exit_status

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RESULTS, DETAILS, PAGE = "results.json", "evaluation.json", "results.html"
MOST_SHOWN = 4


def evaluate(settings: EvaluateSettings, *, progress: bool = False) -> Found:
    """Score, measure, compare, and write everything to `settings.out`.

    Raises:
        MonitorError: A folder without a monitor; a monitor for other activations than a data set has.
        StoreError: Data sets that cannot be read; a full disk.
        ValueError: A reference, fact or monitor to show that does not exist; activations that are not finite;
            a tokenizer that is not there; training rows that nothing can be fitted on.
    """
    material = read_inputs(settings)
    sets, monitors = material.sets, material.monitors
    foreign = read_foreign(settings.beside, sets)
    check_names([one.name for one in foreign], [named.name for named in monitors])
    pairs = read_pairs(settings.changed, sets)
    with tqdm(total=4, desc="monitors", disable=None if progress else True, leave=False) as bar:
        scored = score_monitors(monitors, sets, device=settings.device)
        scored += pooled(material.pools, scored)
        bar.update()
        bar.set_description("controls")
        scored += _controls(settings, material)
        shuffled = _shuffled(settings, material)
        bar.update()
        bar.set_description("metrics")
        rows = results.whole_rows(scored, sets, settings.length_edges)
        rows += results.mean_rows(scored, sets)
        rows += (beside := foreign_rows(foreign, sets))
        rows += results.shuffled_rows(shuffled, sets)
        rows += results.part_rows(scored, sets, settings.parts, settings.length_edges)
        monitored = {one.name for one in scored if one.control is None}
        within = within_facts(scored, sets, settings.within, settings.seed)
        bar.update()
        bar.set_description("comparisons")
        reference = next(
            one for one in scored if settings.reference is None or one.name == settings.reference
        )
        compared = comparisons.compare(scored, reference, sets)
        compared += foreign_comparisons(foreign, reference, sets)
        dropped = drops({one.name: one.logits for one in [*scored, *foreign]}, pairs, sets)
        bar.update()
    found = Found(
        sets,
        rows,
        results.over_seeds(rows, scored),
        transfer(scored, sets),
        compared,
        _shown(settings, scored, rows),
        material.notes + _classes(sets) + _below_chance(rows) + told_of(within, monitored),
        within,
        [*([costs_section(beside)] if beside else []), *([drops_section(dropped)] if dropped else [])],
        [one.row() for one in dropped],
    )
    if settings.scores is not None:
        write_score_rows(settings.scores, sets, scored)
    figures = _draw(settings.out, found, scored, foreign) if settings.figures else []
    tokenizer = material.tokenizer if settings.token_rows else None
    pages = [] if tokenizer is None else _token_pages(settings, material, tokenizer, found, scored)
    _write(settings, found, figures, pages)
    return found


def _classes(sets: Sequence[EvaluationSet]) -> list[str]:
    notes = []
    for data in sets:
        usable = usable_rows(data.labels)
        if not usable.both_classes:
            notes.append(
                f"{data.name} has {usable.n_positive} positive and "
                f"{usable.n_negative} negative rows: nothing can be ranked there, and it is not in any mean."
            )
    return notes


def _below_chance(rows: Sequence[ResultRow]) -> list[str]:
    """Whatever ranks the wrong way round on a whole data set, by more than its interval allows."""
    notes = []
    for row in rows:
        if row["by"] is None and row["auroc_high"] is not None and row["auroc_high"] < 0.5:
            what = "control" if row["control"] is not None else "monitor"
            name = SHUFFLED if row["control"] == SHUFFLED else row["monitor"]
            of = f" of {row['monitor']}" if row["control"] == SHUFFLED else ""
            where = "in the mean" if row["dataset"] == MEAN else f"on {row['dataset']}"
            notes.append(
                f"{what} {name}{of} ranks below chance {where}, AUROC {row['auroc']:.3f}: turned round it "
                f"would have {1 - row['auroc']:.3f}, which is what others are to be compared with."
                if row["control"] != SHUFFLED
                else f"{what} {name}{of} ranks below chance {where}, AUROC {row['auroc']:.3f}: labels of "
                "training and test data are not independent, e.g. pairs of which each half tells the other."
            )
    return notes


def _controls(settings: EvaluateSettings, material: EvaluationInputs) -> list[Scored]:
    wanted = settings.wanted_controls
    found = [length_control(material.sets)] if "length" in wanted else []
    words = [control for control in WORDS if control in wanted]
    if not words or material.train is None or material.tokenizer is None:
        return found
    train = material.train
    own = train.entry.layers_of(train.keys)[:1]
    train_texts = conversation_texts(material.tokenizer, train.entry.open(train.keys, own))
    texts = [
        conversation_texts(material.tokenizer, data.activations(data.entry.layers_of(data.keys)[:1]))
        for data in material.sets
    ]
    for control in words:
        kind = "tfidf" if control == "tfidf" else "bag_of_words"
        found.append(word_control(kind, train, train_texts, texts, settings.seed))
    return found


def _shuffled(settings: EvaluateSettings, material: EvaluationInputs) -> list[ShuffledLogits]:
    if SHUFFLED not in settings.wanted_controls or material.train is None:
        return []
    return shuffled_controls(
        material.monitors,
        material.train,
        material.sets,
        permutations=settings.permutations,
        seed=settings.seed,
        device=settings.device,
    )


def _shown(settings: EvaluateSettings, scored: Sequence[Scored], rows: Sequence[ResultRow]) -> list[str]:
    """Those asked for, or the best of each head by AUROC, at most four."""
    if settings.show:
        return list(settings.show)
    means = {
        row["monitor"]: row["auroc"] for row in rows if row["dataset"] == MEAN and row["control"] is None
    }
    if not means:
        means = {row["monitor"]: row["auroc"] for row in rows if row["by"] is None and row["control"] is None}
    ranked = sorted(
        (one for one in scored if one.control is None), key=lambda one: -(means.get(one.name) or 0.0)
    )
    best: dict[str, str] = {}
    for one in ranked:
        best.setdefault(one.name if one.of is None else one.of.monitor.card.head, one.name)
    return list(best.values())[:MOST_SHOWN]


def _write(
    settings: EvaluateSettings, found: Found, figures: Sequence[Drawn], pages: Sequence[ResultFile]
) -> None:
    details = {
        "settings": settings.model_dump(mode="json"),
        "datasets": [
            {
                "name": data.name,
                "path": str(data.path),
                "source": data.source,
                "spec": data.spec.key,
                "rows": len(data.rows),
                "groups": len(set(data.groups)),
                "where": settings.where,
                "excluded": data.excluded,
                "not_captured": data.left_out,
            }
            for data in found.sets
        ],
        "notes": found.notes,
        "over_seeds": found.seeds,
        "within": [one.row() for one in found.within],
        "comparisons": [one.row() for one in found.compared],
        "thresholds": [one.row() for one in found.transferred],
        "changed": list(found.changed),
    }
    for name, value in ((RESULTS, found.rows), (DETAILS, details)):
        write_whole(
            settings.out / name, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        )
    files = [
        ResultFile(RESULTS, "a row for every monitor and control on every data set and part of it"),
        ResultFile(DETAILS, "data sets, comparisons, thresholds elsewhere, settings"),
        *pages,
    ]
    write_whole(settings.out / PAGE, results_page(found, figures, files))


def _draw(out: Path, found: Found, scored: Sequence[Scored], foreign: Sequence[ForeignScores]) -> list[Drawn]:
    shown = [one for name in found.shown for one in scored if one.name == name]
    controls = [one for one in scored if one.control is not None]
    lines = {
        data.name: {
            one.name: Line(data.labels, one.logits[i], data.groups, one.control is not None)
            for one in [*shown, *controls]
        }
        for i, data in enumerate(found.sets)
    }
    beside = lines_beside(foreign, found.sets, MOST_SHOWN)
    roc = {name: lines[name] | beside[name] for name in lines}
    ranks = "How monitors rank conversations"
    drawn = [draw_roc(roc, out / "roc.svg", title=f"{ranks}, logarithmic axis")]
    drawn.append(draw_roc(roc, out / "roc_linear.svg", title=f"{ranks}, linear axis", log_x=False))
    monitors = {name: {k: line for k, line in of.items() if not line.control} for name, of in lines.items()}
    believed = "How far probabilities can be believed"
    drawn.append(draw_reliability(monitors, out / "reliability.svg", title=believed))
    names = [one.name for one in [*shown, *controls]]
    bins = {data.name: _bins(found.rows, data.name, names) for data in found.sets}
    of_controls = [one.name for one in controls]
    title = "Short and long conversations"
    drawn.append(draw_lengths(bins, out / "lengths.svg", title=title, controls=of_controls))
    squares = "; squares: asked or fine-tuned models" if foreign else ""
    dots = draw_dots(
        _dots(found, scored, {one.name for one in foreign}),
        out / "monitors.svg",
        title="Monitors and controls",
        subtitle=f"{DOTS_TELL}{squares}",
    )
    return drawn if dots is None else [dots, *drawn]


def _bins(rows: Sequence[ResultRow], dataset: str, names: Sequence[str]) -> dict[str, list[Bin]]:
    found: dict[str, list[Bin]] = {}
    for row in rows:
        if row["by"] == LENGTH and row["dataset"] == dataset and row["monitor"] in names:
            found.setdefault(row["monitor"], []).append(Bin(row["value"], _ranked(row), row["n"]))
    return {name: found[name] for name in names}


def _dots(
    found: Found, scored: Sequence[Scored], foreign: Collection[str]
) -> dict[str, dict[str, list[Dot]]]:
    """Seeds of a head in one row, controls below all others."""
    labels: dict[str, str] = {}
    for one in scored:
        name = one.name
        if one.of is not None and one.of.seed is not None:
            name = one.name.removesuffix(f"-seed{one.of.seed}")
        labels[one.name] = name
    dots: dict[str, dict[str, list[Dot]]] = {}
    for row in sorted(found.rows, key=lambda row: row["control"] is not None):
        ranked = _ranked(row)
        if row["by"] is None and ranked is not None:
            shuffled = row["control"] == SHUFFLED
            monitor = str(labels.get(row["monitor"], row["monitor"]))  # those beside have no seeds
            name = f"shuffled, {monitor}" if shuffled else monitor
            if not shuffled or row["monitor"] in found.shown:
                own = dots.setdefault(name, {}).setdefault(row["dataset"], [])
                own.append(Dot(ranked, row["control"] is not None, row["monitor"] in foreign))
    return dots


def _ranked(row: ResultRow) -> Ranked | None:
    if row["auroc"] is None:
        return None
    ends = [float("nan") if row[end] is None else row[end] for end in ("auroc_low", "auroc_high")]
    return Ranked(row["auroc"], *ends)


def _token_pages(
    settings: EvaluateSettings,
    material: EvaluationInputs,
    tokenizer: "PreTrainedTokenizerBase",
    found: Found,
    scored: Sequence[Scored],
) -> list[ResultFile]:
    best = next(one for name in found.shown for one in scored if one.name == name and one.of is not None)
    assert best.of is not None
    pages: list[ResultFile] = []
    for data, logits in zip(material.sets, best.logits, strict=True):
        rows = choose(data.labels, logits, best.threshold, settings.token_rows)
        name = data.name.replace(":", "_").replace("=", "_").replace(",", "_")
        file = ResultFile(f"tokens-{name}.html", f"conversations of {data.name}, tokens coloured by score")
        write_token_page(best.of, data, rows, tokenizer, settings.out / file.name)
        pages.append(file)
    return pages


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(
        lambda: _evaluate(read_settings(EvaluateSettings, arguments, __doc__ or "")),
        kept="results are written at the end; the same command begins anew",
        mistakes=(StoreError, ValueError),
    )


def _evaluate(settings: EvaluateSettings) -> int:
    found = evaluate(settings, progress=True)
    print(headline(found))
    print(
        f"\n{RESULTS}, {DETAILS}, {PAGE}" + (" and figures" if settings.figures else "") + f": {settings.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
