from collections import Counter

import pytest
from inspect_ai import eval, eval_retry  # noqa: A004

from probes.conversations.sources import read_conversations
from probes.conversations.table_rows import TableOptions
from probes.corpus import main
from probes.laboratory.grammar import grammar_rows, read_grammar
from probes.laboratory.merging import merge_ratings, one_sided_pairs
from probes.laboratory.rows import Rating, StakesRow, read_rows, write_rows
from scenarios.mistakes import UserMistake
from scenarios.stakes.ratings import Thresholds
from tasks.stakes_generate import stakes_generate
from tasks.stakes_label import stakes_label
from tests.support.places import ROOT
from tests.support.stakes_writer import every_told_model_follows, rated_by_words, written_pair
from tests.support.told import told


def make(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    return status, capsys.readouterr()


def row(identity, label=None, *, said="Something happened.", pair="p", facts=None, ratings=()):
    return StakesRow(
        id=identity, pair=pair, messages=[{"role": "user", "content": f"{said} {identity}"}], label=label,
        facts=facts or {}, ratings=list(ratings),
    )  # fmt: skip


# -- written by a model, then rated ---------------------------------------------------------------


def test_what_a_model_wrote_becomes_rows_which_judges_confirm(tmp_path, capsys):
    refused = iter(range(100))

    def script(prompt):
        if "You write texts" in prompt[0].text and next(refused) in (0, 3):
            return "I'm sorry, but I can't help with that." if next(refused) == 1 else '{"high": "only this"}'
        return written_pair(prompt)

    task = stakes_generate(pairs=12, styles=2, cache=False, seed=1)
    (log,) = eval(task, model=told(script, "writer"), log_dir=str(tmp_path / "written"), display="none")
    out = tmp_path / "stakes.jsonl"
    status, shown = make(capsys, log.location, "--out", out, "--allow-overlap")
    assert status == 0, shown.err
    rows = read_rows(out)
    assert len(rows) == 2 * (24 - 2)
    assert "2 of 24 prompt pairs are broken" in shown.err
    assert one_sided_pairs(rows) == set()
    high = next(r for r in rows if r.label)
    assert high.facts["harm"] == "life or health"
    assert {"style", "tone", "language", "length", "topic", "role", "impact", "split", "source"} <= set(
        high.facts
    )
    assert high.messages[0]["content"].startswith(
        f"{high.facts['style']}: After some mistakes the pump of the ward"
    )
    card = (tmp_path / "stakes.md").read_text()
    assert "2 of 24 prompt pairs are broken" in card
    assert "* refusal: 1" in card
    assert "* one-sided: 1" in card
    assert "| told/writer |" in card
    assert "not known" in card  # no price

    judged = stakes_label(data=str(out), cache=False)
    (labels,) = eval(
        judged, model=told(rated_by_words, "judge"), log_dir=str(tmp_path / "labels"), display="none"
    )
    both = tmp_path / "both.jsonl"
    status, _ = make(capsys, labels.location, "--rows", out, "--out", both, "--allow-overlap")
    assert status == 0
    merged = read_rows(both)
    assert [r.label for r in merged] == [r.label for r in rows]
    assert {r.ratings[0].judge for r in merged} == {"told/judge"}
    told_by_card = (tmp_path / "both.md").read_text()
    assert f"* confirmed high: {len(rows) // 2} rows" in told_by_card
    half = len(rows) // 2
    assert f"| told/judge | {len(rows)} | 5.50 | 0 |" in told_by_card
    assert f"| told/judge | 0 | {half} | 0 | 0 | 0 | 0 | 0 | 0 | {half} | 0 |" in told_by_card
    assert f"| high | {half} | " in told_by_card


def test_an_eval_and_its_retry_are_one(tmp_path, capsys, monkeypatch):
    calls = Counter()

    def script(name, prompt):
        calls["all"] += 1
        if calls["all"] == 7:
            raise RuntimeError("the service is down")
        return written_pair(prompt)

    every_told_model_follows(monkeypatch, script)
    given = {"pairs": 4, "styles": 1, "metadata": False, "cache": False}
    options = {"log_dir": str(tmp_path / "logs"), "display": "none", "max_samples": 1}
    (log,) = eval("tasks/stakes_generate.py", model="told/failing_once", task_args=given, **options)
    assert log.status == "error"
    (again,) = eval_retry(log, **options)
    assert again.status == "success"
    out = tmp_path / "out.jsonl"
    status, shown = make(capsys, tmp_path / "logs", "--out", out, "--allow-overlap")
    assert status == 0, shown.err
    assert len(read_rows(out)) == 8
    assert "they are left out here" in shown.err
    assert "0 of 4 prompt pairs are broken" in out.with_suffix(".md").read_text()


def test_the_grammar_that_is_shipped_is_what_the_command_writes(tmp_path, capsys):
    shipped = ROOT / "probes" / "laboratory" / "stakes_grammar.jsonl"
    assert make(capsys, "--grammar", "--out", tmp_path / "stakes_grammar.jsonl")[0] == 0
    assert (tmp_path / "stakes_grammar.jsonl").read_text() == shipped.read_text()
    assert (tmp_path / "stakes_grammar.md").read_text() == shipped.with_suffix(".md").read_text()
    assert read_rows(shipped) == grammar_rows(read_grammar())
    assert "| bag of words | 0.50 [0.50, 0.50] | 1024 |" in (tmp_path / "stakes_grammar.md").read_text()


# -- ratings and labels ---------------------------------------------------------------------------


def rated(value, confidence=9, judge="j", rubric="r"):
    return Rating(judge=judge, rubric=rubric, rating=value, confidence=confidence)


@pytest.mark.parametrize(
    ("label", "ratings", "options", "expected", "happened"),
    [
        (None, [rated(9)], {}, 1, "rated high"),
        (None, [rated(2)], {}, 0, "rated low"),
        (None, [rated(5)], {}, "ambiguous", "rated ambiguous"),
        (None, [rated(9, 6)], {}, "ambiguous", "rated ambiguous"),
        (None, [rated(None, None)], {}, None, "without label and usable rating"),
        (1, [], {}, 1, "kept, without a usable rating"),
        (1, [rated(8)], {}, 1, "confirmed high"),
        (1, [rated(5)], {}, "ambiguous", "ambiguous"),
        (1, [rated(5)], {"conflict": "keep"}, 1, "kept, though ambiguous to judges"),
        (1, [rated(2)], {}, "ambiguous", "rated low, labelled high: ambiguous"),
        (1, [rated(2)], {"conflict": "rating"}, 0, "rated low, labelled high: low"),
        (1, [rated(2)], {"conflict": "keep"}, 1, "rated low, labelled high: high"),
        (None, [rated(10), rated(7, judge="k")], {}, 1, "rated high"),  # mean 8.5
        (None, [rated(10), rated(7, judge="k")], {"consensus": "all"}, "ambiguous", "rated ambiguous"),
        (None, [rated(10), rated(1, judge="k")], {"judges": ["k"]}, 0, "rated low"),
        (None, [rated(9), rated(9, None, judge="human/a")], {"judges": ["human/a"]}, 1, "rated high"),
    ],
)
def test_how_ratings_make_labels(label, ratings, options, expected, happened):
    one = row("a", label)
    merged = merge_ratings([one], {("a", one.digest): ratings}, Thresholds(), **options)
    (found,) = merged.rows
    assert (found.facts.get("class") or found.label) == expected
    assert merged.counts == {happened: 1}
    assert found.ratings == ratings


def test_ratings_of_another_text_under_the_same_id_do_not_count_and_new_ones_replace_old():
    one = row("a", ratings=[rated(2), rated(2, judge="k")])
    merged = merge_ratings([one], {("a", "0" * 16): [rated(9)]}, Thresholds())
    assert merged.counts == {"rated low": 1}
    again = merge_ratings([one], {("a", one.digest): [rated(9)]}, Thresholds()).rows[0]
    assert again.ratings == [rated(2, judge="k"), rated(9)]
    with pytest.raises(UserMistake, match="no ratings by 'x'; there are j, k"):
        merge_ratings([one], {}, Thresholds(), judges=["x"])


def test_one_sided_pairs():
    rows = [
        row("a", 1), row("b", 0), row("c", 1, pair="q"), row("d", 1, pair="q"), row("e", 1, pair="r"),
        row("f", 1, pair="s"), row("g", None, pair="s"),
    ]  # fmt: skip
    assert one_sided_pairs(rows) == {"q", "s"}  # one row alone is no pair


# -- mistakes -------------------------------------------------------------------------------------


def files(tmp_path, *sets):
    paths = []
    for number, rows in enumerate(sets):
        paths.append(tmp_path / f"{number}.jsonl")
        write_rows(paths[-1], rows)
    return paths


LONG = "The dam above the village has a crack that grows by a hand every hour and nobody has been told."


def test_what_is_refused(tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    train, test = {"split": "train"}, {"split": "test"}
    first, second, third = files(
        tmp_path,
        [row("a", 1, pair="p", facts=train)],
        [row("b", 0, pair="p", facts=test)],
        [row("c", 0, pair="c", said=LONG, facts=test), row("d", 0, pair="d", said=LONG, facts=train)],
    )
    for arguments, status, problem in (
        (["--rows", first, second], 1, "pair 'p' lies in test here and in train at a"),
        (["--rows", first, first], 1, "id 'a' comes from two sources"),
        (["--rows", first, "--consensus", "all"], 2, "--consensus is for ratings, and there are none"),
        (["--rows", first, "--low", "2"], 2, "--low is for ratings, and there are none"),
        (["--rows", third], 1, "1 rows of test are in train (1 near)"),
        ([], 1, "no rows"),
        (["--rows", tmp_path / "gone.jsonl"], 1, "gone.jsonl: no such file"),
        (["--rows", first, "--near", 0], 2, "--near 0"),
        (["--rows", first, "--low", 9], 1, "low below high"),
        (["--rows", first, "--conflct", "keep"], 2, "did you mean '--conflict'"),
        (["--rows", first, "--judges", "x"], 2, "--judges is for ratings, and there are none"),
    ):
        code, shown = make(capsys, *arguments, "--out", out)
        assert (code, shown.err.count("\n")) == (status, 1), arguments
        assert problem in shown.err
        assert not out.exists()
    card = out.with_suffix(".md")  # rows of this name would be written over by their own card
    code, shown = make(capsys, "--rows", first, "--out", card)
    assert (code, card.exists(), shown.err.count("\n")) == (2, False, 1)
    assert f"--out: {card}: what is written are JSON lines; name a file that ends in .jsonl" in shown.err
    assert make(capsys, "--rows", third, "--allow-overlap", "--out", out)[0] == 0
    assert "| test | train | 0 | 1 | 0 | c in d |" in out.with_suffix(".md").read_text()


def test_one_class_only_has_a_card_without_figures(tmp_path, capsys):
    (only,) = files(tmp_path, [row(str(n), 1, pair=str(n)) for n in range(6)])
    assert make(capsys, "--rows", only, "--allow-overlap", "--out", tmp_path / "out.jsonl")[0] == 0
    assert "6 high and 0 low rows: two pairs of each are needed" in (tmp_path / "out.md").read_text()


def test_one_sided_pairs_can_be_dropped_and_are_counted(tmp_path, capsys):
    (some,) = files(tmp_path, [row("a", 1), row("b", 0), row("c", 1, pair="q"), row("d", 1, pair="q")])
    out = tmp_path / "out.jsonl"
    make(capsys, "--rows", some, "--one-sided", "drop", "--out", out)
    assert [r.id for r in read_rows(out)] == ["a", "b"]
    assert "* of a one-sided pair: 2 rows" in out.with_suffix(".md").read_text()
    make(capsys, "--rows", some, "--out", out)
    assert "2 pairs of two rows or more; 1 of them one-sided" in out.with_suffix(".md").read_text()


def test_rows_are_read_by_captures_with_their_facts():
    shipped = ROOT / "probes" / "laboratory" / "stakes_grammar.jsonl"
    options = TableOptions(label_column="label", group_column="pair", facts=["split"])
    found = list(read_conversations(str(shipped), options, Counter()))
    rows = read_rows(shipped)
    assert [(c.id, c.group, c.label, c.messages, c.facts) for c in found] == [
        (r.id, r.pair, r.label, r.messages, r.facts) for r in rows
    ]
    assert [bool(c.tools) for c in found] == [bool(r.tools) for r in rows]


def test_a_log_of_something_else_is_named(tmp_path, capsys):
    (rows,) = files(tmp_path, [row("a", 1, pair="p"), row("b", 0, pair="p")])
    log = ROOT / "logs" / "example.eval"
    code, shown = make(capsys, log, "--rows", rows, "--allow-overlap", "--out", tmp_path / "out.jsonl")
    assert code == 1
    assert (
        f"{log}: no prompts of stakes_generate and no ratings, so it adds nothing; leave it out" in shown.err
    )
    assert not (tmp_path / "out.jsonl").exists()
