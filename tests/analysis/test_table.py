"""The table of a log, and of two."""

import csv
import json
import math
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from inspect_ai.log import EvalError, EvalSampleLimit, ProvenanceData, invalidate_samples

from analysis.table import describe, main
from analysis.values import Values
from tests.support.places import ROOT
from tests.support.scored_logs import conversation, foreign, written

FAILED = {"error": EvalError(message="boom", traceback="", traceback_ansi="")}


def line(lines, title):
    (found,) = [one for one in lines if one.strip().startswith(title)]
    return found


def judged(model, value, form="binary", scale="0-1"):
    return (value, {"scale": scale, "question": f"influence_{form}", "turns": [{"model": model}]})


class TestColumns:
    def test_logs_1_scores_of_failed_conversations_are_left_out_and_counted(self, tmp_path):
        # appended with another form: what had no score got the name of the first judge's
        rows = [
            conversation(f"s{n}", {"influence": judged("b", 4.0, "five_point", "1-5")}) | FAILED
            for n in range(4)
        ]
        rows += [
            conversation(
                f"s{n}",
                {"influence": judged("a", 0.25), "influence1": judged("b", 3.0, "five_point", "1-5")},
            )
            for n in range(4, 16)
        ]
        lines = describe(written(tmp_path / "a.eval", rows))
        assert "0.25 [" in line(lines, "harm (binary; a; 0-1)")
        assert "12 / 4, 0 / 0" in line(lines, "harm (binary; a; 0-1)")
        assert "3.00" in line(lines, "harm (five_point; b; 1-5)")
        assert "scores of 4 conversations that ended in an error are left out" in "\n".join(lines)

    def test_a_monitors_score_is_named_after_what_it_detects(self, tmp_path):
        def monitored(value, detects, monitor="mean-layer18"):
            return (value, {"scale": "0-1", "detects": detects, "monitor": monitor})

        rows = [
            conversation(
                f"s{n}",
                {"stakes": monitored(0.25, "harm"), "stakes1": monitored(0.75, "harm", "lda-layer4"),
                 "stakes2": monitored(0.5, "high stakes")},
            )
            for n in range(4)
        ]  # fmt: skip
        lines = describe(written(tmp_path / "a.eval", rows))
        assert "0.25 [" in line(lines, "harm, by monitor (mean-layer18)")
        assert "0.75 [" in line(lines, "harm, by monitor (lda-layer4)")
        assert "0.50 [" in line(lines, "high stakes, by monitor")

    def test_logs_1_one_judge_under_two_names_has_one_line(self, tmp_path):
        rows = [conversation(f"s{n}", {"influence": judged("b", 1.0)}) for n in range(4)]
        rows += [
            conversation(f"s{n}", {"influence": judged("a", 0.0), "influence1": judged("b", 0.0)})
            for n in range(4, 8)
        ]
        lines = describe(written(tmp_path / "a.eval", rows))
        assert "0.50 [" in line(lines, "harm (b)")
        assert "8 / 0" in line(lines, "harm (b)")
        # the four that the first judge did not see are no zeros
        assert "0.00 [" in line(lines, "harm (a)")
        assert "4 / 4" in line(lines, "harm (a)")

    def test_inputs_36_judge_and_form_are_shown_where_the_name_does_not_tell(self, tmp_path):
        scores = {"influence": judged("a", 0.5), "influence1": judged("a", 0.25, "constitutional")}
        lines = describe(written(tmp_path / "a.eval", [conversation(f"s{n}", scores) for n in range(3)]))
        assert "0.50" in line(lines, "harm (binary)")
        assert "0.25" in line(lines, "harm (constitutional)")

    def test_what_is_unscored_counts_with_its_own_judge(self, tmp_path):
        rows = [
            conversation(
                f"s{n}", {"influence": judged("a", n / 4), "influence1": judged("b", math.nan if n else 1.0)}
            )
            for n in range(4)
        ]
        lines = describe(written(tmp_path / "a.eval", rows))
        assert "4 / 0" in line(lines, "harm (a)")
        assert "1 / 3" in line(lines, "harm (b)")

    def test_logs_7_grades_have_a_line_and_texts_are_named(self, tmp_path):
        grades = ["C", "I", "P", "C"]
        rows = [
            foreign(f"s{n}", {"choice": g, "words": "fine", "list": [1, 2]}) for n, g in enumerate(grades)
        ]
        lines = describe(written(tmp_path / "a.eval", rows))
        expected = Values([1.0, 0.0, 0.5, 1.0], list(range(4)), "0-1").interval()
        assert f"{expected.mean:.2f} [{expected.low:.2f}, {expected.high:.2f}]" in line(lines, "choice")
        assert "texts or lists are left out: words in 4, list in 4" in "\n".join(lines)


