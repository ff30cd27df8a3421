import csv
import math
import re
from pathlib import Path

import pytest
from inspect_ai import score
from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries, write_eval_log

from scorers import human_scores
from scorers.agreement import agreement
from scorers.human import main, template_rows
from scorers.human_scores import HumanError, import_ratings
from scorers.rating_sheet import COLUMNS, SheetError
from scorers.ratings import read_judged
from scorers.rubric import rubric
from tests.conftest import the_samples
from tests.told import told

NAME = "human/deception/anna"


@pytest.fixture(scope="module")
def made():
    """Logs of this module by name, as bytes: one run serves many tests."""
    return {}


@pytest.fixture
def log(converse, tmp_path, made):
    """Eight conversations of two replies each, two initial states."""
    if "run" not in made:
        agent = told([f"Reply {i}." for i in range(16)])
        run = converse(agent=agent, states=2, epochs=4, turns=2, max_samples=1)
        the_samples(run)
        made["run"] = Path(run.location).read_bytes()
    (tmp_path / "run.eval").write_bytes(made["run"])
    return tmp_path / "run.eval"


def template(log, tmp_path, capsys, *options):
    """The rows of a sheet made by the command."""
    assert main(["template", str(log), "--scale", "1-5", "--construct", "deception", *options]) == 0
    path = tmp_path / "template.csv"
    path.write_text(capsys.readouterr().out)
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def sheet(tmp_path, rows, name="ratings.csv"):
    path = tmp_path / name
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def rows(log, tmp_path, capsys):
    """A filled sheet of eight rows; the third is left empty."""
    found = template(log, tmp_path, capsys)
    for i, row in enumerate(found):
        row["value"] = "" if i == 2 else str(i % 5 + 1)
    found[1]["comment"] = 'well, "so"'
    return found


def scores(path, name=NAME):
    return {
        (s.id, s.epoch): s.scores[name]
        for s in the_samples(read_eval_log(str(path)))
        if name in (s.scores or {})
    }


class TestTemplate:
    def test_it_shows_words_alone(self, converse, tmp_path, capsys):
        judge = told({"1": 0.375, "4": 0.625})
        run = converse(turns=2, roles={"influence": judge}, scorers=[rubric("deception")])
        found = template(run.location, tmp_path, capsys)
        assert tuple(found[0]) == COLUMNS
        assert {(r["construct"], r["scale"], r["value"], r["comment"]) for r in found} == {("deception", "1-5", "", "")}  # fmt: skip
        text = (tmp_path / "template.csv").read_text()
        for sample in the_samples(run):
            for hidden in (sample.id, "gameable", "2.875", "You are Alpha", "long prompt"):
                assert str(hidden) not in text
        assert found[0]["conversation"].count("[assistant]\nHello.") == 2

    def test_a_seed_draws_the_same_again_in_random_order(self, log):
        first, same, other = (template_rows(str(log), n=5, seed=s) for s in (1, 1, 2))
        everything = template_rows(str(log), n=99, seed=1)
        assert first == same == everything[:5]
        assert [r.id for r in first] != [r.id for r in other]
        assert len({r.id for r in everything}) == 8
        order = [r.conversation for r in everything]
        assert order != [r.conversation for r in template_rows(str(log), n=99, seed=2)]

    def test_a_row_for_each_reply(self, log, tmp_path, capsys):
        found = template(log, tmp_path, capsys, "--turns", "--n", "3")
        assert [r["turn"] for r in found] == ["1", "2"] * 3
        assert all(r["conversation"].count("[assistant]") == int(r["turn"]) for r in found)

    def test_fewer_conversations_than_asked_for_are_said(self, converse, capsys):
        run = converse(agent=told(""), turns=1)
        assert main(["template", run.location, "--scale", "1-5", "--construct", "harm"]) == 0
        assert "0 conversations with a reply of the agent, 50 were asked for" in capsys.readouterr().err

    @pytest.mark.parametrize("options", [["--construct", "a/b"], ["--construct", "harm", "--n", "0"]])
    def test_bad_options_are_refused(self, log, options, capsys):
        assert main(["template", str(log), "--scale", "1-5", *options]) == 1
        assert capsys.readouterr().out == ""


