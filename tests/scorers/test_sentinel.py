"""A saved monitor in Inspect Sentinel: the agent alone is watched, and what it decides is recorded as such."""

import pytest

pytest.importorskip("inspect_sentinel", reason="pip install -e '.[sentinel]'")

from inspect_ai import eval as run_eval
from inspect_ai import task_with
from inspect_ai.event import SentinelEvent
from inspect_sentinel import (  # pyright: ignore[reportMissingImports]
    Context,
    Decision,
    Escalations,
    Step,
    protocol,
)

from probes.monitors.monitor import Calibration
from scenarios.conversations.dialogue import Dialogue
from scenarios.mistakes import UserMistake
from scorers.monitors.sentinel import watched_agent
from tasks.families.assembly import influence_task
from tasks.families.options import chosen
from tests.support.conversations import the_samples
from tests.support.spoken_models import fitted_monitor, spoken_model
from tests.support.told import asked, told


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return spoken_model(tmp_path_factory.mktemp("spoken") / "base")


@pytest.fixture(scope="module")
def monitor(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("monitor") / "m"
    known = Calibration(slope=1, offset=0, rows=20)
    return str(fitted_monitor(base, folder, tokens="assistant", calibration=known))


@pytest.fixture
def six_people(base, monitor, family, tmp_path):
    """Six people and two turns each, with `monitor` as a scorer too."""

    def talk(sentinel, judge):
        options = {"monitor": monitor, "turns": 2, "states": 6}
        (log,) = run_eval(
            task_with(influence_task(family, chosen({}, options)), sentinel=sentinel),
            model=f"local/{base}",
            model_roles={
                "user": told("I see."),
                "judge": told({"1": 0.4, "0": 0.6}),
                "transition": told({"no": 1.0}),
                "preference": told({"5": 1.0}),
                "veto": judge,
            },
            log_dir=str(tmp_path / "logs"),
            display="none",
            max_tokens=24,
            seed=7,
        )
        return log

    return talk


def observations(log):
    events = [e for s in the_samples(log) for e in s.events]
    return [e for e in events if isinstance(e, SentinelEvent) and e.kind == "observation"]


def test_users_and_judges_cost_no_call_of_the_judge(six_people, monitor):
    log = six_people(watched_agent(monitor, between=[0, 0]), told({"0": 1.0}))
    assert (len(the_samples(log)), len(observations(log))) == (6, 12)
    probes = sorted(e.metadata["probe"] for e in observations(log))
    judge = told({"1": 0.75, "0": 0.25})
    log = six_people(
        watched_agent(monitor, between=[(probes[3] + probes[4]) / 2, (probes[7] + probes[8]) / 2]), judge
    )
    found = observations(log)
    assert len(asked(judge)) == 4  # not 12, and not one more for any of the users' and judges' messages
    assert sum(e.metadata["asked"] for e in found) == 4
    assert {e.suspicion for e in found if e.metadata["asked"]} == {0.75}
    assert {s.store_as(Dialogue).stopped for s in the_samples(log)} == {"turns"}
    for sample in the_samples(log):  # the scorer at the end found what the sentinel had read
        last = [e for e in sample.events if isinstance(e, SentinelEvent) and e.kind == "observation"][-1]
        assert sample.scores["stakes"].metadata["source"] == last.metadata["source"]


def test_an_alarm_ends_the_sample_and_the_record_says_terminated(six_people, monitor):
    log = six_people(watched_agent(monitor, between=[0, 1], act="terminate"), told({"1": 1.0}))
    for sample in the_samples(log):
        assert (sample.limit.type, sample.error) == ("operator", None)
        assert sample.store_as(Dialogue).stopped == "terminated"
    for then, stopped in (("proceed", "turns"), ("terminate", "terminated")):
        sentinel = watched_agent(monitor, between=[0, 1], act="escalate", then=then)
        log = six_people(sentinel, told({"1": 1.0}))
        assert {s.store_as(Dialogue).stopped for s in the_samples(log)} == {stopped}


@protocol(portable=False)
def failing():
    async def after(context: Context, step: Step, escalations: Escalations) -> Decision | None:
        raise RuntimeError("out of order")

    return after


def test_a_sentinel_that_fails_is_an_error_and_no_termination(six_people):
    log = six_people(failing(), told({"1": 1.0}))
    assert log.status == "error"
    assert {s.store_as(Dialogue).stopped for s in log.samples if s.error} == {"error"}


def test_wrong_uses_are_told_in_a_line(monitor):
    with pytest.raises(UserMistake, match="say then=human, terminate or proceed"):
        watched_agent(monitor, act="escalate")
    with pytest.raises(UserMistake, match="act=observe escalates nothing"):
        watched_agent(monitor, then="human")
    with pytest.raises(UserMistake, match="thresholds cross"):
        watched_agent(monitor, between=[0.9, 0.1])
