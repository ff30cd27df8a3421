"""Cascades, and rows for them whose best decision is known."""

from probes.cascades.merging import MergeRule
from probes.cascades.saved import Cascade, FirstMonitor, FittedOn, Stage
from probes.cascades.scales import ScoreScale


def a_cascade(**changed) -> Cascade:
    """One stage, a band from .2 to .6."""
    return Cascade(
        **{
            "detects": "high stakes",
            "monitor": FirstMonitor(
                name="mean-layer2", scale=ScoreScale(name="isotonic", knots=[(-1.0, 0.1), (2.0, 0.9)])
            ),
            "stages": [
                Stage(
                    judge="likelihood default",
                    scale=ScoreScale(name="platt", slope=1.5, offset=-0.25),
                    low=0.2,
                    high=0.6,
                    merge=MergeRule(name="weighted-logits", weight=0.4),
                )
            ],
            "strategy": "uncertainty",
            "budget": 0.2,
            "asked": 0.19,
            "threshold": 0.8,
            "asked_fpr": 0.01,
            "fitted_on": FittedOn(datasets=["mts"], rows=10, positive=4, groups=9, digest="00" * 8),
        }
        | changed
    )
