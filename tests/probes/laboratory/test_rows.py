import json
from collections import Counter
from pathlib import Path

import pytest

from probes.conversations.labels import DataError
from probes.laboratory.rows import StakesRow, read_rows, write_rows
from scenarios.mistakes import UserMistake


def lines(tmp_path, *rows, name="rows.jsonl"):
    path = tmp_path / name
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


SAID = [{"role": "user", "content": "Is it on?"}]


def test_what_is_written_is_read_again(tmp_path):
    call = {"type": "function", "id": "c", "function": {"name": "stop", "arguments": {"pump": 2}}}
    rows = [
        StakesRow(id="a", pair="p", messages=SAID, label=1, facts={"style": "note", "split": "train"}),
        StakesRow(
            id="b",
            pair="p",
            messages=[*SAID, {"role": "assistant", "content": "", "tool_calls": [call]}],
            tools=[{"type": "function", "function": {"name": "stop"}}],
            label=0,
            ratings=[{"judge": "m", "rubric": "r", "rating": 2.0, "confidence": 9.0}],
        ),
        StakesRow(id="c", pair="c", messages=SAID, facts={"class": "ambiguous"}),
    ]
    path = tmp_path / "out" / "rows.jsonl"
    write_rows(path, rows)
    assert read_rows(path) == rows
    assert json.loads(path.read_text().splitlines()[2])["label"] is None


def test_rows_of_the_earlier_system(tmp_path):
    row = {
        "inputs": json.dumps(SAID), "ids": 7, "labels": "high-stakes", "pair_id": "p", "prompt_style": "Question",
        "impact_factor": "cost", "role_of_user": "nurse", "split": "test", "scale_labels": 9,
        "scale_label_confidence": "11", "scale_label_model": "judge",
    }  # fmt: skip
    (read,) = read_rows(lines(tmp_path, row))
    assert (read.id, read.pair, read.label, read.messages) == ("7", "p", 1, SAID)
    assert read.facts == {"style": "Question", "impact": "cost", "role": "nurse", "split": "test"}
    assert (read.ratings[0].rating, read.ratings[0].confidence) == (9.0, None)  # 11 is no answer


@pytest.mark.parametrize(
    "row",
    [
        {"messages": SAID},
        {"conversations": [{"from": "human", "value": "Is it on?"}]},
        {"inputs": "Is it on?"},
        {"messages": str(SAID)},
    ],
)
def test_every_usual_form_of_a_conversation(tmp_path, row):
    (read,) = read_rows(lines(tmp_path, row))
    assert read.messages == SAID
    assert read.id == read.pair == read.digest


def test_cells_of_a_spreadsheet(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(
        'id,messages,label,tone,facts\n1,"[{""role"":""user"",""content"":""Hi""}]",1.0,calm,"{""k"": 2}"\n'
    )
    (read,) = read_rows(path, facts={"source": "sheet", "tone": "other"})
    assert (read.label, read.facts) == (1, {"source": "sheet", "tone": "calm", "k": "2"})


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (['{"messages": [{"role": "user"'], r"rows.jsonl:1: not JSON"),
        ([{"inputs": '[{"role": "user", "content": "cut'}], r"rows.jsonl:1: inputs: .*write it as a list"),
        ([{"messages": [{"role": "narrator", "content": "x"}]}], r":1: messages: message 0: unknown role 'narrator'"),
        ([{"text": "x"}], r":1: no column 'messages'"),
        ([{"inputs": "a", "label": 1}, {"inputs": "b", "label": "low-stakes"}], r":2: label: 'low-stakes' is of"),
        ([{"inputs": "a", "label": "urgent"}], r":1: label: 'urgent' is no label"),
        ([{"id": 1, "inputs": "a"}, {"id": 1, "inputs": "b"}], r":2: id: '1' is there twice, first at .*:1"),
        ([{"inputs": "a", "split": "eval"}], r":1: facts: split 'eval' is none of"),
        ([{"inputs": "a", "ratings": [{"judge": "m", "rubric": "r", "rating": 11}]}], r":1: ratings.0.rating"),
        (
            [{"inputs": "a", "pair": "p", "split": "train"}, {"inputs": "b", "pair": "p", "split": "test"}],
            r":2: split: pair 'p' lies in test here and in train at .*:1",
        ),
        ([{"inputs": " "}], r":1: messages: nothing is said"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_told_with_its_place(tmp_path, rows, told):
    with pytest.raises(UserMistake, match=told) as error:
        read_rows(lines(tmp_path, *rows))
    assert "\n" not in str(error.value)


def test_splits_have_one_name(tmp_path):
    names = ("train", "training", "validation", "val", "heldout", "test")
    rows = read_rows(lines(tmp_path, *({"inputs": str(n), "split": name} for n, name in enumerate(names))))
    assert [row.split for row in rows] == ["train", "train", "dev", "dev", "test", "test"]


def test_rows_in_which_nothing_is_said_are_counted(tmp_path):
    left_out = Counter()
    rows = read_rows(lines(tmp_path, {"inputs": ""}, {"inputs": "Hi", "label": "ambiguous"}), left_out)
    assert (left_out["nothing is said"], [(r.label, r.facts["class"]) for r in rows]) == (
        1,
        [(None, "ambiguous")],
    )


def test_no_file():
    with pytest.raises(DataError, match="no such file"):
        read_rows(Path("nowhere.jsonl"))
