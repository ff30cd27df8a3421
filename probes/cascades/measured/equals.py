"""From which budget on a cascade is as good as the judge alone: a test that may say that we do not know."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from probes.cascades.measured.points import JUDGE, PROBE, Point


class Equal(NamedTuple):
    """What the points of one cascade say, at budgets from the largest down."""

    cheapest: Point | None
    """With the smallest budget that is not worse than the judge alone by more than the margin, and neither is
    any larger one; the probe alone, if that is so too; None if even the largest may be."""

    undecided: Point | None
    """With the smallest budget at which no difference is seen, which does not show that there is none."""

    margin: float

    def told(self, budget_of: str = "budget") -> str:
        """One or two sentences."""
        lines: list[str] = []
        if self.cheapest is None:
            lines.append(
                f"At no budget is it shown that the cascade is at most {self.margin:g} AUROC worse than the "
                "judge alone: the lower end of the paired difference lies below that everywhere."
            )
        elif self.cheapest.name == PROBE:
            lines.append(
                f"The probe alone is not worse than the judge alone by more than {self.margin:g} AUROC "
                f"({_shown(self.cheapest)}), nor is the cascade at any budget: there is nothing to equal."
            )
        else:
            lines.append(
                f"Not worse than the judge alone by more than {self.margin:g} AUROC from {budget_of} "
                f"{self.cheapest.budget:g} on ({_shown(self.cheapest)})."
            )
        other = self.undecided
        if other is not None and (self.cheapest is None or other.budget != self.cheapest.budget):
            lines.append(
                f"At {budget_of} {other.budget:g} no difference is seen ({_shown(other)}), which is not "
                "evidence that there is none."
            )
        return " ".join(lines)


def equals_judge(points: Sequence[Point], margin: float) -> Equal:
    """The cheapest point that equals the judge alone.

    Points are tested from the largest budget down, and the first that fails ends it: each at the whole
    level of 2.5 % (the lower end of a 95 % interval of the paired difference), and the chance that any that
    passes is worse by the margin is no larger than that.

    Source: fixed-sequence testing, Maurer, Hothorn and Lehmacher 1995; non-inferiority as in Piaggio et al.
    2012 (JAMA 308(24)).

    Args:
        points: Of one strategy and merge on one data set or mean, at several budgets, and the probe alone,
            which asks nobody and is tested last.
        margin: Of the AUROC, above 0.
    """
    ordered = sorted((p for p in points if p.name != JUDGE), key=lambda p: -(p.budget or 0.0))
    cheapest: Point | None = None
    for point in ordered:
        low = point.against_judge.low
        if math.isnan(low) or low <= -margin:
            break
        cheapest = point
    unseen = [p for p in ordered if p.name != PROBE and p.against_judge.p > 0.05]
    return Equal(cheapest, unseen[-1] if unseen else None, margin)


def _shown(point: Point) -> str:
    found = point.against_judge
    return (
        f"{100 * point.asked.value:.0f} % asked; difference {found.value:+.3f} "
        f"[{found.low:+.3f}, {found.high:+.3f}]"
    )