class TestImport:
    def test_ratings_become_a_score_with_their_source(self, log, tmp_path, rows):
        before = log.read_bytes()
        done = import_ratings(log, sheet(tmp_path, rows), "anna")
        assert (done.path, done.score, done.changed) == (tmp_path / "run_rated.eval", NAME, True)
        assert (done.rated, done.not_rated) == (7, 1)
        assert log.read_bytes() == before
        found = list(scores(done.path).values())
        assert sorted(s.value for s in found if not math.isnan(s.value)) == [1, 1, 2, 2, 3, 4, 5]
        (empty,) = [s for s in found if math.isnan(s.value)]
        assert (empty.reason, empty.metadata["rows"]) == ("not_rated", [4])
        (commented,) = [s for s in found if s.explanation]
        assert commented.explanation == commented.metadata["comment"] == 'well, "so"'
        facts = commented.metadata
        assert (facts["rater"], facts["scale"], facts["file"], facts["rows"]) == (
            "anna",
            "1-5",
            "ratings.csv",
            [3],
        )
        assert re.fullmatch(r"[0-9a-f]{64}", facts["sha256"])
        provenance = commented.history[-1].provenance
        assert (provenance.author, provenance.metadata["rows"]) == ("anna", [3])

    def test_values_stand_with_their_conversations(self, log, tmp_path, rows):
        done = import_ratings(log, sheet(tmp_path, rows), "anna")
        said = {s.scores[NAME].value: s.messages[-1].text for s in the_samples(read_eval_log(str(done.path)))}
        for row in rows[3:5]:
            assert row["conversation"].endswith(said[float(row["value"])])

    def test_summaries_and_header_have_the_score_and_keep_the_others(self, log, tmp_path, rows):
        judged = score(read_eval_log(str(log)), rubric("deception"), model_roles={"influence": told({"2": 1.0})}, display="none")  # fmt: skip
        write_eval_log(judged, log)
        done = import_ratings(log, sheet(tmp_path, rows), "anna")
        summaries = read_eval_log_sample_summaries(str(done.path))
        assert {tuple(s.scores) for s in summaries} == {("rubric", NAME)}
        header = read_eval_log(str(done.path), header_only=True)
        *others, last = header.results.scores
        assert [s.name for s in others] == [s.name for s in judged.results.scores]
        assert (last.name, last.scored_samples, last.unscored_samples) == (NAME, 7, 1)
        assert last.metrics["mean"].value == pytest.approx(18 / 7)
        assert header.metadata[NAME]["rated"] == 7

    def test_the_same_sheet_again_changes_nothing(self, log, tmp_path, rows, capsys):
        arguments = ["import", str(log), str(sheet(tmp_path, rows)), "--rater", "anna"]
        assert main(arguments) == 0
        before = (tmp_path / "run_rated.eval").read_bytes()
        assert main(arguments) == 0
        assert "nothing written" in capsys.readouterr().out
        assert (tmp_path / "run_rated.eval").read_bytes() == before

    def test_another_sheet_needs_replace_and_leaves_a_history(self, log, tmp_path, rows):
        done = import_ratings(log, sheet(tmp_path, rows), "anna")
        rows[0]["value"] = "5"
        changed = sheet(tmp_path, rows[:-1])
        before = done.path.read_bytes()
        with pytest.raises(HumanError, match="--replace"):
            import_ratings(log, changed, "anna")
        assert done.path.read_bytes() == before
        again = import_ratings(log, changed, "anna", replace=True)
        assert (again.rated, again.not_rated) == (6, 2)  # the row that is gone is taken back
        histories = [[e.value for e in s.history] for s in scores(done.path).values()]
        assert [1.0, 5.0] in histories
        assert sum(len(h) == 2 and math.isnan(h[1]) and not math.isnan(h[0]) for h in histories) == 1

    def test_in_place(self, log, tmp_path, rows):
        done = import_ratings(log, sheet(tmp_path, rows), "anna", in_place=True)
        assert done.path == log
        assert len(scores(log)) == 8
        assert not (tmp_path / "run_rated.eval").exists()

    def test_a_second_rater_is_added_to_the_copy(self, log, tmp_path, rows):
        path = sheet(tmp_path, rows)
        import_ratings(log, path, "anna")
        done = import_ratings(log, path, "bert")
        assert len(scores(done.path)) == len(scores(done.path, "human/deception/bert")) == 8

    def test_a_copy_of_something_else_is_not_touched(self, log, tmp_path, rows, converse):
        other = converse(turns=1)
        write_eval_log(other, tmp_path / "run_rated.eval")
        with pytest.raises(HumanError, match="is not a copy of"):
            import_ratings(log, sheet(tmp_path, rows), "anna")

    def test_a_copy_without_the_newest_scores_is_not_touched(self, log, tmp_path, rows):
        path = sheet(tmp_path, rows)
        import_ratings(log, path, "anna")
        judged = score(read_eval_log(str(log)), rubric("harm"), model_roles={"influence": told({"2": 1.0})}, display="none")  # fmt: skip
        write_eval_log(judged, log)
        with pytest.raises(HumanError, match="is an older copy, without rubric"):
            import_ratings(log, path, "bert")

    def test_a_write_that_breaks_leaves_the_log_whole(self, log, tmp_path, rows, monkeypatch):
        def broken(_, path):
            Path(path).write_bytes(b"half")
            raise OSError("disk full")

        monkeypatch.setattr(human_scores, "write_eval_log", broken)
        before = log.read_bytes()
        with pytest.raises(OSError, match="disk full"):
            import_ratings(log, sheet(tmp_path, rows), "anna", in_place=True)
        assert log.read_bytes() == before
        assert not list(tmp_path.glob(".*"))

    def test_replies_rated_one_by_one_make_their_mean(self, log, tmp_path, capsys):
        found = template(log, tmp_path, capsys, "--turns", "--n", "2")
        for row, value in zip(found, ["1", "4", "3", ""], strict=True):
            row["value"] = value
        done = import_ratings(log, sheet(tmp_path, found), "anna")
        by_value = {s.value: s.metadata for s in scores(done.path).values()}
        assert sorted(by_value) == [2.5, 3.0]
        assert [t["value"] for t in by_value[2.5]["turns"]] == [1.0, 4.0]
        assert (by_value[3.0]["turns_unscored"], by_value[3.0]["over"]) == (1, "mean")

    def test_as_a_spreadsheet_program_writes_it(self, log, tmp_path, rows):
        rows[0]["value"] = "2,5"
        text = sheet(tmp_path, rows).read_text()
        path = tmp_path / "excel.csv"
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            csv.writer(file, delimiter=";").writerows(csv.reader(text.splitlines(keepends=True)))
        import_ratings(log, path, "anna")
        assert 2.5 in {s.value for s in scores(tmp_path / "run_rated.eval").values()}

    def test_samples_may_be_named_by_id_and_epoch(self, log, tmp_path):
        first = the_samples(read_eval_log(str(log)))[0]
        row = {"sample_id": first.id, "epoch": 1, "construct": "deception", "scale": "0-1", "value": "1"}
        import_ratings(log, sheet(tmp_path, [row]), "anna")
        assert {i: s.value for i, s in scores(tmp_path / "run_rated.eval").items()} == {(first.id, 1): 1.0}


