import json

import numpy as np
import pytest
from inspect_ai.log import read_eval_log

from probes.laboratory.restyling import (
    CHANGED,
    masked_row,
    read_restyling,
    restyled_row,
    telling_words,
    words_changed,
)
from probes.laboratory.rewriting import rewritten
from probes.laboratory.rows import StakesRow, read_rows, write_rows
from probes.restyle import main
from tests.support.told import output, told

HIGH, LOW = (
    "I'm on the ward, the pump stops, and she can't breathe.",
    "I'm in the yard, the lamp stops, and it's dim.",
)


def row(number, split="train"):
    messages = [{"role": "user", "content": f"{LOW if number % 2 else HIGH} Case {number}, 3.5 ml."}]
    call = {"type": "function", "function": {"name": "open_valve", "arguments": {"valve": 3}}}
    messages.append({"role": "assistant", "content": "I need help.", "tool_calls": [call]})
    facts = {"split": split, "style": "question"} if split else {}
    label = 1 - number % 2
    return StakesRow(
        id=f"{split}{number}", pair=f"{split}{number // 2}", messages=messages, label=label, facts=facts
    )


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_rows(path, [row(n) for n in range(20)] + [row(n, "test") for n in range(50, 60)])
    return path


def run(data, tmp_path, *options):
    out = tmp_path / "changed.jsonl"
    assert main(["--data", str(data), "--out", str(out), *options]) == 0
    return read_rows(out)


def test_a_rule_changes_words_and_keeps_what_is_said_about_whom():
    rule = read_restyling().rule("letter")
    changed = restyled_row(row(0), "letter", rule, seed=0)
    text = changed.messages[0]["content"]
    assert "I am on the ward" in text
    assert "cannot breathe" in text
    assert "3.5 ml" in text
    assert text.split()[0] in {"To", "Dear", "With"}
    assert "assistance" in changed.messages[1]["content"] or "support" in changed.messages[1]["content"]
    assert changed.messages[1]["tool_calls"] == row(0).messages[1]["tool_calls"]
    assert (changed.id, changed.pair, changed.label, changed.split) == ("train0", "train0", 1, "train")
    assert changed.facts[CHANGED] == changed.facts["style"] == "restyled-letter"


def test_marks_and_case_follow_the_rule_and_numbers_stay():
    styles = read_restyling()
    chatty = restyled_row(row(0), "chatty", styles.rule("chatty"), 0).messages[0]["content"]
    assert chatty == chatty.lower()
    assert "," not in chatty
    assert "3.5" in chatty
    shouted = restyled_row(row(0), "shouted", styles.rule("shouted"), 0).messages[0]["content"]
    assert shouted == shouted.upper()
    assert "3.5 ML!" in shouted


def test_what_is_drawn_depends_on_seed_and_row_alone():
    rule = read_restyling().rule("letter")
    rows = [row(n) for n in range(20)]
    first = [restyled_row(r, "letter", rule, 1).text for r in rows]
    assert [restyled_row(r, "letter", rule, 1).text for r in reversed(rows)] == first[::-1]
    assert [restyled_row(r, "letter", rule, 2).text for r in rows] != first


def test_held_out_styles_are_drawn_for_pairs_and_tell_nothing_of_the_label(data, tmp_path):
    changed = run(data, tmp_path, "--how", "restyled")
    held_out = {f"restyled-{name}" for name in read_restyling().of_split("test")}
    assert {r.facts[CHANGED] for r in changed} == held_out
    for pair in {r.pair for r in changed}:
        assert len({r.facts[CHANGED] for r in changed if r.pair == pair}) == 1
    assert [r.id for r in changed] == [r.id for r in read_rows(data)]


def test_the_words_that_tell_most_are_masked_and_the_bag_of_words_falls(data, tmp_path, capsys):
    changed = run(data, tmp_path, "--how", "masked", "--split", "test", "--words", "12")
    words = {one["word"] for one in json.loads((tmp_path / "changed.jsonl.words.json").read_text())}
    assert {"ward", "pump", "breathe"} & words
    assert not words & {"case", "valve"}
    for one in changed:
        assert not words & set(one.messages[0]["content"].lower().replace(",", " ").replace(".", " ").split())
        assert "something" in one.text
    told = capsys.readouterr().out
    assert "AUROC 1.000" in told
    assert "masked with 0.5" in told


def test_masks_replace_whole_words_of_any_case():
    masked = masked_row(row(0), ["ward", "pump"], "something")
    assert "on the something, the something stops" in masked.text
    assert (
        "forward"
        in masked_row(
            StakesRow(id="a", pair="a", messages=[{"role": "user", "content": "forward Ward"}]), ["ward"], "x"
        ).text
    )
    assert words_changed(row(0), masked) > 0
    assert words_changed(row(0), row(0)) == 0


def test_telling_words_are_ranked_by_what_they_tell():
    rows = [row(n) for n in range(40)]
    mask = telling_words(rows, 6, seed=0)
    assert len(mask.words) == 6
    signs = {word: np.sign(weight) for word, weight in zip(mask.words, mask.weights, strict=True)}
    assert all(signs[word] > 0 for word in {"ward", "pump", "breathe"} & set(signs))
    assert all(signs[word] < 0 for word in {"yard", "lamp", "dim"} & set(signs))


def test_a_model_says_rows_otherwise_and_what_it_does_not_is_counted(tmp_path):
    rows = [row(n) for n in range(4)]

    def script(prompt):
        text = prompt[-1].text
        if "Case 1," in text:
            return "I'm sorry, but I can't help with that."
        if "Case 2," in text:
            return output(" ")
        return "Radio: " + text.rsplit("\n\n", 1)[-1]

    made = rewritten(rows, "radio", told(script), tmp_path)
    assert [r.id for r in made.rows] == ["train0", "train3"]
    assert made.left_out == {"refusal": 1, "no answer": 1}
    assert made.rows[0].messages[0]["content"] == "Radio: " + rows[0].messages[0]["content"]
    assert made.rows[0].messages[1]["tool_calls"]
    assert read_eval_log(str(made.log)).eval.metadata["style"] == "radio"


@pytest.mark.parametrize(
    ("options", "status", "problem"),
    [
        (["--how", "restyled", "--style", "lettre"], 1, "there are chatty, clipped, letter, shouted"),
        (["--how", "restyled", "--model", "told/a"], 2, "with --how restyled and --style"),
        (["--how", "masked", "--split", "tset"], 2, "none of train, dev, test"),
        (["--how", "masked", "--split", "dev"], 1, "no row of split dev"),
        (["--how", "masked", "--out", "changed.csv"], 2, "changed.csv: what is written are JSON lines"),
    ],
)
def test_what_is_wrong_is_one_line(data, tmp_path, capsys, options, status, problem):
    out = [] if "--out" in options else ["--out", str(tmp_path / "out.jsonl")]
    assert main(["--data", str(data), *out, *options]) == status
    told = capsys.readouterr().err
    assert problem in told
    assert told.count("\n") == 1


def test_words_are_never_fitted_on_the_rows_that_are_masked(tmp_path, capsys):
    path = tmp_path / "plain.jsonl"
    write_rows(path, [row(n, None) for n in range(8)])
    given = ["--data", str(path), "--how", "masked", "--out", str(tmp_path / "out.jsonl")]
    assert main(given) == 1
    assert "--train" in capsys.readouterr().err
    one_class = tmp_path / "one.jsonl"
    write_rows(one_class, [row(n) for n in range(0, 8, 2)])
    assert main([*given, "--train", str(one_class)]) == 1
    assert "both classes" in capsys.readouterr().err
