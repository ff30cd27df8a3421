"""Conversations of logs that are copies, foreign, partly failed, or in JSON."""

from collections import Counter

import pytest
from inspect_ai import Task, eval  # noqa: A004
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalError, ProvenanceData, invalidate_samples, write_eval_log
from inspect_ai.model import get_model
from inspect_ai.scorer import Score
from inspect_ai.solver import generate, solver, use_tools
from inspect_ai.tool import tool

from probes.conversations.labels import DataError
from probes.conversations.sources import read_conversations
from probes.conversations.table_rows import TableOptions
from tests.support.scored_logs import conversation, written
from tests.support.told import told

FAILED = EvalError(message="boom", traceback="", traceback_ansi="")


def read(source, **options):
    left_out = Counter()
    found = list(read_conversations(str(source), TableOptions(**options), left_out))
    return found, dict(left_out)


@tool
def look():
    async def execute(place: str) -> str:
        """Looks.

        Args:
            place: Where.
        """
        return place

    return execute


def offered(folder, *, samples=3, plan=None, **how):
    """A log in which the agent was offered a tool and called none."""
    dataset = [Sample(input=f"hi {n}", id=f"s{n}") for n in range(samples)]
    task = Task(dataset=dataset, solver=plan or [use_tools(look()), generate()])
    model = told("Hello.")
    return eval(task, model=how.pop("model", model), log_dir=str(folder), display="none", **how)[0]


def names(conversations):
    return [[t["function"]["name"] for t in c.tools or []] for c in conversations]


def test_logs_2_tools_are_there_though_the_first_sample_failed(tmp_path):
    log = offered(tmp_path / "a")
    log.samples[0].error = FAILED
    write_eval_log(log, tmp_path / "b.eval")
    found, left_out = read(tmp_path / "b.eval")
    assert names(found) == [["look"], ["look"]]
    assert left_out == {"the run of the sample failed": 1}


def test_tools_are_those_of_each_sample(tmp_path):
    @solver
    def sometimes():
        async def solve(state, generate):
            if state.sample_id != "s0":
                state.tools = [look()]
            return await generate(state)

        return solve

    found, _ = read(offered(tmp_path, plan=sometimes()).location)
    assert names(found) == [[], ["look"], ["look"]]


def test_logs_3_tools_of_a_target_that_is_a_role(tmp_path):
    @solver
    def audit():
        async def solve(state, generate):
            state.output = await get_model(role="target").generate(state.messages, tools=[look()])
            state.messages.append(state.output.message)
            return state

        return solve

    target = told("Hello.", "target")
    log = offered(tmp_path, plan=audit(), model=None, model_roles={"target": target}, samples=1)
    (found,), _ = read(log.location)
    assert names([found]) == [["look"]]
    assert found.facts["model"] == "told/target"


def test_logs_4_a_log_and_its_rescored_copy_give_each_conversation_once(tmp_path):
    log = offered(tmp_path, samples=2)
    again = log.model_copy(deep=True)
    for one, value in ((log, 0.0), (again, 1.0)):
        for sample in one.samples:
            sample.scores = {"influence": Score(value=value, metadata={"scale": "0-1"})}
    for path in tmp_path.glob("*.eval"):
        path.unlink()
    write_eval_log(log, tmp_path / "a.json")
    write_eval_log(again, tmp_path / "b.json")
    found, left_out = read(tmp_path, label_score="influence")
    assert [(c.id, c.label) for c in found] == [("b:s0:1", 1.0), ("b:s1:1", 1.0)]
    assert left_out == {f"used from {tmp_path / 'b.json'}, which scored it last": 2}


@pytest.mark.parametrize(("scale", "threshold"), [("1-5", 0.5), ("0-1", 2.0), ("1-10", 1.0)])
def test_logs_4_a_threshold_off_the_scale_is_refused(tmp_path, scale, threshold):
    value = {"1-5": 3.0, "0-1": 0.3, "1-10": 4.0}[scale]
    path = written(tmp_path / "a.eval", [conversation("s", {"influence": (value, {"scale": scale})})])
    with pytest.raises(DataError, match=f"influence is on the scale {scale}.*give --label-threshold above"):
        read(path, label_score="influence", label_threshold=threshold)
    (found,), _ = read(path, label_score="influence", label_threshold=0.9 if scale == "0-1" else 4.0)
    assert found.label == float(scale == "1-10")


def test_logs_1_a_score_on_two_scales_is_no_label(tmp_path):
    scales = {"s": (0.2, {"scale": "0-1"}), "t": (3.0, {"scale": "1-5"})}
    path = written(
        tmp_path / "a.eval", [conversation(name, {"influence": one}) for name, one in scales.items()]
    )
    with pytest.raises(DataError, match=r"influence is on several scales \(0-1 in 1 .*, 1-5 in 1"):
        read(path, label_score="influence")


def test_logs_8_invalidated_samples_are_counted(tmp_path):
    log = offered(tmp_path / "a")
    log = invalidate_samples(log, [log.samples[1].uuid], ProvenanceData(author="me", reason="wrong"))
    write_eval_log(log, tmp_path / "b.eval")
    found, left_out = read(tmp_path / "b.eval")
    assert [c.id for c in found] == ["b:s0:1", "b:s2:1"]
    assert left_out == {"the sample is declared invalid": 1}


def test_logs_9_logs_in_json_and_folders_of_them(tmp_path):
    log = offered(tmp_path / "a", samples=2)
    (tmp_path / "b").mkdir()
    for sample in log.samples:
        sample.scores = {"influence": Score(value=0.8, metadata={"scale": "0-1"})}
    write_eval_log(log, tmp_path / "b" / "log.json")
    for source in (tmp_path / "b", tmp_path / "b" / "log.json"):
        found, _ = read(source, label_score="influence")
        assert [(c.id, c.label) for c in found] == [("log:s0:1", 1.0), ("log:s1:1", 1.0)]
        assert names(found) == [["look"], ["look"]]
