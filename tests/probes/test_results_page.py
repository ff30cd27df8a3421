"""The page of results, and what is printed of it: names that others gave stay names."""

from collections import defaultdict
from typing import Any, NamedTuple, cast

import pytest

from analysis.ranking import Compared as Difference
from analysis.ranking import Ranked
from probes.evaluation.comparisons import Compared
from probes.evaluation.evaluation_data import EvaluationSet
from probes.evaluation.pages.results_page import Found, headline, results_page
from probes.evaluation.pooled import notes_of
from probes.evaluation.results import SHUFFLED
from probes.evaluation.transfer import SAVED, Transferred
from probes.evaluation.within import Within, told_of

EVIL = "x\n| evil | 1 |\n\n<img src=y> [here](javascript:z)\x1b[31m"
SHOWN = r"x \| evil \| 1 \| &lt;img src=y&gt; [here]\(javascript:z) [31m"
HALF = Ranked(0.5, 0.4, 0.6)


class Set(NamedTuple):
    """As much of a data set as the page asks for."""

    name: str
    excluded: dict[str, int]
    left_out: dict[str, int]
    groups: list[str]
    labels: list[float]


def line(**cells: Any) -> dict[str, Any]:
    """A row of `results.json` of which everything that is not given is missing."""
    about = {"monitor": EVIL, "dataset": EVIL, "control": None, "by": None, "value": None, "n": 4}
    counts = {"n_positive": 2, "n_negative": 2, "n_ambiguous": 1, "recall_at_1pct_fpr": 0.5, "fpr_high": 0.9}
    return defaultdict(lambda: None, about | counts | {"auroc": 0.5} | cells)


def whole() -> Found:
    """Every section, with the name of everything from somebody else."""
    difference = Difference(0.2, 0.1, 0.3, 0.01)
    within = Within(EVIL, EVIL, EVIL, 4, 1, 2, 1, 0.5, HALF, HALF, difference, HALF)
    seeds = {"seeds": [0, 1], "head": EVIL, "layer": 3, "auroc_lowest": 0.4, "auroc_highest": 0.6}
    return Found(
        sets=[cast(EvaluationSet, Set(EVIL, {EVIL: 1}, {EVIL: 2}, ["a", "b", "c", "d"], [0, 0, 1, 1]))],
        rows=[line(), line(control=SHUFFLED), line(by=EVIL, value=EVIL), line(dataset="mean")],
        seeds=[line(**seeds)],
        transferred=[Transferred(EVIL, of, EVIL, 0.1, HALF, HALF, 2, 2) for of in (EVIL, SAVED)],
        compared=[Compared(EVIL, EVIL, EVIL, difference, 0.1)],
        shown=[EVIL],
        notes=told_of([within], [EVIL]),
        within=[within],
    )


@pytest.mark.parametrize("text_of", [results_page, headline])
def test_names_of_others_make_no_row_tag_link_or_code_of_a_terminal(text_of):
    page = text_of(whole())
    assert page.count("evil") == page.count(SHOWN) > 10
    assert "\x1b" not in page
    assert "<img" not in page
    assert not any(row.startswith("| evil") for row in page.splitlines())


def test_names_in_notes_stay_names():
    (note,) = notes_of({EVIL: []})
    assert note == f"{SHOWN} is the mean of the calibrated logits of ."
    (note,) = whole().notes
    assert note.startswith(f"**{SHOWN}**: the AUROC 0.500 of {SHOWN} owes something to {SHOWN}, ")
    assert "\n" not in note
