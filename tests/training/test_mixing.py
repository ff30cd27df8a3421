import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.files.whole import write_jsonl
from tests.support.static_rows import hub_copy, opened, pair, said, transcript
from training.errors import RunError
from training.examples.mixing import StaticData, check_mixing
from training.settings import Mixing


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    write_jsonl(path, map(pair, range(100)))
    return path


@pytest.mark.parametrize(
    ("share", "n", "expected"), [("1/4", 30, 10), (0.5, 17, 17), (0.75, 10, 30), ("1/3", 7, 4), (0.25, 1, 0)]
)
def test_the_share_is_of_the_final_set(pairs, share, n, expected):
    rows = opened(pairs, mix_share=share).draw(n, seed=0, iteration=0, used=0)
    assert len(rows) == expected


@given(n=st.integers(0, 400), percent=st.integers(1, 99), algorithm=st.sampled_from(["ei", "kto", "dpo"]))
def test_no_other_number_of_rows_meets_the_share_better(n, percent, algorithm):
    data = StaticData(_source(), [], None, algorithm, percent / 100)  # pyright: ignore
    size, unit = data.size(n), 2 if algorithm == "dpo" else 1
    wanted = n * percent / (100 - percent)
    assert size % unit == 0
    assert abs(size - wanted) <= unit / 2 + 1e-9


def _source() -> Any:
    from training.examples.mixing import Source

    return Source("x", None, None, None, None)


def test_iterations_repeat_no_row_and_the_same_call_gives_the_same_rows(pairs, tmp_path):
    drawn: list[list[Any]] = []
    files: list[Path] = []
    for iteration, n in enumerate((30, 17, 40)):
        data = opened(pairs, mix_share=0.5)
        rows = data.draw(n, seed=3, iteration=iteration, used=data.used(files))
        assert rows == opened(pairs).draw(n, seed=3, iteration=iteration, used=sum(map(len, drawn)))
        log_row = {**rows[0], "source": "log", "group": "someone"}
        files.append(tmp_path / f"{iteration}.jsonl")
        write_jsonl(files[-1], [log_row, *rows])
        drawn.append(rows)
    everything = [row["group"] for rows in drawn for row in rows]
    assert len(set(everything)) == len(everything) == 87
    assert all(
        row["group"] == f"pairs.jsonl:{row['completion'][0]['content'].split()[1]}" for row in drawn[0]
    )
    other = opened(pairs).draw(30, seed=4, iteration=0, used=0)
    assert {r["group"] for r in other} != {r["group"] for r in drawn[0]}
    assert [r["group"] for r in drawn[0]] != sorted(r["group"] for r in drawn[0])


def test_drawing_leaves_the_global_generator_alone(pairs):
    random.seed(7)
    expected = random.random()
    random.seed(7)
    opened(pairs).draw(10, seed=0, iteration=0, used=0)
    assert random.random() == expected


def test_an_exhausted_data_set_says_how_many_rows_there_are(pairs):
    data = opened(pairs)
    assert len(data.draw(40, seed=0, iteration=1, used=60)) == 40
    with pytest.raises(
        RunError, match=r"iteration 2 needs 41 rows; it has 100, 100 of them usable .*, and 60 were used"
    ):
        data.draw(41, seed=0, iteration=2, used=60)


def test_what_each_algorithm_takes_of_a_pair(pairs):
    ei = opened(pairs, "ei").draw(4, seed=0, iteration=0, used=0)
    assert all(label and text.startswith("good") for text, label in said(ei))
    kto = opened(pairs, "kto").draw(5, seed=0, iteration=0, used=0)
    assert [label for _, label in said(kto)] == [True, False, True, False, True]
    assert [text.split()[0] for text, _ in said(kto)] == ["good", "bad", "good", "bad", "good"]
    assert opened(pairs, "kto").draw(4, seed=0, iteration=0, used=3)[0]["group"] not in {
        r["group"] for r in kto
    }
    dpo = opened(pairs, "dpo").draw(5, seed=0, iteration=0, used=0)
    assert len(dpo) == 4
    for best, worst in zip(dpo[::2], dpo[1::2], strict=True):
        assert (best["label"], worst["label"]) == (True, False)
        assert best["group"] == worst["group"]
        assert best["prompt"] == worst["prompt"]


