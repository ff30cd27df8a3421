from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.tiny_models import tiny_model
from tests.support.training_jobs import job_of, row, rows_of
from training.examples.pairs import pairs_of
from training.trainers import dpo, kto, worker
from training.trainers.base_models import CannotTrain
from training.trainers.rows import Text, TokenRow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("algorithm", ["kto", "dpo"])
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_reference_is_the_last_checkpoint_or_the_base(
    base: Path, tmp_path: Path, algorithm: str, tuning: str
) -> None:
    start = job_of(base, tmp_path, "start", tuning=tuning, learning_rate=1e-2)
    worker.run(start)
    rewards = {}
    for reference in ("moving", "base"):
        job = job_of(
            base,
            tmp_path,
            reference,
            algorithm=algorithm,
            tuning=tuning,
            start=start.out,
            reference=reference,
        )
        rewards[reference] = worker.run(job).history[0]["rewards/chosen"]
        assert not (job.out / "ref").exists()
    # before its first step a policy differs from what it started from by nothing
    assert rewards["moving"] == pytest.approx(0, abs=1e-6)
    assert rewards["base"] > 0.05


# -- kto ----------------------------------------------------------------------------------------------


def test_kto_weighs_labels_by_their_number(base: Path, tmp_path: Path) -> None:
    rows = [*rows_of(4), row("no", False, epoch=3), row("no no", False, epoch=4), row("?", None, epoch=5)]
    prepared = kto.prepare(job_of(base, tmp_path, algorithm="kto", target_ratio=1.25), rows)
    assert prepared.trainer.args.undesirable_weight == pytest.approx(4 / (6 * 1.25))
    assert prepared.trainer.args.desirable_weight == 1
    assert (prepared.examples, prepared.left_out) == (10, {"unlabelled": 1})


@pytest.mark.parametrize(
    ("rows", "tuning", "told"),
    [
        ([row("yes", True)] * 4, {}, "needs rows of both labels, and has 4 desirable and 0 undesirable"),
        (rows_of(4), {"batch_size": 1}, "needs at least 2 examples and has 1"),
        (rows_of(4), {"device_batch_size": 1}, "needs at least 2 examples and has 1"),
    ],
)
def test_kto_says_what_it_lacks(
    base: Path, tmp_path: Path, rows: list[dict], tuning: dict, told: str
) -> None:
    with pytest.raises(CannotTrain, match=told):
        worker.run(job_of(base, tmp_path, rows=rows, algorithm="kto", **tuning))


def test_kto_leaves_out_a_last_row_that_would_be_compared_with_itself(base: Path, tmp_path: Path) -> None:
    rows = [*rows_of(4), row("no", False, epoch=3)]
    trained = worker.run(job_of(base, tmp_path, rows=rows, algorithm="kto"))
    assert (trained.examples, trained.left_out, trained.steps) == (8, {"last_batch": 1}, 2)
    trained = worker.run(job_of(base, tmp_path, "six", rows=rows_of(3), algorithm="kto"))
    assert (trained.examples, trained.left_out, trained.steps) == (6, {}, 2)


def token_row(label: bool, number: int) -> TokenRow:
    return TokenRow(row("x", label, epoch=number), Text("", ""), [1], [2])


@settings(max_examples=60, deadline=None)
@given(best=st.integers(1, 60), worst=st.integers(1, 60), seed=st.integers(0, 99))
def test_kto_mixes_labels_evenly(best: int, worst: int, seed: int) -> None:
    rows = [token_row(True, n) for n in range(best)] + [token_row(False, n) for n in range(worst)]
    order = kto.mixed(rows, seed)
    assert sorted(map(id, order)) == sorted(map(id, rows))
    assert order == kto.mixed(rows, seed)
    for end in range(1, len(order) + 1):
        share = best / len(order)
        assert abs(sum(r.example["label"] is True for r in order[:end]) - share * end) <= 1 + 1e-9


# -- dpo ----------------------------------------------------------------------------------------------


def pairs(*rows: dict) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """What is joined, by the words of prompts and replies."""
    left_out: Counter[str] = Counter()
    words: dict[str, int] = {}

    def ids(messages: list[dict]) -> list[int]:
        return [words.setdefault(w, len(words)) for m in messages for w in m["content"].split()]

    tokens = [TokenRow(r, Text(str(r["prompt"]), ""), ids(r["prompt"]), ids(r["completion"])) for r in rows]
    found = pairs_of(map(dpo.reply_in_tokens, tokens), left_out)
    said = [tuple(t.example["completion"][0]["content"] for t in pair) for pair in found]
    return said, dict(left_out)


def test_dpo_joins_the_best_with_the_worst_of_a_state() -> None:
    rows = [
        row("a", True, epoch=1, rank=1, score=9.0),
        row("b", True, epoch=2, rank=2, score=8.0),
        row("c", False, epoch=3, rank=3, score=3.0),
        row("d", False, epoch=4, rank=4, score=2.0),
        row("e", False, epoch=5, rank=5, score=1.0),
        row("f", True, state="lone"),
    ]
    assert pairs(*rows) == ([("a", "e"), ("b", "d")], {"no_partner": 2})


def test_dpo_trains_on_the_first_turn_that_differs() -> None:
    later = [{"role": "user", "content": "And now?"}]
    rows = [
        row("Hm.", True, epoch=1, turn=1),
        row("Do it.", True, epoch=1, turn=2, prompt=later),
        row("Now!", True, epoch=1, turn=3, prompt=[*later, *later]),
        row("Hm.", False, epoch=2, turn=1),
        row("Wait.", False, epoch=2, turn=2, prompt=later),
    ]
    assert pairs(*rows) == ([("Do it.", "Wait.")], {"around_the_pair": 3})


def test_dpo_counts_what_it_cannot_join() -> None:
    other = [{"role": "user", "content": "Something else"}]
    assert pairs(row("a", True, score=5.0), row("b", False, epoch=2, score=5.0)) == ([], {"tie": 2})
    assert pairs(row("a", True), row("b", False, epoch=2, prompt=other)) == ([], {"other_prompt": 2})
    assert pairs(row("a", True), row("b", False, epoch=2, tools=[{}])) == ([], {"other_prompt": 2})
    assert pairs(row("a", True), row("a", False, epoch=2)) == ([], {"same_reply": 2})


def test_dpo_joins_static_rows_by_their_prompt() -> None:
    static = {
        "source": "hh",
        "log": None,
        "sample": None,
        "epoch": None,
        "turn": None,
        "score": None,
        "rank": None,
    }
    other = [{"role": "user", "content": "Something else"}]
    rows = [
        row("a", True, **static),
        row("c", True, **static, prompt=other),
        row("b", False, **static),
        row("d", False, **static, prompt=other),
    ]
    assert pairs(*rows) == ([("a", "b"), ("c", "d")], {})


def test_dpo_without_a_pair_says_how_to_select(base: Path, tmp_path: Path) -> None:
    rows = [row("a", True, state="s1"), row("b", False, state="s2")]
    with pytest.raises(CannotTrain, match=r"no best and worst reply.*'no_partner': 2.*select_per=state"):
        worker.run(job_of(base, tmp_path, rows=rows, algorithm="dpo"))
