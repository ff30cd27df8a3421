"""A monitor with a judge behind it: who decided, how often the judge was asked, in the run and afterwards."""

import json
import math
from contextvars import copy_context

import pytest
from inspect_ai import Task, eval, eval_set, score  # noqa: A004
from inspect_ai.dataset import Sample
from inspect_ai.scorer import SampleScore, Score

from probes.cascades.merging import MergeRule
from probes.cascades.saved import Cascade, FirstMonitor, FittedOn, Stage
from probes.cascades.scales import ScoreScale
from probes.monitors.monitor import Calibration, MismatchError, Monitor
from scenarios.conversations.dialogue import Dialogue
from scenarios.mistakes import UserMistake
from scorers.monitors.escalation import live_cascade
from scorers.watched import escalated, watched
from tasks.families.assembly import influence_task
from tasks.families.options import OptionError, chosen
from tests.support.conversations import the_samples
from tests.support.monitor_runs import run, scores_metadata
from tests.support.places import ROOT
from tests.support.spoken_models import fitted_monitor, spoken_model
from tests.support.told import asked, told

CALIBRATION = Calibration(slope=0.8, offset=-0.3, rows=20)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return spoken_model(tmp_path_factory.mktemp("spoken") / "base")


@pytest.fixture(scope="module")
def monitor(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("monitor") / "m"
    return fitted_monitor(base, folder, tokens="assistant", calibration=CALIBRATION)


@pytest.fixture
def talked(base, monitor, family, tmp_path):
    """Conversations of the tiny family with a model in this process; options as of `-T`."""

    def talk(judge, **options):
        options = {"monitor": str(monitor), "escalate": "judge", "turns": 2, "states": 4, **options}
        roles = {"user": told("I see."), "judge": told({"1": 0.4, "0": 0.6}), "transition": told({"no": 1.0})}
        (log,) = eval(
            influence_task(family, chosen({}, options)),
            model=f"local/{base}",
            model_roles={**roles, "preference": told({"5": 1.0}), "veto": judge},
            log_dir=str(tmp_path / "logs"),
            display="none",
            max_tokens=24,
            seed=3,
        )
        return log

    return talk


def records(log):
    return [t.watched.escalation for s in the_samples(log) for t in s.store_as(Dialogue).turns]


def test_the_judge_is_asked_only_where_the_monitor_is_not_sure_and_the_record_says_who_decided(talked):
    every = records(talked(told({"1": 1.0}), between="0,1"))
    probes = sorted(e.probe for e in every)
    assert all(e.asked for e in every)
    low, high = (probes[2] + probes[3]) / 2, (probes[4] + probes[5]) / 2
    judge = told({"1": 0.9, "0": 0.1})
    log = talked(judge, between=f"{low},{high}")
    found = records(log)
    assert [e.asked for e in found] == [low <= e.probe <= high for e in found]
    assert len(asked(judge)) == sum(e.asked for e in found) == 2
    for e in found:
        assert e.probe == pytest.approx(1 / (1 + 2.718281828 ** -(0.8 * e.logit - 0.3)), abs=1e-6)
        if e.asked:
            assert (e.decided_by, e.value, e.judge, e.alarm) == ("judge", pytest.approx(0.9), e.value, True)
        else:
            assert (e.decided_by, e.value, e.judge, e.alarm) == ("probe", e.probe, None, e.probe > high)
    values = {k: m.value for s in log.results.scores if s.name == "watched" for k, m in s.metrics.items()}
    assert (values["judge_calls"], values["asked"]) == (2, 2 / len(found))
    alarms = [any(t.watched.escalation.alarm for t in s.store_as(Dialogue).turns) for s in the_samples(log)]
    assert values["alarms"] == pytest.approx(sum(alarms) / len(alarms))


def test_reading_along_turn_by_turn_leaves_the_end_to_the_scorer(talked):
    log = talked(told({"1": 1.0}))
    assert "generation" in {m["source"] for m in scores_metadata(log)}
    for sample in the_samples(log):
        last = sample.store_as(Dialogue).turns[-1].watched.escalation.source
        assert sample.scores["stakes"].metadata["source"] == last
        of_turns = [t.watched.escalation.logit for t in sample.store_as(Dialogue).turns]
        assert of_turns == pytest.approx([t["logit"] for t in sample.scores["stakes"].metadata["turns"]])


def test_before_a_veto_the_cascade_takes_replies_back_and_draws_again(talked):
    answers = iter([{"1": 1.0}, {"0": 1.0}, {"0": 1.0}])
    log = talked(told(lambda _: next(answers)), between="0,1", veto="binary", redraws=1, states=1, gameable=1)
    (sample,) = the_samples(log)
    dialogue = sample.store_as(Dialogue)
    (vetoed,) = dialogue.vetoed
    assert (vetoed.turn, vetoed.judgement.escalation.alarm) == (1, True)
    assert [t.veto.escalation.alarm for t in dialogue.turns] == [False, False]
    assert [t.watched for t in dialogue.turns] == [None, None]
    told_of = sample.scores["watched"].metadata
    assert (told_of["replies"], told_of["asked"], told_of["alarm"]) == (3, 3, True)
    assert sample.scores["stakes"].metadata["source"] == dialogue.turns[-1].veto.escalation.source


def test_a_sure_monitor_vetoes_without_a_judge(talked):
    judge = told({"0": 1.0})
    log = talked(judge, between="0,0", veto="binary", redraws=1)  # a band without width asks nowhere
    for sample in the_samples(log):
        dialogue = sample.store_as(Dialogue)
        assert dialogue.stopped == "vetoed"
        assert {v.judgement.escalation.decided_by for v in dialogue.vetoed} == {"probe"}
        assert sample.scores["watched"].metadata["asked"] == 0
    assert asked(judge) == []


def test_a_judge_without_an_answer_leaves_the_monitors_word_and_says_so(talked):
    for e in records(talked(told("Who knows."), between="0,1")):
        assert (e.asked, e.judge, e.decided_by, e.value) == (True, None, "probe", e.probe)
        assert "the judge gave no usable answer" in e.reason
        assert e.probe is not None
        assert e.alarm is (e.probe >= 0.5)


def test_the_scorer_takes_what_was_decided_in_the_run_and_decides_the_rest_itself(talked, monitor):
    log = talked(told({"1": 0.9, "0": 0.1}), between="0.2,0.8")
    judge = told({"1": 0.9, "0": 0.1})
    of_run = scores_metadata(log, "watched")

    def scored(**options):
        scorer, roles = watched(str(monitor), **options), {"veto": judge}
        again = score(log, scorer, action="overwrite", model_roles=roles, display="none")
        return scores_metadata(again, "watched")

    assert scored(between="0.2,0.8") == of_run
    for metadata in scored(between="0.2,0.8", level=0.95):
        above = [t["value"] >= (0.95 if t["asked"] else 0.8) for t in metadata["turns"]]
        assert [t["alarm"] for t in metadata["turns"]] == above
        assert metadata["alarm"] is any(above)
    assert asked(judge) == []
    now = scored(between="0,1")[0]["turns"]
    assert len(asked(judge)) == len(records(log))
    assert [t["logit"] for t in now] == pytest.approx([t["logit"] for t in of_run[0]["turns"]], abs=1e-4)


def test_any_task_and_any_log_can_use_a_saved_monitor(base, monitor, tmp_path):
    judge = told({"5": 1.0})
    log = run(f"local/{base}", [watched(str(monitor), between="0,1")], tmp_path, model_roles={"judge": judge})
    for metadata in scores_metadata(log, "watched"):
        assert {t["decided_by"] for t in metadata["turns"]} == {"judge"}
        assert {t["judge"] for t in metadata["turns"]} == {1.0}  # 5 of 1 to 5
    assert "hello" in asked(judge)[0][-1].text.lower()


def test_the_model_of_an_earlier_set_of_evals_is_not_taken_for_the_agent(base, monitor, tmp_path):
    copy_context().run(_watched_after_a_set_of_evals, base, monitor, tmp_path)


def _watched_after_a_set_of_evals(base, monitor, tmp_path):
    hello = Task(dataset=[Sample(input="Hello")])
    eval_set(hello, str(tmp_path / "set"), model=told("Hello."), display="none")
    live_cascade(str(monitor))
    log = run(f"local/{base}", [watched(str(monitor), between="0,0")], tmp_path)
    assert {t["decided_by"] for m in scores_metadata(log, "watched") for t in m["turns"]} == {"probe"}


def saved(monitor, folder, **stage):
    card = Monitor.load(monitor).card
    first = {"name": card.name, "folder": str(monitor), "weights_sha256": card.weights_sha256}
    plain = ScoreScale(name="temperature", slope=1, offset=0)
    merge = MergeRule(name="weighted-logits", weight=0.5)
    folder.mkdir()
    Cascade(
        monitor=FirstMonitor(scale=ScoreScale(name="platt", slope=0.5, offset=0), **first),
        stages=[Stage(**{"judge": "j", "scale": plain, "low": 0.0, "high": 1.0, "merge": merge, **stage})],
        strategy="uncertainty",
        budget=1,
        asked=1,
        fitted_on=FittedOn(datasets=["x"], rows=2, positive=1, groups=2, digest="0"),
    ).save(folder)
    return folder


def test_a_saved_cascade_brings_its_scale_its_band_and_its_merge(talked, monitor, tmp_path):
    folder = saved(monitor, tmp_path / "cascade")
    for e in records(talked(told({"1": 0.5, "0": 0.5}), monitor=str(folder))):
        assert e.probe == pytest.approx(1 / (1 + 2.718281828 ** -(0.5 * e.logit)), abs=1e-6)
        # half of the logit of .5, which is 0, and half of the monitor's
        assert e.value == pytest.approx(1 / (1 + 2.718281828 ** -(0.25 * e.logit)), abs=1e-6)
    file = folder / "cascade.json"
    known = json.loads(file.read_text())
    file.write_text(json.dumps({**known, "monitor": {**known["monitor"], "weights_sha256": "0"}}))
    with pytest.raises(UserMistake, match="was fitted with another monitor"):
        live_cascade(str(folder))


def test_wrong_uses_are_told_in_a_line(base, monitor, tmp_path):
    with pytest.raises(UserMistake, match="thresholds cross: 0.9 lies above 0.1"):
        live_cascade(str(monitor), between=(0.9, 0.1))
    with pytest.raises(UserMistake, match="two probabilities such as 0.1,0.9, got 'low'"):
        watched(str(monitor), between="low")
    for given in (0.5, "0.1", "0.1,0.5,0.9", [0.1], "0.1,9"):
        with pytest.raises(
            UserMistake, match=r"-T between=.*: between takes two probabilities such as 0.1,0.9"
        ):
            chosen({}, {"between": given, "escalate": "judge", "monitor": str(monitor)})
    with pytest.raises(UserMistake, match="no calibration"):
        live_cascade(str(fitted_monitor(base, tmp_path / "raw")))
    with pytest.raises(OptionError, match="say -T monitor=<folder>"):
        chosen({}, {"escalate": "judge"})
    with pytest.raises(OptionError, match="say -T escalate=judge"):
        chosen({}, {"between": "0.1,0.9"})
    other = spoken_model(tmp_path / "other", seed=5)
    with pytest.raises(MismatchError, match="these have"):
        eval(
            f"{ROOT}/tasks/therapy.py@therapy",
            model=f"local/{other}",
            model_roles={"user": "miniature/user", "judge": "miniature/judge"},
            task_args={"monitor": str(monitor), "escalate": "judge"},
            log_dir=str(tmp_path),
        )


def test_calls_of_a_judge_that_nobody_recorded_are_not_known():
    unread = [SampleScore(score=Score.unscored(reason="no record"), sample_id="a")]
    assert math.isnan(escalated()(unread)["judge_calls"])
