import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.files.whole import write_jsonl
from training.errors import RunError
from training.examples.mixing import StaticData, check_mixing
from training.examples.static_conversations import conversation
from training.settings import Mixing


def pair(number: int) -> dict[str, Any]:
    return {"prompt": f"question {number}", "chosen": f"good {number}", "rejected": f"bad {number}"}


def transcript(*turns: str) -> str:
    return "".join(f"\n\n{'Assistant' if place % 2 else 'Human'}: {text}" for place, text in enumerate(turns))


def hub_copy(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A data set as a copy of one on the hub lies on a disk."""
    from datasets import Dataset

    folder.mkdir(parents=True)
    Dataset.from_list(list(rows)).to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


def opened(path: Path, algorithm: str = "ei", cache: Path | None = None, **options: Any) -> StaticData:
    return StaticData.open(Mixing(mix=str(path), **options), algorithm=algorithm, cache_dir=cache)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    write_jsonl(path, map(pair, range(100)))
    return path


def said(rows: Sequence[Any]) -> list[tuple[str, bool]]:
    return [(row["completion"][0]["content"], row["label"]) for row in rows]


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


def test_conversations_as_lists_of_messages(tmp_path):
    path = tmp_path / "chats.jsonl"
    call = {"type": "function", "id": "1", "function": {"name": "look", "arguments": {"city": "Rome"}}}
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather?"}]
    answer = {"role": "assistant", "content": "", "tool_calls": [call]}
    tools = [{"type": "function", "function": {"name": "look"}}]
    write_jsonl(
        path,
        [
            {"prompt": prompt, "completion": [answer], "label": True, "tools": tools},
            {"prompt": prompt, "completion": [{"role": "user", "content": "no answer"}], "label": True},
            {"prompt": [], "completion": "to nobody", "label": True},
        ],
    )
    data = opened(path)
    (row,) = data.draw(1, seed=0, iteration=0, used=0)
    assert (row["prompt"], row["completion"], row["tools"]) == (prompt, [answer], tools)
    whole = tmp_path / "whole.jsonl"
    write_jsonl(
        whole, [{"chosen": [*prompt, answer], "rejected": [*prompt, {"role": "assistant", "content": "?"}]}]
    )
    best, worst = opened(whole, "dpo").draw(2, seed=0, iteration=0, used=0)
    assert best["prompt"] == worst["prompt"] == prompt
    assert worst["completion"] == [{"role": "assistant", "content": "?"}]


def test_messages_lose_the_nulls_that_a_table_adds(tmp_path):
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "name": "Bot"}]
    folder = hub_copy(tmp_path / "chats", [{"completion": chat}])
    (row,) = opened(folder, cache=tmp_path / "cache").draw(1, seed=0, iteration=0, used=0)
    assert row["prompt"] == [{"role": "user", "content": "q"}]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"promt": "q"}, "unknown key 'promt'; did you mean 'prompt'"),
        ({"chosen": "c", "label": "l"}, "chosen and rejected, or completion and label"),
        ({"prompt": "question"}, "no column 'question'; there are chosen, prompt, rejected"),
        ({"completion": "answer"}, "no column 'answer'; there are chosen, prompt, rejected"),
        ({"completion": "chosen", "desirable": "good"}, "of which column"),
    ],
)
def test_a_wrong_map_is_explained(pairs, columns, message):
    with pytest.raises(RunError, match=message):
        opened(pairs, mix_columns=columns)


def test_what_cannot_be_loaded(tmp_path, pairs):
    with pytest.raises(RunError, match=r"there is no file .*gone\.jsonl"):
        check_mixing(Mixing(mix=str(tmp_path / "gone.jsonl")), "ei")
    with pytest.raises(RunError, match="neither one of hh-rlhf, pku-saferlhf, nor a file"):
        check_mixing(Mixing(mix="a/b/c/d"), "ei")
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(RunError, match="has no rows"):
        opened(empty)
    lists = tmp_path / "lists.jsonl"
    lists.write_text("{}\n[1]\n")
    with pytest.raises(RunError, match=r"lists\.jsonl:2: list instead of an object"):
        opened(lists)
    folder = hub_copy(tmp_path / "set", [pair(1)])
    with pytest.raises(RunError, match=r"set \(split 'trian'\) cannot be loaded"):
        opened(folder, cache=tmp_path / "cache", mix_split="trian")


def test_presets_are_asked_of_the_hub_by_their_ids(monkeypatch):
    import datasets

    asked: list[tuple[str, Any]] = []

    def load(name: str, **options: Any) -> Any:
        asked.append((name, options["revision"]))
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", load)
    for name in ("hh-rlhf", "pku-saferlhf@v1", "someone/answers@main"):
        with pytest.raises(RunError, match="cannot be loaded: no network"):
            opened(Path(name), "kto")
    assert asked == [
        ("Anthropic/hh-rlhf", None),
        ("PKU-Alignment/PKU-SafeRLHF", "v1"),
        ("someone/answers", "main"),
    ]


QUESTION = {"role": "user", "content": "Hi?"}
SYSTEM = {"role": "system", "content": "Be brief."}
YES, NO = {"role": "assistant", "content": "Yes"}, {"role": "assistant", "content": "No"}
EARLIER = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def answered(prompt: Any, make: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": make(YES), "rejected": make(NO)}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        (answered("Hi?", lambda a: [QUESTION, a]), [QUESTION]),
        (answered([QUESTION], lambda a: [QUESTION, a]), [QUESTION]),
        (answered(json.dumps([QUESTION]), lambda a: json.dumps([QUESTION, a])), [QUESTION]),
        (answered("Hi?", lambda a: repr([QUESTION, a])), [QUESTION]),
        (answered("Hi?", lambda a: {"messages": [QUESTION, a]}), [QUESTION]),
        (answered("Hi? ", lambda a: [QUESTION, a]), [QUESTION]),
        (answered("Hi?", lambda a: [SYSTEM, QUESTION, a]), [SYSTEM, QUESTION]),
        (answered([SYSTEM, QUESTION], lambda a: [SYSTEM, QUESTION, a]), [SYSTEM, QUESTION]),
        (answered([SYSTEM, QUESTION], lambda a: [QUESTION, a]), [SYSTEM, QUESTION]),
        (answered([*EARLIER, QUESTION], lambda a: [*EARLIER, QUESTION, a]), [*EARLIER, QUESTION]),
        (answered([*EARLIER, QUESTION], lambda a: [QUESTION, a]), [*EARLIER, QUESTION]),
        (answered("Hi?", lambda a: transcript("Hi?", a["content"])), [QUESTION]),
        (answered(transcript("Hi?", ""), lambda a: transcript("Hi?", a["content"])), [QUESTION]),
        (answered(transcript("Hi?", ""), lambda a: f" {a['content']}"), [QUESTION]),
        (answered(transcript("a", "b", "Hi?"), lambda a: [a]), [*EARLIER, QUESTION]),
        (answered([QUESTION], lambda a: [a]), [QUESTION]),
        (answered(EARLIER, lambda a: [QUESTION, a]), [*EARLIER, QUESTION]),
        (answered("Hi?", lambda a: f"Hi? {a['content']}"), [QUESTION]),
        ({"chosen": [QUESTION, YES], "rejected": [QUESTION, NO]}, [QUESTION]),
        ({"chosen": transcript("Hi?", "Yes"), "rejected": transcript("Hi?", "No")}, [QUESTION]),
        ({"chosen": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Yes"}], "rejected": [QUESTION, NO]}, [QUESTION]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["pairs", "completions"])
def test_the_prompt_is_trained_on_once_however_often_a_row_has_it(tmp_path, row, prompt, form):
    path = tmp_path / "rows.jsonl"
    if form == "pairs":
        write_jsonl(path, [row])
        rows = opened(path, "dpo").draw(2, seed=0, iteration=0, used=0)
    else:
        given = {"prompt": row["prompt"]} if "prompt" in row else {}
        write_jsonl(
            path, [given | {"completion": row[c], "label": c == "chosen"} for c in ("chosen", "rejected")]
        )
        rows = opened(path, "kto").draw(2, seed=0, iteration=0, used=0)
        rows.sort(key=lambda r: not r["label"])
    assert [r["prompt"] for r in rows] == [prompt, prompt]
    assert [(r["completion"][0]["content"].strip(), r["label"]) for r in rows] == [
        ("Yes", True),
        ("No", False),
    ]
    assert all(len(r["completion"]) == 1 for r in rows)


def test_answers_that_begin_like_their_prompt_by_chance_keep_their_words(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(
        path,
        [
            answered("Hello", lambda a: f"Hello there! {a['content']}"),
            answered("Hi?", lambda a: a["content"]),
        ],
    )
    rows = opened(path, "dpo").draw(4, seed=0, iteration=0, used=0)
    assert {r["completion"][0]["content"] for r in rows} == {
        "Hello there! Yes",
        "Hello there! No",
        "Yes",
        "No",
    }


@pytest.mark.parametrize(
    ("row", "detail"),
    [
        (answered("Hi?", lambda a: [{"role": "user", "content": "Other?"}, a]), "two_prompts 1: row 1: the answer begins with another prompt"),
        (answered("Hi?", lambda a: [QUESTION, {"role": "narrator", "content": a["content"]}]), "malformed 1: row 1: the answer: message 1: unknown role 'narrator'"),
        (answered("Hi?", lambda a: json.dumps([QUESTION, a])[:-9]), "the answer: begins like a conversation and is none"),
        (answered("Hi?", lambda a: None), "the answer is missing"),
        (answered("Hi?", lambda a: [QUESTION]), "does not end with an assistant's answer"),
        (answered("", lambda a: a["content"]), "the prompt is missing"),
    ],
)  # fmt: skip
def test_a_data_set_without_a_usable_row_is_refused_before_anything_is_drawn(tmp_path, row, detail):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [row])
    with pytest.raises(RunError) as error:
        opened(path, "dpo")
    assert "none of the first 1 rows of rows.jsonl can be used" in str(error.value)
    assert detail in str(error.value)


def test_texts_in_brackets_are_texts_in_prompts_and_answers(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"prompt": "[WP] a story", "completion": '{"from": "Rome", "to": "Paris"}'}])
    (row,) = opened(path).draw(1, seed=0, iteration=0, used=0)
    assert row["prompt"] == [{"role": "user", "content": "[WP] a story"}]
    assert row["completion"] == [{"role": "assistant", "content": '{"from": "Rome", "to": "Paris"}'}]


def test_rows_that_are_left_out_are_said(tmp_path, caplog):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [pair(1), {"prompt": "q", "chosen": "", "rejected": "b"}, pair(2)])
    data = opened(path)
    assert all(len(data.draw(2, seed=seed, iteration=0, used=0)) == 2 for seed in range(6))
    assert "mix: rows of rows.jsonl left out: malformed 1: row 2: the answer is empty" in caplog.text
    with pytest.raises(RunError, match=r"malformed 1: row 2: the answer is empty"):
        data.draw(9, seed=0, iteration=0, used=0)


@pytest.mark.parametrize("end", ["csv", "tsv", "json", "parquet", "jsonl.gz"])
def test_tables_of_every_kind_are_mixed_alike(tmp_path, end):
    pandas = pytest.importorskip("pandas")
    rows = [answered("Où ?", lambda a: [{"role": "user", "content": "Où ?"}, a])] * 2
    frame, path = pandas.DataFrame(rows), tmp_path / f"rows.{end}"
    if end in ("csv", "tsv"):
        frame.to_csv(
            path,
            sep=";" if end == "csv" else "\t",
            index=False,
            encoding="cp1252" if end == "csv" else "utf-16",
        )
    elif end == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=end != "json")
    rows = opened(path, "dpo").draw(2, seed=0, iteration=0, used=0)
    assert [r["prompt"] for r in rows] == [[{"role": "user", "content": "Où ?"}]] * 2
    assert said(rows) == [("Yes", True), ("No", False)]


def test_labels_as_spreadsheets_write_them(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("prompt,completion,label\nq,a,TRUE\nq,b,FALSE\nq,c,1.0\n")
    rows = opened(path, "kto").draw(3, seed=0, iteration=0, used=0)
    assert dict(said(rows)) == {"a": True, "b": False, "c": True}
    path.write_bytes("prompt;completion\nЧто?;Да\n".encode("cp1251"))
    with pytest.raises(RunError, match=r"mix: .*rows\.csv:2: .*is not UTF-8; .*--mix-encoding"):
        opened(path)
    (row,) = opened(path, mix_encoding="cp1251").draw(1, seed=0, iteration=0, used=0)
    assert row["prompt"][0]["content"] == "Что?"


def test_where_ours_and_trls_ways_to_a_prompt_agree_and_where_they_do_not():
    trl = pytest.importorskip("trl.data_utils")
    implicit = {"chosen": [SYSTEM, *EARLIER, QUESTION, YES], "rejected": [SYSTEM, *EARLIER, QUESTION, NO]}
    theirs = trl.extract_prompt(implicit)
    assert conversation(None, implicit["chosen"]) == (theirs["prompt"], theirs["chosen"][0])
    repeated = {"prompt": [QUESTION], "chosen": [QUESTION, YES], "rejected": [QUESTION, NO]}
    assert trl.maybe_extract_prompt(repeated) == repeated  # the prompt stays in the answers
    assert conversation([QUESTION], [QUESTION, YES]) == ([QUESTION], YES)
    alike = {"chosen": transcript("Hi?", "I do"), "rejected": transcript("Hi?", "I do not")}
    assert trl.extract_prompt(alike)["prompt"] == transcript("Hi?", "I do")[:-1]  # an answer's words
    assert conversation(None, alike["chosen"])[1]["content"] == "I do"
    shared = {"conversations": [{"from": "human", "value": "Hi?"}]}
    assert trl.maybe_convert_to_chatml(shared)["messages"][0]["role"] == "human"