WRONG = [
    ({"id": "zz"}, 3, "id", "no conversation 'zz' in this log"),
    ({"value": "6"}, 3, "value", "'6' is not between 1 and 5"),
    ({"value": "nan"}, 3, "value", "'nan' is not a number"),
    ({"value": "high"}, 3, "value", "'high' is not a number"),
    ({"construct": "harm"}, 3, "construct", "is 'harm', the rest is about 'deception'"),
    ({"scale": "1-10"}, 3, "scale", "other rows have"),
    ({"scale": "1-7"}, 3, "scale", "'1-7' is none of"),
    ({"turn": "3"}, 3, "turn", "must be 1 to 2"),
]


class TestWrongSheets:
    @pytest.mark.parametrize(("change", "row", "column", "problem"), WRONG)
    def test_a_problem_is_said_with_file_row_and_column(
        self, log, tmp_path, rows, change, row, column, problem
    ):
        rows[row - 2] |= change
        with pytest.raises(SheetError) as found:
            import_ratings(log, sheet(tmp_path, rows), "anna")
        assert re.search(
            rf"^ratings\.csv:\d+: {column}: .*{re.escape(problem)}", str(found.value), re.MULTILINE
        )
        assert not (tmp_path / "run_rated.eval").exists()

    def test_a_conversation_rated_twice(self, log, tmp_path, rows):
        with pytest.raises(
            SheetError, match=r"^ratings.csv:10: id: the same conversation is rated in row 2 too"
        ):
            import_ratings(log, sheet(tmp_path, [*rows, rows[0]]), "anna")

    def test_a_conversation_and_a_reply_of_it(self, log, tmp_path, rows):
        with pytest.raises(
            SheetError, match=r"^ratings.csv:10: turn: the whole conversation is rated as well"
        ):
            import_ratings(log, sheet(tmp_path, [*rows, rows[0] | {"turn": "1"}]), "anna")

    def test_all_problems_are_listed_up_to_twenty(self, log, tmp_path, rows, capsys):
        bad = [rows[0] | {"id": f"x{i}", "value": "9"} for i in range(12)]
        assert main(["import", str(log), str(sheet(tmp_path, bad)), "--rater", "anna"]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 21
        assert lines[-1] == "and 4 more"

    @pytest.mark.parametrize("column", ["id", "construct", "scale", "value"])
    def test_a_column_that_is_missing(self, log, tmp_path, rows, column):
        short = [{k: v for k, v in r.items() if k != column} for r in rows]
        with pytest.raises(SheetError, match=rf"^ratings.csv:1: no column {column}"):
            import_ratings(log, sheet(tmp_path, short), "anna")

    def test_an_empty_file(self, log, tmp_path):
        (tmp_path / "ratings.csv").write_text("")
        with pytest.raises(SheetError, match="no column"):
            import_ratings(log, tmp_path / "ratings.csv", "anna")

    def test_another_construct_than_wanted(self, log, tmp_path, rows):
        with pytest.raises(SheetError, match="the rest is about 'harm'|is 'deception'"):
            import_ratings(log, sheet(tmp_path, rows), "anna", construct="harm")

    def test_another_run_of_the_same_samples(self, tmp_path, rows, converse):
        other = converse(agent=told("Never."), states=2, turns=2)
        with pytest.raises(SheetError, match="was the sheet made from it"):
            import_ratings(Path(other.location), sheet(tmp_path, rows), "anna")

    def test_a_name_that_would_break_the_scores_name(self, log, tmp_path, rows):
        with pytest.raises(HumanError, match="cannot be part of a score's name"):
            import_ratings(log, sheet(tmp_path, rows), "anna/b")


def test_from_two_judges_and_a_person_to_a_report(converse, tmp_path, capsys):
    one = told(lambda p: {"4": 1.0} if "Reply 1" in p[-1].text else {"2": 0.75, "3": 0.25}, "one")
    two = told(lambda p: {"5": 1.0} if "Reply 1" in p[-1].text else {"1": 1.0}, "two")
    agent = told([f"Reply {i % 3}." for i in range(8)])
    run = converse(
        agent=agent, states=4, epochs=2, turns=1, roles={"influence": one}, scorers=[rubric("deception")]
    )
    log = score(run, rubric("deception"), model_roles={"influence": two}, action="append", display="none")
    write_eval_log(log, tmp_path / "run.eval")
    found = template(tmp_path / "run.eval", tmp_path, capsys)
    for row in found[1:]:
        row["value"] = "5" if "Reply 1" in row["conversation"] else "2"
    done = import_ratings(tmp_path / "run.eval", sheet(tmp_path, found), "anna")
    (figures,) = agreement(read_judged([str(done.path)])).sets
    assert [r.name for r in figures.raters] == ["rubric.deception", "rubric1.deception", NAME]
    assert [r.judged_by for r in figures.raters] == [["told/one"], ["told/two"], ["anna"]]
    anna = figures.raters[2]
    assert (anna.scored, anna.unscored, anna.not_rated) == (7, 1, 0)
    assert [p.pearson.value for p in figures.pairs] == pytest.approx([1, 1, 1])
    assert (figures.alpha["interval"].value or 0) > 0.7
    shorthand = agreement(read_judged([str(done.path)]), ["rubric.deception", "human/anna"]).sets[0]
    assert shorthand.pairs[0] == figures.pairs[1]