def test_a_row_is_an_example_that_no_log_has(pairs):
    row = opened(pairs).draw(1, seed=0, iteration=0, used=0)[0]
    number = row["completion"][0]["content"].split()[1]
    assert row == {
        "prompt": [{"role": "user", "content": f"question {number}"}],
        "completion": [{"role": "assistant", "content": f"good {number}"}],
        "label": True,
        "tools": None,
        "source": "pairs.jsonl",
        "group": f"pairs.jsonl:{number}",
        **dict.fromkeys(("log", "sample", "epoch", "turn", "score", "rank", "checkpoint")),
    }


@pytest.mark.parametrize("algorithm", ["grpo", "grpo_online"])
def test_grpo_takes_no_static_data(pairs, algorithm):
    with pytest.raises(RunError, match=f"mix: {algorithm} learns from groups"):
        check_mixing(Mixing(mix=str(pairs)), algorithm)
    check_mixing(Mixing(), algorithm)


def test_hh_rlhf(tmp_path):
    start = ("hello", "hi", "how do I bake?")
    rows = [
        {"chosen": transcript(*start, "With flour."), "rejected": transcript(*start, "No idea.")},
        {"chosen": transcript("a", "b"), "rejected": transcript("c", "d")},
        {"chosen": transcript("a", "b", "c"), "rejected": transcript("a", "b", "c")},
        {"chosen": "\n\nHuman: a\n\nHuman: b", "rejected": transcript("a", "c")},
        {"chosen": transcript("a", ""), "rejected": transcript("a", "c")},
        {"chosen": transcript("a", "b"), "rejected": transcript("a", "b")},
    ]
    folder = hub_copy(tmp_path / "copies" / "hh-rlhf", rows)
    data = opened(folder, "kto", tmp_path / "cache")
    drawn = data.draw(2, seed=0, iteration=0, used=0)
    prompt = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "how do I bake?"},
    ]
    assert [row["prompt"] for row in drawn] == [prompt, prompt]
    assert said(drawn) == [("With flour.", True), ("No idea.", False)]
    assert drawn[0]["source"] == "hh-rlhf"
    with pytest.raises(
        RunError,
        match=r"1 of them usable \(left out: malformed 3, same_answer 1, two_prompts 1: row \d: .*; row 6: one",
    ):
        data.draw(3, seed=0, iteration=0, used=0)
    assert data.left_out == {"malformed": 3, "two_prompts": 1, "same_answer": 1}


PKU = [
    {
        "prompt": f"q{n}",
        "response_0": "zero",
        "response_1": "one",
        "is_response_0_safe": safe[0],
        "is_response_1_safe": safe[1],
        "better_response_id": better,
        "safer_response_id": safer,
    }
    for n, (better, safer, safe) in enumerate(
        [(0, 1, (False, True)), (1, 0, (True, False)), (0, 0, (True, True)), (1, 1, (False, False))]
    )
]


def by_prompt(rows: Sequence[Any]) -> dict[str, set[tuple[str, bool]]]:
    found: dict[str, set[tuple[str, bool]]] = {}
    for row in rows:
        found.setdefault(row["prompt"][0]["content"], set()).add(
            (row["completion"][0]["content"], row["label"])
        )
    return found


