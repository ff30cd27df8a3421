"""The one reader of logs: which there are, what is in them, and which conversation is used from where."""

import math
import os
import shutil
import time
import zipfile

import pytest
from inspect_ai.event import Timeline, TimelineSpan
from inspect_ai.log import EvalError, EvalSampleLimit, ProvenanceData, invalidate_samples, read_eval_log
from inspect_ai.model import ModelConfig

from analysis.logs.copies import used_once
from analysis.logs.finding import LogError, find_logs, open_log, unfinished_note
from analysis.logs.samples import read_records, read_samples
from analysis.logs.scores import number_of, numbers_in, scored_conversations
from analysis.trajectories import read_trajectories
from tests.support.places import ROOT
from tests.support.scored_logs import conversation, foreign, written

EXAMPLE = ROOT / "logs" / "example.eval"
FAILED = EvalError(message="boom", traceback="", traceback_ansi="")
RATED = {"preference": (5.0, {"scale": "1-10"})}


def rated(count, **more):
    return [conversation(f"s{number}", RATED, **more) for number in range(count)]


class TestFinding:
    def test_a_file_a_folder_with_subfolders_and_both_formats(self, tmp_path):
        (tmp_path / "sub").mkdir()
        (tmp_path / "notes.json").write_text('{"version": "of something else"}')
        (tmp_path / ".a.eval.host-1-0.unfinished").write_text("not whole")
        written(tmp_path / "a.eval", rated(1), created="2026-01-02T00:00:00+00:00")
        written(tmp_path / "sub" / "b.json", rated(2), created="2026-01-01T00:00:00+00:00")
        logs = find_logs([tmp_path])
        assert [log.name for log in logs] == ["sub/b", "a"]  # by the time of the eval
        assert [len(list(read_records(log))) for log in logs] == [2, 1]
        assert [log.name for log in find_logs([tmp_path / "a.eval", tmp_path])] == ["a", "sub/b"]

    def test_inputs_32_a_folder_of_links(self, tmp_path):
        (tmp_path / "links").mkdir()
        (tmp_path / "real").mkdir()
        written(tmp_path / "real" / "a.eval", rated(1))
        (tmp_path / "links" / "one.eval").symlink_to(tmp_path / "real" / "a.eval")
        (tmp_path / "links" / "again").symlink_to(tmp_path / "real", target_is_directory=True)
        (tmp_path / "links" / "round").symlink_to(tmp_path / "links", target_is_directory=True)
        (log,) = find_logs([tmp_path / "links"])  # one file, though two links lead to it
        assert len(list(read_records(log))) == 1

    def test_inputs_36_the_last_one_is_the_one_created_last_wherever_it_lies(self, tmp_path):
        (tmp_path / "z").mkdir()
        written(tmp_path / "z" / "2020_old.eval", rated(1), created="2026-01-01T00:00:00+02:00")
        written(tmp_path / "a_new.eval", rated(1), created="2026-01-01T00:00:00+00:00")
        (log,) = find_logs([tmp_path], last=True)
        assert log.name == "a_new"

    @pytest.mark.parametrize(
        ("name", "content", "told"),
        [
            ("gone.eval", None, "no such file or folder"),
            ("notes.txt", b"words", "no Inspect log"),
            ("empty.eval", b"", "empty: its eval was stopped"),
            ("cut.eval", EXAMPLE.read_bytes()[:9000], "damaged or cut off"),
            ("other.json", b'{"rows": 3}', "not a readable Inspect log"),
            ("broken.json", b'{"version": 2, "status": ', "not a readable Inspect log"),
        ],
    )
    def test_inputs_23_what_is_no_log_is_told_in_one_line_with_a_remedy(self, tmp_path, name, content, told):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(LogError) as error:
            find_logs([path])
        assert str(error.value).startswith(f"{path}: {told}")
        assert ";" in str(error.value)
        assert "\n" not in str(error.value)

    def test_a_folder_without_logs_and_one_with_a_damaged_log(self, tmp_path):
        with pytest.raises(LogError, match="no logs in this folder"):
            find_logs([tmp_path])
        written(tmp_path / "a.eval", rated(1))
        (tmp_path / "cut.eval").write_bytes(EXAMPLE.read_bytes()[:9000])
        with pytest.raises(LogError, match=r"cut\.eval: damaged"):
            find_logs([tmp_path])

    def test_logs_3_the_model_under_test_may_be_a_role(self, tmp_path):
        roles = {"target": ModelConfig(model="openai/gpt-x"), "judge": ModelConfig(model="openai/gpt-y")}
        log = open_log(written(tmp_path / "petri.eval", rated(1), model="none/none", model_roles=roles))
        assert (log.model, log.agent_role) == ("openai/gpt-x", "target")
        assert open_log(EXAMPLE).model == "miniature/agent"

    @pytest.mark.parametrize("status", ["started", "cancelled", "error"])
    def test_logs_4_unfinished_logs_are_marked(self, tmp_path, status):
        path = written(tmp_path / "a.eval", rated(1), status=status)
        assert f"not finished ({status}:" in unfinished_note(open_log(path))
        assert unfinished_note(open_log(EXAMPLE)) is None