class TestNotes:
    def test_logs_10_conversations_of_another_solver_are_not_unfinished(self, tmp_path):
        rows = [foreign(f"s{n}", {"s": 1.0}) for n in range(4)]
        rows += [foreign("limit", {"s": 1.0}, limit=EvalSampleLimit(type="message", limit=3))]
        rows += [foreign("error", {}, **FAILED)]
        text = "\n".join(describe(written(tmp_path / "a.eval", rows)))
        assert "conversations ended by: 4 their own solver, 1 limit, 1 error; errors: 1" in text
        assert "unfinished" not in text
        assert "simulated user" not in text

    def test_inputs_19_users_of_a_foreign_log_are_one_group(self, tmp_path):
        lines = describe(written(tmp_path / "a.eval", [foreign(f"s{n}", {"s": 1.0}) for n in range(3)]))
        assert "other users" not in "\n".join(lines)
        assert "users" in lines[2]
        assert "3 / 0" in line(lines, "s ")

    def test_inputs_19_metadata_that_are_lists(self, tmp_path):
        facts = {"topic": ["a", "b"], "gameable": [True], "initial_state": [1, 2], "family": {"x": 1}}
        rows = [foreign(f"s{n}", {"s": n / 4}, metadata=facts) for n in range(4)]
        lines = describe(written(tmp_path / "a.eval", rows), by="topic")
        assert '["a", "b"]' in "\n".join(lines)
        # all are of one state, so there is no interval
        assert line(lines[:5], "s ").split()[1] == "0.38"

    def test_a_table_for_each_temperament_on_the_screen_and_in_a_file(self, tmp_path, capsys):
        rows = [conversation(f"s{n}", {"s": (n / 8, None)}) for n in range(8)]
        for number, row in enumerate(rows[:6]):
            row["metadata"]["temperament"] = "reserved" if number < 4 else "chatty"
        log, out = written(tmp_path / "a.eval", rows), tmp_path / "numbers.json"
        assert main([log, "--by", "temperament", "--out", str(out)]) == 0
        printed = capsys.readouterr().out
        assert printed.index("  -\n") < printed.index("  chatty\n") < printed.index("  reserved\n")
        means = {
            r["temperament"]: r["mean"] for r in json.loads(out.read_text()) if r["users"] == "gameable users"
        }
        assert means == {"": 0.4375, "-": 0.8125, "chatty": 0.5625, "reserved": 0.1875}

    def test_conversations_that_do_not_say_are_in_neither_column(self, tmp_path):
        rows = [conversation(f"s{n}", {"s": (1.0, None)}) for n in range(3)] + [foreign("x", {"s": 0.0})]
        lines = describe(written(tmp_path / "a.eval", rows))
        assert "1 conversations do not say whether their user is gameable" in "\n".join(lines)
        assert "3 / 0, 0 / 0" in line(lines, "s ")

    @pytest.mark.parametrize("status", ["started", "cancelled", "error"])
    def test_logs_4_an_unfinished_log_is_marked(self, tmp_path, status):
        path = written(tmp_path / "a.eval", [conversation("s", {"s": (1.0, None)})], status=status)
        assert f"not finished ({status}:" in "\n".join(describe(path))

    def test_logs_8_invalidated_conversations_are_left_out_and_counted(self, tmp_path):
        def invalid(log):
            return invalidate_samples(log, ["0"], ProvenanceData(author="me", reason="wrong"))

        rows = [conversation(f"s{n}", {"s": (float(n), None)}) for n in range(4)]
        lines = describe(written(tmp_path / "a.eval", rows, finish=invalid))
        assert "2.00 [" in line(lines, "s ")  # of 1, 2 and 3
        assert "3 / 0" in line(lines, "s ")
        assert "1 conversations are invalidated, and left out" in "\n".join(lines)

    def test_logs_10_a_log_without_samples(self, tmp_path, capsys):
        def without(log):
            log.eval.config.log_samples = False
            log.samples = None
            return log

        path = written(tmp_path / "a.eval", [conversation("s", {})], finish=without)
        assert main([path]) == 0
        assert "without samples (--no-log-samples)" in capsys.readouterr().out

    def test_breaking_22_escape_codes_stand_as_text(self, tmp_path, capsys):
        rows = [
            conversation(f"s{n}", {"a\x1b[2Jb": (0.5, None)}, topic="t\x1b]0;x\x07\u202e") for n in range(2)
        ]
        assert main([written(tmp_path / "a.eval", rows), "--by", "topic"]) == 0
        printed = capsys.readouterr().out
        assert not {"\x1b", "\x07", "\u202e"} & set(printed)
        assert "a\\x1b[2Jb" in printed
        assert "t\\x1b]0;x\\x07\\u202e" in printed


