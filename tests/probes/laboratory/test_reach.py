import random

from probes.laboratory.reach import reach_of
from probes.laboratory.rows import StakesRow


def rows_of(said, n=60, **facts):
    """Pairs: `said(label, pair)` is what is said."""
    return [
        StakesRow(
            id=f"{pair}-{label}",
            pair=str(pair),
            messages=[{"role": "user", "content": said(label, pair)}],
            label=label,
            facts={name: of(label) for name, of in facts.items()},
        )
        for pair in range(n)
        for label in (0, 1)
    ]


def reach(rows):
    return {found.feature: found for found in reach_of(rows)}


def test_each_feature_finds_its_own_leak_and_no_other():
    random.seed(0)
    names = [f"name{random.randrange(40)}" for _ in range(200)]
    length = reach(rows_of(lambda label, pair: f"{names[pair]} {'a' * (5 + 4 * label)}{pair % 7:03d}"))
    assert length["length"].auroc.value > 0.95
    style = reach(rows_of(lambda label, pair: names[pair], style=lambda label: ("note", "report")[label]))
    assert style["style, tone, language, length as asked"].auroc.value == 1
    assert style["form: turns, system prompt, tools"].auroc.value == 0.5
    assert style["length"].auroc.value == 0.5
    pairs = reach(rows_of(lambda label, pair: f"{names[pair]} {('not so', 'so not')[label]}"))
    assert pairs["bag of words"].auroc.value == 0.5
    assert pairs["TF-IDF, words and pairs of words"].auroc.value == 1


def test_what_is_known_of_a_pair_is_not_learnt_from_its_twin():
    """Each pair has a word of its own, which a fold without the pair cannot know."""
    found = reach(rows_of(lambda label, pair: f"word{pair} here"))
    assert 0.4 <= found["bag of words"].auroc.value <= 0.6


def test_one_class_and_one_pair_have_no_number():
    rows = rows_of(lambda label, pair: "a b c")
    for few in ([r for r in rows if r.label], rows[:2]):
        assert all(r.auroc is None and "two pairs of each" in r.problem for r in reach_of(few))


def test_rows_without_a_label_are_left_out():
    rows = rows_of(lambda label, pair: f"x {label}")
    more = [*rows, rows[0].model_copy(update={"id": "u", "label": None})]
    assert reach(more)["length"].rows == len(rows)