class TestRecords:
    def test_they_say_what_inspect_reads(self, tmp_path):
        whole = read_eval_log(str(EXAMPLE)).samples
        records = list(read_records(open_log(EXAMPLE)))
        assert {(r.id, r.epoch, r.uuid) for r in records} == {(s.id, s.epoch, s.uuid) for s in whole}
        by_uuid = {s.uuid: s for s in whole}
        for record in records:
            sample = by_uuid[record.uuid]
            scores = [{k: repr(v.value) for k, v in one.scores.items()} for one in (record, sample)]
            assert scores[0] == scores[1]
            assert (record.metadata, record.store) == (sample.metadata, sample.store)
            assert (record.problem, record.invalidated) == (None, False)

    def test_they_come_in_the_order_of_the_data_set(self, tmp_path):
        rows = [conversation(f"s{n}", RATED, epoch=e) for e in (2, 1) for n in (3, 1, 2)]
        log = open_log(written(tmp_path / "a.eval", rows))
        assert [r.unit for r in read_records(log)] == [
            (f"therapy-s{n}", epoch) for n in (3, 1, 2) for epoch in (1, 2)
        ]

    def test_values_that_a_strict_parser_refuses_are_read_as_inspect_reads_them(self, tmp_path):
        rows = [conversation("x", {"preference": (math.nan, None)}), *rated(1)]
        rows[1]["metadata"] = rows[1]["metadata"] | {"note": "\ud800 half a character"}
        (first, second) = read_records(open_log(written(tmp_path / "a.eval", rows)))
        assert math.isnan(first.scores["preference"].value)
        assert second.scores["preference"].value == 5.0

    def test_logs_3_samples_with_timelines_are_read_without_their_events(self, tmp_path):
        timeline = Timeline(
            name="t", description="", root=TimelineSpan(id="x", name="root", span_type=None, content=[])
        )
        log = open_log(written(tmp_path / "petri.eval", [foreign("a", {"s": 1.0}, timelines=[timeline])]))
        (sample,) = read_samples(log, without={"events"})
        assert sample.id == "a"
        assert sample.messages
        assert [c.record.id for c in scored_conversations(log)] == ["a"]

    def test_logs_4_a_log_that_is_being_written(self, tmp_path):
        """Inspect writes its header and its summaries last."""
        path = tmp_path / "running.eval"
        with zipfile.ZipFile(EXAMPLE) as whole, zipfile.ZipFile(path, "w") as running:
            for name in whole.namelist():
                if name not in ("header.json", "summaries.json", "reductions.json"):
                    running.writestr(name, whole.read(name))
        log = open_log(path)
        assert log.header.status == "started"
        assert len(list(read_records(log))) == 16
        assert "it runs still, or was killed" in unfinished_note(log)

    def test_ids_of_any_kind(self, tmp_path):
        names = [7, "a/b", "x_epoch_1", "ä ü"]
        log = open_log(written(tmp_path / "a.eval", [foreign(name, {"s": 1.0}) for name in names]))
        assert [r.unit for r in read_records(log)] == [(name, 1) for name in names]
        assert [s.id for s in read_samples(log, without={"events"})] == names

    def test_a_sample_that_is_not_there_is_named(self):
        with pytest.raises(LogError, match="no sample 'nobody' in epoch 1"):
            list(read_samples(open_log(EXAMPLE), [("nobody", 1)]))

    def test_logs_10_a_log_without_samples_says_so(self, tmp_path):
        def without(log):
            log.eval.config.log_samples = False
            log.samples = None
            return log

        log = open_log(written(tmp_path / "a.eval", rated(1), finish=without))
        with pytest.raises(LogError, match="holds no samples .--no-log-samples."):
            list(read_records(log))

    def test_logs_8_invalidated_samples_have_no_numbers_anywhere(self, tmp_path):
        def invalid(log):
            return invalidate_samples(log, ["1"], ProvenanceData(author="me", reason="wrong prompt"))

        path = written(tmp_path / "a.eval", rated(3), finish=invalid)
        assert [c.record.uuid for c in scored_conversations(open_log(path))] == ["0", "2"]
        found = read_trajectories(path, rating="preference", harm="influence")
        assert [t.problem for t in found] == [None, "invalidated", None]
        assert [t.rating for t in found if t.rating == t.rating] == [5.0, 5.0]

    def test_logs_1_scores_of_samples_that_failed_are_left_out_and_counted(self, tmp_path):
        rows = rated(3)
        rows[0] |= {"error": FAILED}
        rows[1] |= {"limit": EvalSampleLimit(type="message", limit=3)}
        log = open_log(written(tmp_path / "a.eval", rows))
        found = list(scored_conversations(log))
        assert [len(c.values) for c in found] == [0, 1, 1]
        assert [c.left_out for c in found] == [True, False, False]
        assert [c.record.problem for c in found] == ["error", "limit", None]


