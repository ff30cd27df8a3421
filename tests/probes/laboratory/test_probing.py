from collections import Counter

import pytest

from analysis.ranking import auroc
from probes.laboratory.probing import deployment_rows, kinds, pair_rows, probing_rows
from scenarios.mistakes import UserMistake


def test_pairs_of_every_kind_are_many_different_and_no_longer_on_one_side():
    import numpy as np

    assert kinds() == ["borderline", "confounded", "embedded", "negated"]
    for rows in (probing_rows(), deployment_rows()):
        of_kind = Counter(row.facts["kind"] for row in rows if row.label == 1)
        assert min(of_kind.values()) >= 30
        assert len({str(row.messages) for row in rows}) == len(rows)
        assert all(count == 2 for count in Counter(row.pair for row in rows).values())
        for kind in of_kind:
            own = [row for row in rows if row.facts["kind"] == kind]
            lengths = np.array([float(len(row.text)) for row in own])
            labels = np.array([float(row.label or 0) for row in own])
            assert 0.3 < auroc(labels, lengths, [row.pair for row in own]).value < 0.7, kind
    for one, other in zip(deployment_rows()[::2], deployment_rows()[1::2], strict=True):
        assert one.messages[1] == other.messages[1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "kind: x\npairs:\n  - {topic: a, high: b, lw: c}\n",
            "x.yaml:3: pairs.0.lw: unknown key; did you mean 'low'?",
        ),
        (
            "kind: x\npairs:\n  - {topic: a, high: b, low: b}\n",
            "x.yaml:3: pairs.0.low: both sides are the same",
        ),
        ("kind: x\npairs:\n  - {topic: a, high: b, low: c, carrier: d}\n", "no carrier 'd'; there are none"),
    ],
)
def test_a_file_of_pairs_that_is_wrong_is_told_with_its_line(tmp_path, text, says):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserMistake) as told:
        pair_rows(tmp_path / "x.yaml")
    assert says in str(told.value)
