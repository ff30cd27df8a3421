"""How far several judges, people among them, agree about the same conversations.

python scorers/agreement.py LOG                     every set of scores that answer the same question
python scorers/agreement.py LOG --raters influence,influence1,human/anna
python scorers/agreement.py LOG RESCORED_COPY --raters preference
python scorers/agreement.py LOG --between-epochs    a judge with itself, of conversations that it rated again
python scorers/agreement.py RUN_FOLDER              the iterations of a run, or any folder of logs

A second judge of the same question:
inspect score LOG --scorer scorers/influence.py --model-role influence=MODEL --action append
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import sys
from collections.abc import Hashable, Sequence
from itertools import combinations
from pathlib import Path
from typing import get_args

import numpy as np
from pydantic import BaseModel, Field

from analysis.agreement import (
    Estimate,
    Floats,
    Level,
    Statistic,
    alpha,
    estimate,
    measured,
    pearson,
    spearman,
)
from analysis.intervals import Interval, mean_interval, scale_interval, share_interval
from analysis.scales import DEGREES, SHARES
from analysis.values import Values
from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser
from scenarios.files.terminal import without_controls
from scenarios.files.whole import write_text
from scenarios.schema import Scale, ends_of
from scorers.judging.scales import ANSWERS
from scorers.people.raters import Judged, Rater, RatingsError, asked_again, comparable, named
from scorers.people.ratings import read_judged

MARK = "†"
"""Beside intervals that are likely too narrow."""


class RaterFigures(BaseModel):
    """How much one rater rated."""

    name: str
    judged_by: list[str]
    scale: Scale | None
    scored: int
    unscored: int
    """Asked, but without a usable answer."""

    not_rated: int
    """Conversations without this score."""

    mean: Estimate


class PairFigures(BaseModel):
    """Agreement of two raters over the conversations that both rated."""

    first: str
    second: str
    alpha: Estimate
    pearson: Estimate
    spearman: Estimate
    bias: Estimate
    """Mean of second minus first, on their scale."""

    same_class: Estimate
    """Share of the conversations for which both are nearest to the same answer of the scale."""

    classes: list[str] = Field(default_factory=list)
    confusion: list[list[int]] = Field(default_factory=list)
    """Conversations by class of `first` (rows) and `second` (columns)."""


class Agreement(BaseModel):
    """Agreement of one set of raters."""

    raters: list[RaterFigures]
    scale: Scale | None
    """None if it is unknown or not the same for all."""

    alpha: dict[Level, Estimate]
    pairs: list[PairFigures]


class AgreementReport(BaseModel):
    """Agreement of the raters in some logs."""

    title: str
    sets: list[Agreement]
    conversations: int
    states: int
    notes: list[str] = Field(default_factory=list)
    """What was left out, and which logs are not whole."""


def agreement(
    judged: Judged,
    raters: Sequence[str] = (),
    *,
    level: Level | None = None,
) -> AgreementReport:
    """Agreement of the named raters, or of every set of raters that were asked the same.

    Args:
        judged: All ratings of some logs.
        raters: Names; none: every set that can be compared.
        level: Level of measurement of alpha. By default `interval`, and on scales of shares also
            `nominal`, of ratings cut at 0.5.

    Raises:
        RatingsError: A name is unknown, or nothing can be compared.
    """
    if any(rater.epoch is not None for rater in judged.raters) and not raters:
        groups = asked_again(judged.raters)
        if not groups:
            raise RatingsError(
                "no conversation was rated in two epochs by one judge; ask again with "
                "`inspect eval ... --epochs 2`"
            )
    else:
        groups = [named(judged.raters, raters)] if raters else comparable(judged.raters)
    if not groups:
        there = ", ".join(dict.fromkeys(r.name for r in judged.raters))
        raise RatingsError(
            "no two scores answer the same question on the same scale about the same conversations; name "
            f"some with --raters ({there}), or add a judge with `inspect score --action append`"
        )
    sets = [_Set(judged, group).figures(level) for group in groups]
    return AgreementReport(
        title=judged.title,
        sets=sets,
        conversations=len(judged.units),
        states=len(set(judged.units.values())),
        notes=judged.notes,
    )


class _Set:
    """One set of raters as a matrix."""

    def __init__(self, judged: Judged, raters: Sequence[Rater]) -> None:
        self.raters = raters
        names = [r.name for r in raters]
        self.names = [f"{r.name} ({r.log})" if names.count(r.name) > 1 else r.name for r in raters]
        self.ratings: Floats = np.array([[r.values.get(u, np.nan) for u in judged.units] for r in raters])
        self.states = np.array(list(judged.units.values()))
        ranges = {ends_of(r.asked.scale) if r.asked.scale else None for r in raters}
        self.one_scale = len(ranges) == 1
        self.scale: Scale | None = raters[0].asked.scale if self.one_scale else None

    def figures(self, level: Level | None) -> Agreement:
        default: list[Level] = ["nominal", "interval"] if self.scale in SHARES else ["interval"]
        levels: list[Level] = [level] if level else default
        alphas: dict[Level, Estimate] = {name: self._alpha(self.ratings, name) for name in levels}
        pairs = combinations(range(len(self.raters)), 2)
        return Agreement(
            raters=[self._rater(i) for i in range(len(self.raters))],
            scale=self.scale,
            alpha=alphas,
            pairs=[self._pair(i, j, levels[-1]) for i, j in pairs],
        )

    def _estimate(self, statistic: Statistic, ratings: Floats, kept: np.ndarray, undefined: str) -> Estimate:
        return estimate(
            statistic,
            _classes(ratings[:, kept], self.scale),
            self.states[kept].tolist(),
            undefined=undefined if kept.any() else "no conversation has the ratings it needs",
        )

    def _mean(self, values: Floats, kept: np.ndarray, scale: Scale | None) -> Estimate:
        if not kept.any():
            return Estimate(n=0, problem="nothing is scored")
        return measured(Values(values[kept].tolist(), self.states[kept].tolist(), scale).interval())

    def _rater(self, place: int) -> RaterFigures:
        rater, row = self.raters[place], self.ratings[place]
        known = ~np.isnan(row)
        return RaterFigures(
            name=self.names[place],
            judged_by=rater.models,
            scale=rater.asked.scale,
            scored=int(known.sum()),
            unscored=len(rater.values) - int(known.sum()),
            not_rated=len(row) - len(rater.values),
            mean=self._mean(row, known, rater.asked.scale),
        )

    def _alpha(self, ratings: Floats, level: Level) -> Estimate:
        kept = np.sum(~np.isnan(ratings), axis=0) >= 2
        if not self.one_scale:
            return self._scales_differ(kept)
        values = _classes(ratings, self.scale) if level == "nominal" else ratings
        return self._estimate(alpha(values[:, kept], level), ratings, kept, "all ratings are equal")

    def _pair(self, i: int, j: int, level: Level) -> PairFigures:
        first, second = self.ratings[i], self.ratings[j]
        ratings = self.ratings[[i, j]]
        both = ~np.isnan(first) & ~np.isnan(second)
        x, y = first[both], second[both]
        constant = "a rater's ratings are all equal"
        found = PairFigures(
            first=self.names[i],
            second=self.names[j],
            alpha=self._alpha(ratings, level),
            pearson=self._estimate(pearson(x, y), ratings, both, constant),
            spearman=self._estimate(spearman(x, y), ratings, both, constant),
            bias=self._scales_differ(both),
            same_class=self._scales_differ(both),
        )
        if not self.one_scale:
            return found
        if not both.any():
            return found.model_copy(update=_nothing_shared())
        states = self.states[both].tolist()
        found.bias = measured(_bias(x, y, states, self.scale))
        if self.scale is None:
            found.same_class = Estimate(n=int(both.sum()), problem="the scale is unknown")
            return found
        one, two = _classes(x, self.scale), _classes(y, self.scale)
        found.same_class = measured(share_interval((one == two).astype(np.float64).tolist(), states))
        answers = sorted(set(ANSWERS[self.scale].values()))
        found.classes = [f"{a:g}" for a in answers]
        found.confusion = [[int(np.sum((one == a) & (two == b))) for b in answers] for a in answers]
        return found

    def _scales_differ(self, kept: np.ndarray) -> Estimate:
        scales = ", ".join(str(r.asked.scale or "an unknown scale") for r in self.raters)
        return Estimate(n=int(kept.sum()), problem=f"the scales differ ({scales})")


def _nothing_shared() -> dict[str, Estimate]:
    nothing = Estimate(n=0, problem="no conversation has the ratings it needs")
    return {"bias": nothing, "same_class": nothing}


def _bias(first: Floats, second: Floats, states: Sequence[Hashable], scale: Scale | None) -> Interval:
    """Mean of second less first; each lies between minus and plus the width of the scale."""
    differences = (second - first).tolist()
    if scale is None:
        return mean_interval(differences, states)
    low, high = ends_of(scale)
    width = high - low
    if max(map(abs, differences)) > width:
        return mean_interval(differences, states)
    return scale_interval(differences, states, (-width, width), spread=scale not in DEGREES)


def _classes(values: Floats, scale: Scale | None) -> Floats:
    """The nearest answers of the scale, the upper one in the middle; NaN stays."""
    if scale is None:
        return values
    return np.clip(np.floor(values + 0.5), *ends_of(scale))


# -- as text --------------------------------------------------------------------------------------


def describe(report: AgreementReport) -> list[str]:
    """The lines of a report."""
    lines = ["", report.title]
    for figures in report.sets:
        lines += _described(figures)
    return [*lines, "", *_notes(report)]


def _described(figures: Agreement) -> list[str]:
    width = max(len(r.name) for r in figures.raters) + 2
    head = f"{'scale':<8}{'mean':<22}{'scored / unscored / not rated':<32}judged by"
    lines = ["", f"  {'':<{width}}{head}"]
    for r in figures.raters:
        counts = f"{r.scored} / {r.unscored} / {r.not_rated}"
        judges = ", ".join(r.judged_by) or "the log does not say"
        lines.append(f"  {r.name:<{width}}{r.scale or '?':<8}{_cell(r.mean):<22}{counts:<32}{judges}")
    lines.append("")
    for level, found in figures.alpha.items():
        of = " of the nearest answers" if level == "nominal" else ""
        rated = f"{found.n} conversations with two ratings or more"
        lines.append(f"  {f'{level} alpha{of}':<38}{_cell(found):<22}{rated}")
    lines += _pair_table(figures)
    for pair in figures.pairs:
        lines += _confusion(pair)
    return lines


def _pair_table(figures: Agreement) -> list[str]:
    names = [f"{p.second} - {p.first}" for p in figures.pairs]
    width = max(map(len, names)) + 2
    heads = [f"{list(figures.alpha)[-1]} alpha", "Pearson", "Spearman", "bias", "same answer"]
    lines = ["", f"  {'':<{width}}{''.join(f'{head:<22}' for head in heads)}rated by both"]
    for name, p in zip(names, figures.pairs, strict=True):
        cells = [_cell(e) for e in (p.alpha, p.pearson, p.spearman)]
        cells += [_cell(p.bias, signed=True), _cell(p.same_class)]
        lines.append(f"  {name:<{width}}{''.join(f'{cell:<22}' for cell in cells)}{p.pearson.n}")
    return lines


def _confusion(pair: PairFigures) -> list[str]:
    if not pair.classes:
        return []
    lines = ["", f"  {pair.first} (down), {pair.second} (across): conversations by nearest answer"]
    lines.append("  " + "".join(f"{name:>6}" for name in ["", *pair.classes]))
    for name, row in zip(pair.classes, pair.confusion, strict=True):
        lines.append("  " + f"{name:>6}" + "".join(f"{n or '.':>6}" for n in row))
    return lines


def _cell(found: Estimate, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    if found.value is None:
        return "undefined"
    if found.low is None:
        return f"{found.value:{sign}.2f}"
    mark = MARK if found.doubt else ""
    return f"{found.value:{sign}.2f} [{found.low:{sign}.2f}, {found.high:{sign}.2f}]{mark}"


def _notes(report: AgreementReport) -> list[str]:
    estimates = [e for s in report.sets for e in _estimates(s)]
    lines = [
        "  95 % intervals, clustered by initial state. Bias: mean difference.",
        "  Ratings that are missing or unscored are left out, never filled in.",
    ]
    lines += [f"  {note}" for note in report.notes]
    for problem in dict.fromkeys(e.problem for e in estimates if e.problem):
        lines.append(f"  undefined: {problem}")
    for doubt in dict.fromkeys(e.doubt for e in estimates if e.doubt and e.low is not None):
        lines.append(f"  {MARK} {doubt}: the interval is likely too narrow.")
    if any("miniature/" in model for s in report.sets for r in s.raters for model in r.judged_by):
        lines.append(
            "  The miniature is a demonstration world: these numbers are no evidence about real models."
        )
    return lines


def _estimates(figures: Agreement) -> list[Estimate]:
    of_pairs = [e for p in figures.pairs for e in (p.alpha, p.pearson, p.spearman, p.bias, p.same_class)]
    return [*(r.mean for r in figures.raters), *figures.alpha.values(), *of_pairs]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(lambda: _print_agreement(_options(arguments)), mistakes=(RatingsError,))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    parser.add_argument("logs", nargs="+", help=".eval or .json logs, or folders with them")
    parser.add_argument("--raters", default="", help="names of scores, comma separated")
    parser.add_argument(
        "--between-epochs",
        action="store_true",
        help="each judge with itself: epochs of one conversation, of tasks that judge what is given",
    )
    parser.add_argument("--level", choices=get_args(Level), help="level of measurement of alpha")
    parser.add_argument("--json", help="file for the figures")
    for flag in ("--resamples", "--seed"):
        parser.add_argument(flag, type=int, help="of no effect: intervals are formulas and draw nothing")
    return parser.parse_args(arguments)


def _print_agreement(options: argparse.Namespace) -> int:
    names = [name.strip() for name in options.raters.split(",") if name.strip()]
    judged = read_judged(options.logs, between_epochs=options.between_epochs)
    report = agreement(judged, names, level=options.level)
    print("\n".join(map(without_controls, describe(report))))
    if options.json:
        write_text(Path(options.json), report.model_dump_json(indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
