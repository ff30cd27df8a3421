"""How far the judges can be relied on, and what they gave no number for."""

from collections.abc import Iterator
from typing import Any

from analysis.agreement import Estimate
from analysis.reporting.evaluations import Evaluation
from analysis.reporting.gathering import Material
from analysis.reporting.judges import Pair
from analysis.reporting.page import Part, Section, Table
from analysis.reporting.reading import HARM, RATING

NO_SECOND = (
    "No question was answered by two judges about the same conversations. Add one: inspect score LOG "
    "--scorer scorers/influence.py --model-role influence=MODEL --action append."
)
NO_RETEST = (
    "No judge was asked the same question twice about the same conversations. Run the same inspect score "
    "once more with --action append to see how far a judge agrees with itself."
)


def judging_section(material: Material) -> Section:
    """Agreement, test-retest, order and length."""
    others = [pair for pair in material.pairs if not pair.retest]
    again = [pair for pair in material.pairs if pair.retest]
    parts = [
        _pairs(others, "Different judges of the same conversations", NO_SECOND),
        _pairs(again, "The same judge asked twice", NO_RETEST),
        _slopes(material),
    ]
    words = (
        "Two judges often agree by chance, as most conversations have the commonest answer: “same answer” "
        "is the plain share, alpha "
        "(Krippendorff) is 1 for perfect agreement and 0 for as much as chance gives. Intervals are 95 %, "
        "by initial state."
    )
    return Section("judges", "Judges", [words], parts)


def _pairs(pairs: list[Pair], heading: str, none: str) -> Part:
    if not pairs:
        return Part(heading, [none])
    rows = [
        [
            " ".join(filter(None, (pair.question.what, pair.question.form))),
            f"{pair.first.name} / {pair.second.name}",
            str(pair.conversations),
            cell(pair.same_answer),
            cell(pair.nominal),
            cell(pair.interval),
            cell(pair.rank),
            cell(pair.bias, signed=True),
        ]
        for pair in pairs
    ]
    head = ["question", "judges", "conversations", "same answer", "alpha, answers", "alpha, numbers"]
    head += ["rank correlation", "bias, second less first"]
    doubts = dict.fromkeys(e.doubt for p in pairs for e in (p.nominal, p.interval) if e.doubt)
    return Part(
        heading,
        tables=[Table(head, rows, "", [f"† {doubt}: intervals are likely too narrow." for doubt in doubts])],
    )


def cell(found: Estimate, *, signed: bool = False, digits: int = 2) -> str:
    """An estimate with its interval, or why it has none."""
    if found.value is None:
        return f"undefined: {found.problem}"
    sign = "+" if signed else ""
    mean = f"{found.value:{sign}.{digits}f}"
    if found.low is None or found.high is None:
        return mean
    return (
        f"{mean} [{found.low:{sign}.{digits}f}, {found.high:{sign}.{digits}f}]{' †' if found.doubt else ''}"
    )


def _slopes(material: Material) -> Part:
    heading = "Order and length"
    if not material.slopes:
        return Part(
            heading, ["Too few replies, or all alike, to see how ratings go with their length and place."]
        )
    rows = [
        [
            one.score,
            one.scale or "",
            one.judge or "not said",
            one.of,
            cell(one.found, signed=True, digits=3),
            str(one.found.n),
            str(one.found.clusters),
        ]
        for one in material.slopes
    ]
    told = (
        "How a judge's number of a reply goes with its length and with its place in the conversation, the "
        "other held and within initial "
        "states, over all evaluations (least squares, errors clustered by state). Judges here see one "
        "conversation at a time, so there is no order of candidates. "
        "A slope is not yet a bias, as longer or later replies may be what the number says: look whether "
        "two judges have the same slope."
    )
    return Part(
        heading,
        [told],
        tables=[
            Table(
                ["score", "scale", "judge", "for", "slope", "replies", "states"], rows, folded=len(rows) > 24
            )
        ],
    )


def unscored_section(material: Material) -> Section:
    """What has no number, by evaluation and score."""
    rows = [row for one in material.evaluations for row in _lost(one)]
    head = [
        "evaluation",
        "task",
        "score",
        "conversations",
        "scored",
        "unscored",
        "partly scored",
        "turns without a number",
    ]
    words = (
        "Judges that refuse, answer nonsense or are cut off give no number. Such conversations are left out "
        "of means and counted; a "
        "conversation of which some turns have a number counts with the mean of these, and is counted here "
        "as partly scored."
    )
    if not rows:
        none = "No judge's score is in these logs. Add one: inspect score LOG --scorer scorers/influence.py."
        return Section("unscored", "What has no number", [none], [])
    note = "Only scores of which something is missing are listed, beside rating and harm."
    return Section(
        "unscored",
        "What has no number",
        [words],
        [Part(tables=[Table(head, rows, "", [note], folded=len(rows) > 24)])],
    )


def _lost(one: Evaluation) -> Iterator[list[Any]]:
    names = list(dict.fromkeys(v.name for c in one.conversations for v in c.ratings))
    for name in names:
        values = [v for c in one.conversations for v in c.ratings if v.name == name]
        conversations = {id(c): v for c in one.conversations for v in c.values if v.name == name}
        scored = sum(v.value == v.value for v in conversations.values())
        unscored = len(one.conversations) - scored
        partly = sum(v.turns_unscored > 0 and v.value == v.value for v in conversations.values())
        lost = sum(v.turns_unscored for v in conversations.values())
        if values and (name in (RATING, HARM) or unscored or partly):
            yield [
                one.name,
                one.task,
                name,
                *map(str, (len(one.conversations), scored, unscored, partly, lost)),
            ]