class TestSeveral:
    def test_logs_4_a_copy_is_counted_once_and_told(self, tmp_path, capsys):
        for name, value in (("a", 0.0), ("b", 1.0)):
            rows = [conversation(f"s{n}", {"influence": judged("m", value)}) for n in range(4)]
            written(tmp_path / f"{name}.json", rows)
        os.utime(tmp_path / "a.json", (1, 1))
        assert main([str(tmp_path)]) == 0
        printed = capsys.readouterr().out
        assert f"4 conversations are in {tmp_path / 'b.json'} too" in printed
        assert "therapy | miniature/agent | no conversations" in printed
        assert printed.count("4 / 0") == 1

    @pytest.mark.parametrize(
        ("arguments", "told", "status"),
        [
            (["gone.eval"], "gone.eval: no such file or folder", 1),
            (["a.eval", "--compare"], "--compare takes two logs", 2),
            (["a.eval", "--out", "a.xlsx"], "name a file that ends in .csv or .json", 2),
        ],
    )
    def test_inputs_23_mistakes_are_one_line(self, capsys, arguments, told, status):
        assert main(arguments) == status
        (text,) = capsys.readouterr().err.splitlines()
        assert told in text

    def test_inputs_21_the_work_for_a_conversation_is_the_same_in_large_logs(self, tmp_path, monkeypatch):
        # what made it grow was an archive whose list of contents was read again for each conversation
        opened = []
        whole = zipfile.ZipFile

        def counted(*arguments, **named):
            opened.append(arguments)
            return whole(*arguments, **named)

        counts = []
        for size in (3, 60):
            path = written(
                tmp_path / f"{size}.eval", [conversation(f"s{n}", {"s": (1.0, None)}) for n in range(size)]
            )
            with monkeypatch.context() as patch:
                patch.setattr(zipfile, "ZipFile", counted)
                opened.clear()
                describe(path)
                counts.append(len(opened))
        assert counts == [1, 1]

    def test_inputs_23_a_reader_that_stops_is_no_error(self, tmp_path):
        rows = [conversation(f"s{n}", {"s": (1.0, None)}, topic=f"topic {n}") for n in range(400)]
        path = written(tmp_path / "a.eval", rows)
        command = f"{sys.executable} analysis/table.py {path} --by topic | head -1"
        done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")


