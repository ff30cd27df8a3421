"""How rows of data sets are read: lists of messages, transcripts, labels, prompts that answers repeat."""

import json
from pathlib import Path
from typing import Any

import pytest

from scenarios.files.whole import write_jsonl
from tests.support.static_rows import hub_copy, opened, pair, said, transcript
from training.errors import RunError
from training.examples.mixing import check_mixing
from training.examples.static_conversations import conversation
from training.settings import Mixing


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    write_jsonl(path, map(pair, range(100)))
    return path


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
