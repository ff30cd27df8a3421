"""Negatives matched by topic, alone and in a fit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from probes.fit import main
from probes.fitting.matching import matched
from probes.monitors.monitor import read_card
from tests.support.captured_rows import captured

TOPICS = st.sampled_from(["smoking", "gambling", "crash_diet", None])


def test_every_topic_gives_as_many_of_both_classes():
    labels = np.array([1, 0, 0, 0, 1, 1, 0, 1], dtype=float)
    topics = ["a", "a", "a", "a", "b", "b", "b", "c"]
    kept = matched(labels, topics, seed=0)
    assert kept[0]
    assert kept[1:4].sum() == 1
    assert kept[4:6].sum() == 1
    assert kept[6]
    assert not kept[7]  # nothing to match it with


@given(st.lists(st.tuples(st.floats(0, 1), TOPICS)), st.integers(0, 99))
def test_the_topic_tells_nothing_of_the_label(rows, seed):
    labels = np.array([label for label, _ in rows])
    topics = [topic for _, topic in rows]
    kept = matched(labels, topics, seed)
    for topic in {t for t in topics if t is not None}:
        mine = np.array([t == topic for t in topics])
        assert (kept & mine & (labels >= 0.5)).sum() == (kept & mine & (labels < 0.5)).sum()
        for of_class in (labels >= 0.5, labels < 0.5):
            assert (kept & mine & of_class).sum() <= (mine & of_class).sum()
    assert not any(kept[i] for i, topic in enumerate(topics) if topic is None)
    assert (kept == matched(labels, topics, seed)).all()


def test_a_fit_is_told_by_what_to_match_and_counts_what_it_left(tmp_path, capsys):
    path = captured(tmp_path, "made", labels=[1.0] * 20 + [0.0, 1.0] * 30)
    options = ["--data", str(path), "--layers", "4", "--heads", "mean", "--folds", "0", "--seeds", "1"]
    out = tmp_path / "monitors"
    assert main([*options, "--match", "split", "--out", str(out)]) == 0
    (folder,) = (p for p in out.iterdir() if p.is_dir())
    card = read_card(folder)
    assert card.validation is not None
    assert card.training.positive == card.training.rows - card.training.positive
    left = card.training.excluded["not matched by split"]
    assert left > 0
    assert card.training.rows + left == card.validation.rows == 80
    assert "not matched by split" not in card.validation.excluded  # the rate is that of all negatives
    capsys.readouterr()
    assert main([*options, "--match", "topic", "--out", str(out)]) == 1
    assert "--match topic: none of its values" in capsys.readouterr().err