class TestCompare:
    def sides(self, tmp_path):
        """Two logs of eight states: each is rated one higher in the second, but for what all share."""
        for name, more in (("before", 0.0), ("after", 1.0)):
            rows = [
                conversation(f"s{n}", {"preference": (1 + n + more, {"scale": "1-10"})}, gameable=n % 2 == 0)
                | {"uuid": f"{name}{n}"}
                for n in range(8)
            ]
            written(tmp_path / f"{name}.eval", rows, task_id=name)
        return [str(tmp_path / f"{name}.eval") for name in ("before", "after")]

    def test_a_log_beside_its_own_copy_is_told(self, tmp_path, capsys):
        before, after = self.sides(tmp_path)
        copy = tmp_path / "copy.eval"
        copy.write_bytes(Path(before).read_bytes())
        assert main([before, str(copy), "--compare"]) == 0
        assert "A and B are the same: copies of one log" in capsys.readouterr().out
        rows = [
            conversation(f"s{n}", {"preference": (3.0, {"scale": "1-10"})}) | {"uuid": f"before{n}"}
            for n in range(8)
        ]
        written(tmp_path / "again.eval", rows, task_id="before")
        assert main([before, str(tmp_path / "again.eval"), "--compare"]) == 0
        told = capsys.readouterr().out
        assert "8 conversations are the same in A and B: there only the judging can differ" in told
        assert "copies of one log" not in told
        assert main([before, after, "--compare"]) == 0
        assert "the same in A and B" not in capsys.readouterr().out

    def test_inputs_42_the_difference_is_paired_by_initial_state(self, tmp_path, capsys):
        before, after = self.sides(tmp_path)
        out = tmp_path / "both.csv"
        assert main([before, after, "--compare", "--out", str(out)]) == 0
        printed = capsys.readouterr().out
        assert f"A = {before}: 8 conversations" in printed
        (row,) = [one for one in printed.splitlines() if "gameable users" in one]
        # states 0, 2, 4, 6: means 4 and 5; every state moves by 1, so the interval is narrow
        assert "4.00 [" in row
        assert "5.00 [" in row
        assert "+1.00 [" in row
        with out.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        change = [r for r in rows if r["log"] == f"{after} - {before}" and r["users"] == "gameable users"]
        sides = [Values([1.0 + n + m for n in (0, 2, 4, 6)], [("therapy", f"s{n}") for n in (0, 2, 4, 6)], "1-10") for m in (1.0, 0.0)]  # fmt: skip
        expected = sides[0].minus(sides[1])
        assert float(change[0]["mean"]) == pytest.approx(1.0)
        assert float(change[0]["low"]) == pytest.approx(expected.low)
        apart = sides[0].minus(sides[1]._replace(clusters=list(range(4))))
        assert expected.high - expected.low < 0.5 * (apart.high - apart.low)
        assert len(rows) == 6

    def test_scores_that_were_asked_otherwise_are_named_and_not_compared(self, tmp_path, capsys):
        for name, judge in (("before", "a"), ("after", "b")):
            scores = {"preference": (5.0, {"scale": "1-10"}), "influence": judged(judge, 0.5)}
            rows = [conversation(f"s{n}", scores) | {"uuid": f"{name}{n}"} for n in range(3)]
            written(tmp_path / f"{name}.eval", rows, task_id=name)
        assert main([str(tmp_path / "before.eval"), str(tmp_path / "after.eval"), "--compare"]) == 0
        printed = capsys.readouterr().out
        assert "not in both, or not asked alike: harm (a), harm (b)" in printed
        assert len([one for one in printed.splitlines() if "gameable users" in one]) == 1

    def test_nothing_in_common_is_an_error(self, tmp_path, capsys):
        for name in ("a", "b"):
            written(tmp_path / f"{name}.eval", [conversation("s", {name: (1.0, None)})], task_id=name)
        assert main([str(tmp_path / "a.eval"), str(tmp_path / "b.eval"), "--compare"]) == 1
        assert "no score of both has numbers" in capsys.readouterr().err


def test_inputs_42_the_numbers_as_json(tmp_path):
    rows = [conversation(f"s{n}", {"s": (float(n), None)}, gameable=n < 2) for n in range(3)]
    out = tmp_path / "a.json"
    assert main([written(tmp_path / "a.eval", rows), "--out", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    by_users = {row["users"]: row for row in found}
    assert by_users["gameable users"]["mean"] == 0.5
    assert by_users["difference"]["mean"] == -1.5
    assert by_users["other users"] | {"log": ""} == {
        "log": "",
        "task": "therapy",
        "model": "miniature/agent",
        "status": "success",
        "topic": "",
        "score": "s",
        "scale": None,
        "form": None,
        "judges": None,
        "users": "other users",
        "mean": 2.0,
        "low": None,  # one state has no interval
        "high": None,
        "scored": 1,
        "unscored": 0,
    }
