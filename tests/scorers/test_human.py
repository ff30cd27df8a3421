import csv
import errno
import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from inspect_ai import score
from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries, write_eval_log

from scenarios.files.tables import read_table
from scenarios.files.whole import WriteError
from scenarios.mistakes import UserMistake
from scorers.agreement import agreement
from scorers.human import main, template_rows
from scorers.people import human_scores
from scorers.people.human_scores import HumanError, import_ratings
from scorers.people.rating_sheet import COLUMNS, SheetError, _plain
from scorers.people.ratings import read_judged
from scorers.rubric import rubric
from tests.support.conversations import the_samples
from tests.support.told import told

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
        assert {(r["construct"], r["scale"], r["value"], r["comment"]) for r in found} == {("deception", "1 to 5", "", "")}  # fmt: skip
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
        def broken(_, path, **options):
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(human_scores, "write_eval_log", broken)
        before = log.read_bytes()
        with pytest.raises(WriteError, match="the disk is full"):
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

    @pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
    def test_in_another_encoding_and_with_long_cells(self, log, tmp_path, rows, encoding):
        rows[1]["comment"] = "Très bien, " + "à peu près. " * 20_000
        path = tmp_path / "ratings.csv"
        path.write_bytes(sheet(tmp_path, rows).read_bytes().decode().encode(encoding))
        done = import_ratings(log, path, "anna")
        assert [s.explanation for s in scores(done.path).values() if s.explanation] == [
            rows[1]["comment"].strip()
        ]

    @pytest.mark.parametrize(
        ("cell", "scale"),
        [("2026-01-05", None), ("05-Jan", None), ("01/05/26", None), ("01. Mai", "1-5"), ("", "1-5"), ("45662", "1-5")],
    )  # fmt: skip
    def test_a_scale_that_has_become_a_date(self, log, tmp_path, rows, cell, scale):
        path = sheet(tmp_path, [row | {"scale": cell} for row in rows])
        if scale:
            with pytest.raises(SheetError, match="is no scale; .*say --scale"):
                import_ratings(log, path, "anna")
        done = import_ratings(log, path, "anna", scale=scale)
        assert {s.metadata["scale"] for s in scores(done.path).values()} == {"1-5"}

    def test_a_scale_that_has_become_a_date_is_that_of_the_logs_own_score(self, log, tmp_path, rows):
        judged = score(read_eval_log(str(log)), rubric("deception"), model_roles={"influence": told({"2": 1.0})}, display="none")  # fmt: skip
        write_eval_log(judged, log)
        (known,) = {s.scores["rubric"].metadata["scales"]["deception"] for s in the_samples(judged)}
        done = import_ratings(log, sheet(tmp_path, [r | {"scale": "01. Mai"} for r in rows]), "anna")
        assert {s.metadata["scale"] for s in scores(done.path).values()} == {known}

    def test_ids_and_turns_that_have_become_numbers(self, log, tmp_path):
        first = the_samples(read_eval_log(str(log)))[0]
        row = {"sample_id": first.id, "epoch": "1.0", "turn": "2.0", "construct": "deception", "scale": "1-5", "value": "3"}  # fmt: skip
        done = import_ratings(log, sheet(tmp_path, [row]), "anna")
        assert [s.value for s in scores(done.path).values()] == [3.0]
        assert (_plain("007"), _plain("7.0"), _plain("1e5"), _plain("a7")) == ("7", "7", "100000", "a7")

    def test_the_sheet_as_a_file_opens_in_excel(self, log, tmp_path, rows):
        out = tmp_path / "new" / "sheet.csv"
        options = ["--scale", "1-5", "--construct", "deception", "--out", str(out)]
        assert main(["template", str(log), *options]) == 0
        assert out.read_bytes().startswith("\ufeffid,turn".encode())
        filled = [row.cells | {"value": "3"} for row in read_table(out)]
        assert import_ratings(log, sheet(tmp_path, filled), "anna").rated == 8

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
    ({"value": "1,000"}, 3, "value", "'1,000' may be a thousand or a decimal comma"),
    ({"value": "1_0"}, 3, "value", "'1_0' is not a number"),
    ({"id": "1.23457E+15"}, 3, "id", "a spreadsheet has made a number of it"),
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
        with pytest.raises(UserMistake, match="its first row must name the columns"):
            import_ratings(log, tmp_path / "ratings.csv", "anna")
        (tmp_path / "ratings.csv").write_text(f"{','.join(COLUMNS)}\n")
        with pytest.raises(SheetError, match="there are no rows"):
            import_ratings(log, tmp_path / "ratings.csv", "anna")

    def test_another_construct_than_wanted(self, log, tmp_path, rows):
        with pytest.raises(SheetError, match="the rest is about 'harm'|is 'deception'"):
            import_ratings(log, sheet(tmp_path, rows), "anna", construct="harm")

    def test_another_run_of_the_same_samples(self, tmp_path, rows, converse):
        other = converse(agent=told("Never."), states=2, turns=2)
        with pytest.raises(SheetError, match="was the sheet made from it"):
            import_ratings(Path(other.location), sheet(tmp_path, rows), "anna")

    def test_a_name_that_would_break_the_scores_name(self, log, tmp_path, rows):
        for name in ("anna/b", "", " "):
            with pytest.raises(HumanError, match="cannot be part of a score's name"):
                import_ratings(log, sheet(tmp_path, rows), name)
        with pytest.raises(HumanError, match="cannot be part of a score's name"):
            import_ratings(log, sheet(tmp_path, rows), "anna", construct="")

    def test_a_sheet_that_nobody_filled(self, log, tmp_path, rows):
        empty = [row | {"value": ""} for row in rows]
        with pytest.raises(SheetError, match="none of its 8 rows has a value; nothing is imported"):
            import_ratings(log, sheet(tmp_path, empty), "anna")
        assert not (tmp_path / "run_rated.eval").exists()
        import_ratings(log, sheet(tmp_path, rows), "anna")

    def test_the_log_itself_needs_to_be_asked_for(self, log, tmp_path, rows):
        before = log.read_bytes()
        (tmp_path / "same.eval").symlink_to(log)
        for out in (log, tmp_path / "." / log.name, tmp_path / "same.eval"):
            with pytest.raises(HumanError, match="is the log itself; say --in-place"):
                import_ratings(log, sheet(tmp_path, rows), "anna", out=out)
        assert log.read_bytes() == before

    def test_a_construct_that_is_nearly_one(self, log, tmp_path, rows, capsys):
        options = ["template", str(log), "--scale", "1-5", "--construct", "decepton"]
        assert main(options) == 1
        said = capsys.readouterr()
        assert said.err.splitlines() == [
            "construct 'decepton': did you mean 'deception'? If it is one of your own, say --own-construct"
        ]
        assert said.out == ""
        assert main([*options, "--own-construct"]) == 0
        assert main(["template", str(log), "--scale", "1-5", "--construct", "kindness"]) == 0
        nearly = sheet(tmp_path, [row | {"construct": "decepton"} for row in rows])
        with pytest.raises(HumanError, match="did you mean 'deception'"):
            import_ratings(log, nearly, "anna")
        assert import_ratings(log, nearly, "anna", own=True).score == "human/decepton/anna"

    @pytest.mark.parametrize("command", [["template"], ["import", "--rater", "anna"]])
    def test_something_that_is_no_log(self, tmp_path, capsys, rows, command):
        junk = tmp_path / "junk.eval"
        junk.write_bytes(b"no log")
        more = (
            ["--scale", "1-5", "--construct", "harm"]
            if command == ["template"]
            else [str(sheet(tmp_path, rows))]
        )
        assert main([command[0], str(junk), *more, *command[1:]]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "junk.eval: damaged or cut off" in line

    def test_a_workbook(self, log, tmp_path, capsys):
        (tmp_path / "ratings.ods").write_bytes(b"PK\x03\x04")
        assert main(["import", str(log), str(tmp_path / "ratings.ods"), "--rater", "anna"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "save the sheet as CSV UTF-8" in line


def test_from_two_judges_and_a_person_to_a_report(converse, tmp_path, capsys):
    one = told(lambda p: {"4": 1.0} if "Reply 1" in p[-1].text else {"2": 0.75, "3": 0.25}, "one")
    two = told(lambda p: {"5": 1.0} if "Reply 1" in p[-1].text else {"1": 1.0}, "two")
    agent = told([f"Reply {i % 3}." for i in range(8)])
    run = converse(
        agent=agent, states=4, epochs=2, turns=1, roles={"influence": one}, scorers=[rubric("deception")]
    )
    log = score(
        run,
        rubric("deception"),
        model_roles={"influence": two},
        action="append",
        display="none",
    )
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


@pytest.mark.download
@pytest.mark.parametrize("kind", ["ods", "xlsx"])
@pytest.mark.parametrize("turns", [False, True])
def test_a_sheet_survives_a_spreadsheet_program(log, tmp_path, kind, turns):
    office = shutil.which("soffice")
    if office is None:
        pytest.skip("LibreOffice is not installed (Debian: libreoffice-calc-nogui)")

    def converted(path, end, *options):
        where = ["--convert-to", end, "--outdir", str(tmp_path / "office")]
        profile = f"-env:UserInstallation=file://{tmp_path}/profile"
        subprocess.run(
            [office, profile, "--headless", *options, *where, str(path)], check=True, capture_output=True
        )
        return tmp_path / "office" / path.with_suffix(f".{end.partition(':')[0]}").name

    utf8 = "Text - txt - csv (StarCalc):44,34,76,1"

    out = tmp_path / "sheet.csv"
    options = [
        "--scale",
        "1-5",
        "--construct",
        "deception",
        "--out",
        str(out),
        *(["--turns"] if turns else []),
    ]
    assert main(["template", str(log), *options]) == 0
    before = [row.cells for row in read_table(out)]
    book = converted(out, kind, f"--infilter={utf8}")
    back = converted(book, "csv:Text - txt - csv (StarCalc):59,34,76,1")
    assert [row.cells for row in read_table(back)] == before
    filled = [row | {"value": str(number % 5 + 1)} for number, row in enumerate(before)]
    sheet(tmp_path, filled, "filled.csv")
    # as the program does unasked: UTF-8 with a mark is read as a code page
    (tmp_path / "filled.csv").write_bytes((tmp_path / "filled.csv").read_bytes().decode().encode("utf-8-sig"))
    back = converted(converted(tmp_path / "filled.csv", kind), "csv")
    done = import_ratings(log, back, "anna")
    assert (done.rated, done.not_rated) == (8, 0)
    found = [s.value for s in scores(done.path).values()]
    assert turns or sorted(found) == [1, 1, 2, 2, 3, 3, 4, 5]