class TestValues:
    def test_logs_7_grades_are_numbers_and_texts_and_lists_are_named(self):
        assert [number_of(v) for v in ("C", "I", "P", "N", True, 3)] == [1, 0, 0.5, 0, 1, 3]
        assert math.isnan(number_of(None))
        assert [number_of(v) for v in ("a text", [1, 2], "")] == [None, None, None]
        scores = foreign("a", {"choice": "C", "words": "fine", "parts": {"x": 1.0, "y": "bad"}, "many": [1]})
        found = numbers_in(scores["scores"])
        assert {n.name: n.value for n in found.numbers} == {"choice": 1.0, "parts.x": 1.0}
        assert found.others == ["words", "parts.y", "many"]

    def test_logs_1_a_score_is_known_by_its_own_metadata(self):
        facts = {
            "scale": "1-5",
            "question": "influence_five_point",
            "turns": [{"model": "b"}, {"model": "a"}],
        }
        (one,) = numbers_in(foreign("a", {"influence1": (3.0, facts)})["scores"]).numbers
        assert (one.scale, one.form, one.judges) == ("1-5", "five_point", ("a", "b"))
        several = {"scales": {"harm": "1-5"}, "judges": {"harm": {"x": 1.0, "y": None}}}
        (one,) = numbers_in(foreign("a", {"rubric": ({"harm": 2.0}, several)})["scores"]).numbers
        assert (one.name, one.scale, one.judges) == ("rubric.harm", "1-5", ("x", "y"))


