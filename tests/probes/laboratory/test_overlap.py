import random

import pytest

from probes.conversations.labels import DataError
from probes.laboratory.overlap import (
    FEWEST,
    ShingleIndex,
    refuse_overlap,
    shingles,
    split_overlaps,
    without_overlap,
)
from probes.laboratory.rows import StakesRow

WORDS = [f"w{n}" for n in range(60)]


def text(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def brute(texts, others, near, contained):
    found = {}
    for number, one in enumerate(texts):
        own = shingles(one)
        best = max(
            ((len(own & o) / len(own | o), -k) for k, o in enumerate(map(shingles, others)) if own | o),
            default=(0, 0),
        )
        inside = max((len(own & o) / len(own) for o in map(shingles, others)), default=0)
        if best[0] >= near:
            found[number] = ("same" if best[0] == 1 else "near", pytest.approx(best[0]))
        elif len(own) >= FEWEST and inside >= contained:
            found[number] = ("contained", pytest.approx(inside))
    return found


@pytest.mark.parametrize(("near", "contained"), [(0.5, 0.9), (0.3, 0.6), (0.9, 0.95)])
def test_every_pair_above_the_limits_is_found_and_no_other(near, contained):
    rng = random.Random(1)
    texts = [text(rng, rng.randrange(3, 60)) for _ in range(60)]
    changed = []
    for one in texts:
        words = one.split()
        for _ in range(rng.randrange(4)):
            words[rng.randrange(len(words))] = rng.choice(WORDS)
        changed.append(" ".join([*text(rng, rng.choice([0, 0, 3, 90])).split(), *words]))
    found = {
        o.row: (o.kind, o.similarity)
        for o in ShingleIndex(changed).overlaps(texts, near=near, contained=contained)
    }
    assert found == brute(texts, changed, near, contained)
    assert {kind for kind, _ in found.values()} >= {"same", "near"}


def test_a_test_text_within_a_long_training_row_is_found():
    rng = random.Random(2)
    short = text(rng, 20)
    long = f"{text(rng, 300)} {short} {text(rng, 300)}"
    (found,) = ShingleIndex([text(rng, 100), long]).overlaps([short])
    assert (found.other, found.kind, found.similarity) == (1, "contained", 1)
    assert list(ShingleIndex([short]).overlaps([long])) == []  # the long one is not in the short one


def test_case_and_punctuation_do_not_matter_and_short_phrases_are_not_contained():
    index = ShingleIndex(
        ["The dam broke, and we ran.", "Thank you very much for the long answer about the dam and the rest."]
    )
    found = list(index.overlaps(["the dam broke AND we ran", "thank you very much", "Yes", ""]))
    assert [(o.row, o.kind) for o in found] == [(0, "same")]
    assert [o.kind for o in ShingleIndex(["Yes!"]).overlaps(["yes"])] == ["same"]


def test_scripts_without_spaces():
    one = "水坝今天早上裂开了而下游有一个村庄住着四百人我们应该怎么办呢"
    index = ShingleIndex([one, "今天的天气很好我们去公园散步吧然后一起吃午饭好不好"])
    found = list(
        index.overlaps([one[:-2] + "吗", "完全不同的一句话说的是另外一件事情而且没有共同之处在里面"])
    )
    assert [(o.row, o.other, o.kind) for o in found] == [(0, 0, "near")]


def row(identity, said, split, pair=None):
    return StakesRow(
        id=identity,
        pair=pair or identity,
        messages=[{"role": "user", "content": said}],
        facts={"split": split},
    )


def test_within_and_across_splits():
    rng = random.Random(3)
    a, b, c, d = (text(rng, 30) for _ in range(4))
    rows = [
        row("1", a, "train"), row("2", a, "train"), row("3", b, "train", "twins"), row("4", f"{b} w1", "train", "twins"),
        row("5", f"{a} w3", "test"), row("6", c, "test"), row("7", d, "dev"), row("8", f"{d} {text(rng, 90)}", "test"),
        row("9", c[:80], "dev"),
    ]  # fmt: skip
    found = {(o.split, o.other): o for o in split_overlaps(rows)}
    assert found["train", "train"].counts == {"same": 1}  # twins are meant to be alike
    assert found["test", "train"].counts == {"near": 1}
    assert found["test", "train"].examples[0][:2] == ("5", "1")
    assert found["test", "dev"].counts == {"near": 1}
    assert len(found) == 3
    with pytest.raises(
        DataError, match=r"f: 1 rows of test are in train \(1 near\).*'5', like '1'.*--allow-overlap"
    ):
        refuse_overlap(list(found.values()), "f")
    refuse_overlap([found["train", "train"]], "f")


def test_a_pair_goes_whole():
    rng = random.Random(4)
    a, b, c = (text(rng, 30) for _ in range(3))
    rows = [row("1", a, "test", "p"), row("2", b, "test", "p"), row("3", c, "test")]
    cleaned = without_overlap(rows, [row("4", f"{a} w2", "train")])
    assert ([r.id for r in cleaned.rows], cleaned.dropped, cleaned.with_them) == (["3"], {"near": 1}, 1)