@pytest.mark.parametrize(
    ("columns", "better"),
    [
        ({}, {"q0": "one", "q1": "zero", "q2": "zero", "q3": "one"}),
        ({"label": "better_response_id"}, {"q0": "zero", "q1": "one", "q2": "zero", "q3": "one"}),
    ],
)
def test_pku_saferlhf_takes_the_safer_answer_unless_told_otherwise(tmp_path, columns, better):
    folder = hub_copy(tmp_path / "PKU-SafeRLHF", PKU)
    rows = opened(folder, "dpo", tmp_path / "cache", mix_columns=columns).draw(8, seed=1, iteration=0, used=0)
    other = {"zero": "one", "one": "zero"}
    assert by_prompt(rows) == {q: {(t, True), (other[t], False)} for q, t in better.items()}


def test_pku_saferlhf_by_the_safety_of_each_answer(tmp_path):
    folder = hub_copy(tmp_path / "PKU-SafeRLHF", PKU)
    named = {"label": "is_response_0_safe"}
    kto = opened(folder, "kto", tmp_path / "cache", mix_columns=named).draw(8, seed=1, iteration=0, used=0)
    assert by_prompt(kto)["q0"] == {("zero", False), ("one", True)}
    assert by_prompt(kto)["q2"] == {("zero", True), ("one", True)}
    assert by_prompt(kto)["q3"] == {("zero", False), ("one", False)}
    dpo = opened(folder, "dpo", tmp_path / "cache", mix_columns=named)
    assert set(by_prompt(dpo.draw(4, seed=1, iteration=0, used=0))) == {"q0", "q1"}
    with pytest.raises(RunError, match="no_pair 2"):
        dpo.draw(6, seed=1, iteration=0, used=0)
    ei = opened(folder, "ei", tmp_path / "cache", mix_columns=named)
    assert len(ei.draw(4, seed=1, iteration=0, used=0)) == 4
    with pytest.raises(RunError, match="no_desirable 1"):
        ei.draw(5, seed=1, iteration=0, used=0)


def test_pku_ids_outside_the_set(tmp_path):
    folder = hub_copy(tmp_path / "PKU-SafeRLHF", [*PKU, {**PKU[0], "safer_response_id": 2}])
    with pytest.raises(
        RunError, match=r"'safer_response_id' of PKU-SafeRLHF holds 2, which is none of .*0.*1"
    ):
        opened(folder, "kto", tmp_path / "cache")


def test_labels_of_any_data_set(tmp_path):
    path = tmp_path / "rated.jsonl"
    write_jsonl(path, [{"q": f"q{n}", "a": f"a{n}", "kind": ("nice", "rude")[n % 2]} for n in range(10)])
    columns = {"prompt": "q", "completion": "a", "label": "kind", "desirable": "nice"}
    rows = opened(path, "kto", mix_columns=columns).draw(10, seed=0, iteration=0, used=0)
    assert dict(said(rows)) == {f"a{n}": n % 2 == 0 for n in range(10)}
    with pytest.raises(RunError, match=r"desirable=good is no value of column 'kind'.*\['nice', 'rude'\]"):
        opened(path, "kto", mix_columns=columns | {"desirable": "good"})
    del columns["desirable"]
    with pytest.raises(RunError, match=r"column 'kind' of rated.jsonl holds 'nice', 'rude'.*desirable="):
        opened(path, "kto", mix_columns=columns)


def test_yes_and_no_in_their_usual_forms(tmp_path):
    path = tmp_path / "labels.jsonl"
    values = [True, False, 1, 0, "true", "False"]
    write_jsonl(path, [{"prompt": "q", "completion": f"a{n}", "label": v} for n, v in enumerate(values)])
    rows = opened(path, "kto").draw(6, seed=0, iteration=0, used=0)
    assert dict(said(rows)) == {"a0": True, "a1": False, "a2": True, "a3": False, "a4": True, "a5": False}
    write_jsonl(path, [{"prompt": "q", "completion": "a", "label": True}, {"prompt": "q", "completion": "a"}])
    with pytest.raises(RunError, match="'label' of labels.jsonl holds None"):
        opened(path, "kto")