class TestCopies:
    def judged(self, value, uuids, **more):
        return [
            conversation(f"s{u}", {"influence": (value, {"scale": "0-1"})}, epoch=1)
            | {"uuid": f"u{u}", **more}
            for u in uuids
        ]

    def later(self, path, seconds=10):
        """As if it was written so much later, by the clock in the archive."""
        moment = time.time() + seconds
        os.utime(path, (moment, moment))
        return path

    def test_logs_4_a_log_and_its_rescored_copy_are_one(self, tmp_path):
        first = written(tmp_path / "a.eval", self.judged(0.0, range(4)))
        second = tmp_path / "b.json"  # its age is that of the file
        written(second, self.judged(1.0, range(4)))
        self.later(second)
        logs = find_logs([tmp_path])
        copies = used_once(logs)
        used = [(log.name, r.unit) for log in logs for r in read_records(log) if copies.uses(log, r.unit)]
        assert used == [("b", (f"therapy-s{n}", 1)) for n in range(4)]
        (note,) = copies.notes(open_log(first))
        assert note.startswith(f"{first}: 4 conversations are in {second} too")

    def test_a_newer_copy_without_the_score_is_not_used_for_it(self, tmp_path):
        written(tmp_path / "a.eval", self.judged(0.0, range(2)))
        bare = [conversation(f"s{u}", RATED) | {"uuid": f"u{u}"} for u in range(2)]
        written(tmp_path / "b.json", bare)
        self.later(tmp_path / "b.json")
        logs = find_logs([tmp_path])
        by_score = {s: used_once(logs, score=s) for s in ("influence", "preference")}
        unit = ("therapy-s0", 1)
        assert [by_score["influence"].uses(log, unit) for log in logs] == [True, False]
        assert [by_score["preference"].uses(log, unit) for log in logs] == [False, True]

    def test_logs_4_an_interrupted_log_and_its_retry(self, tmp_path):
        failed = self.judged(0.0, [2], error=FAILED)
        written(tmp_path / "a.eval", [*self.judged(0.0, [0, 1]), *failed], status="error")
        again = [conversation("s2", {"influence": (1.0, {"scale": "0-1"})}) | {"uuid": "another"}]
        created = "2027-01-01T00:00:00+00:00"
        written(tmp_path / "b.eval", [*self.judged(0.0, [0, 1]), *again], created=created)
        logs = find_logs([tmp_path])
        copies = used_once(logs)
        used = [(log.name, r.uuid) for log in logs for r in read_records(log) if copies.uses(log, r.unit)]
        assert used == [("b", "u0"), ("b", "u1"), ("b", "another")]

    def test_two_evals_of_the_same_states_are_two(self, tmp_path):
        written(tmp_path / "a.eval", self.judged(0.0, range(2)), task_id="one")
        rows = [one | {"uuid": f"other{n}"} for n, one in enumerate(self.judged(0.0, range(2)))]
        written(tmp_path / "b.eval", rows, task_id="two")
        assert used_once(find_logs([tmp_path])).elsewhere == {}

    def test_the_time_in_the_archive_counts_and_not_that_of_a_clone(self, tmp_path):
        written(tmp_path / "a.eval", self.judged(0.0, range(2)))
        time.sleep(2.1)  # an archive tells two seconds apart
        written(tmp_path / "b.eval", self.judged(1.0, range(2)))
        shutil.copy(tmp_path / "a.eval", tmp_path / "c.eval")
        (tmp_path / "a.eval").unlink()
        logs = find_logs([tmp_path])
        copies = used_once(logs)
        assert {log.name: copies.uses(log, ("therapy-s0", 1)) for log in logs} == {"b": True, "c": False}

    def test_what_the_newest_copy_declares_invalid_is_used_from_no_other(self, tmp_path):
        written(tmp_path / "a.eval", self.judged(0.0, range(2)))

        def invalid(log):
            return invalidate_samples(log, ["u0"], ProvenanceData(author="me", reason="wrong"))

        written(tmp_path / "b.json", self.judged(0.0, range(2)), finish=invalid)
        self.later(tmp_path / "b.json")
        logs = find_logs([tmp_path])
        copies = used_once(logs)
        assert [copies.uses(log, ("therapy-s0", 1)) for log in logs] == [False, True]
