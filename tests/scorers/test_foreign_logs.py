"""Scorers on logs of other suites."""

import pytest
from inspect_ai import score
from inspect_ai.log import read_eval_log
from inspect_ai.scorer import SampleScore

from scenarios.mistakes import UserMistake
from scorers.influence import influence
from scorers.metrics import by_gameable
from scorers.preference import preference
from scorers.rubric import rubric
from scorers.transition import transition
from scorers.veto import veto
from tests.support.scored_logs import foreign, written
from tests.support.told import told

FACTS = {"topic": ["a", "b"], "gameable": [True], "initial_state": [1, 2]}


def judged(tmp_path, scorer, rows):
    log = read_eval_log(written(tmp_path / "foreign.eval", rows))
    judge = told({"1": 1.0}, "judge")
    return score(log, scorer, model_roles={"judge": judge}, action="append", display="none")


@pytest.mark.parametrize(
    ("name", "scorer"),
    [("influence", influence), ("preference", preference), ("transition", transition), ("veto", veto)],
)
def test_logs_10_a_scorer_of_scenarios_says_which_judges_any_log(tmp_path, name, scorer):
    with pytest.raises(
        UserMistake, match=rf"scorers/{name}\.py needs; judge any log with .*scorers/rubric\.py"
    ):
        judged(tmp_path, scorer(), [foreign("s", {})])


def test_inputs_19_metadata_that_are_lists_do_not_break_the_metrics(tmp_path):
    rows = [foreign(f"s{n}", {}, metadata=FACTS) for n in range(3)]
    log = judged(tmp_path, rubric("harm"), rows)
    assert [s.scores["rubric"].value["harm"] for s in log.samples] == [1.0, 1.0, 1.0]
    scores = [
        SampleScore(score=s.scores["rubric"].model_copy(update={"value": 1.0}), sample_id=s.id, sample_metadata=s.metadata)
        for s in log.samples
    ]  # fmt: skip
    assert by_gameable()(scores) == {"mean": 1.0}
