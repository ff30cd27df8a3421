"""The page of results, and what is printed of it: names that others gave stay names."""

from collections import defaultdict
from html.parser import HTMLParser
from typing import Any, NamedTuple, cast

from analysis.ranking import Compared as Difference
from analysis.ranking import Ranked
from probes.evaluation.comparisons import Compared
from probes.evaluation.evaluation_data import EvaluationSet
from probes.evaluation.pages.results_page import ResultFile, headline, results_page
from probes.evaluation.pages.results_sections import Found
from probes.evaluation.pooled import notes_of
from probes.evaluation.results import SHUFFLED
from probes.evaluation.transfer import SAVED, Transferred
from probes.evaluation.within import Within, told_of

EVIL = "x\n| evil | 1 |\n\n<img src=y> [here](javascript:z)\x1b[31m"
SHOWN = r"x \| evil \| 1 \| &lt;img src=y&gt; [here]\(javascript:z) [31m"
HALF = Ranked(0.5, 0.4, 0.6)


class Elements(HTMLParser):
    """What a page is made of."""

    def __init__(self):
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src") and value]
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_data(self, data):
        self.texts.append(data)


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


def test_in_the_terminal_names_of_others_make_no_row_tag_link_or_code():
    page = headline(whole())
    assert page.count("evil") == page.count(SHOWN) > 10
    assert "\x1b" not in page
    assert "<img" not in page
    assert not any(row.startswith("| evil") for row in page.splitlines())


def test_in_the_page_names_of_others_make_no_element_and_nothing_is_asked_of_another_host():
    page = results_page(whole(), files=[ResultFile(f"tokens-{EVIL}.html", EVIL)])
    read = Elements()
    read.feed(page)
    # every name stands in the text of a cell or heading, and no element was made of one
    assert sum(text.count("<img src=y>") for text in read.texts) == page.count("&lt;img src=y&gt;") > 10
    assert "img" not in read.tags
    assert "script" not in read.tags
    assert not [link for link in read.links if not link.startswith(("#", "tokens-"))]
    assert "default-src 'none'" in page


def test_the_page_has_every_table_once_with_a_place_that_the_list_at_the_top_leads_to():
    read = Elements()
    read.feed(results_page(whole()))
    places = [link.removeprefix("#") for link in read.links if link.startswith("#")]
    assert sorted(places) == sorted(read.ids)
    assert len(set(places)) == len(places) > 9
    assert read.tags.count("table") == 10


def test_names_in_notes_stay_names():
    (note,) = notes_of({EVIL: []})
    assert note == f"{EVIL} is the mean of the calibrated logits of ."
    (note,) = whole().notes
    assert note.startswith(f"{EVIL}: the AUROC 0.500 of {EVIL} owes something to {EVIL}, ")
    assert headline(whole()).startswith(f"{SHOWN}: the AUROC 0.500 of {SHOWN} owes something to {SHOWN}, ")
