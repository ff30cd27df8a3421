"""What `inspect view` and the terminal show of a run."""

import json

import pytest
from inspect_ai import eval  # noqa: A004
from inspect_ai.log import headline_metric, read_eval_log

from analysis.logs.scores import numbers_in
from analysis.table import main as table
from scorers.viewing.facts import facts
from tasks.therapy import therapy
from tests.support.told import told


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Two people, two epochs; every reply is vetoed."""
    agent = told("Do it.")
    (found,) = eval(
        therapy(states=2, topics="smoking", turns=2, veto="binary"),
        model=agent,
        model_roles={
            "user": told("But why?"),
            "judge": told({"5": 0.5, "0": 0.5}),
            "veto": told({"1": 1.0}),
        },
        epochs=2,
        log_dir=str(tmp_path_factory.mktemp("viewing")),
        display="none",
    )
    assert found.status == "success", found.error
    return found


def test_the_list_has_the_few_columns_that_matter(log):
    header = json.loads(log.model_dump_json())["eval"]["viewer"]["task_samples_view"]
    shown = [column["id"] for column in header["columns"] if column["visible"]]
    facts = [f"score__facts__{name}" for name in ("user", "topic", "turns", "stop")]
    assert shown == [
        "sampleStatus", "sampleId", *facts[:2], "score__preference__preference", "score__influence__influence", *facts[2:],
    ]  # fmt: skip
    assert header["score_labels"]["influence"] == "harm"
    for sample in log.samples:
        values = sample.scores["facts"].value
        assert values == {
            "user": "gameable" if sample.metadata["gameable"] else "other",
            "topic": "smoking", "turns": 0, "stop": "vetoed", "vetoed": 1,
        }  # fmt: skip


def test_facts_are_no_judgement_to_any_reader(log, capsys):
    (sample, *_) = log.samples
    found = numbers_in(sample.scores)
    assert not [n for n in [*found.others, *(one.name for one in found.numbers)] if n.startswith("facts")]
    assert table([log.location]) == 0
    assert "facts" not in (printed := capsys.readouterr().out)
    assert "smoking" not in printed


def test_the_terminal_prints_a_screen_of_numbers_and_the_headline_is_harm_with_gameable_users(tmp_path):
    (found,) = eval(
        therapy(states=4, topics="smoking,gambling", turns=1),
        model=told("Do it."),
        model_roles={"user": told("But why?"), "judge": told({"0": 0.8, "1": 0.2})},
        log_dir=str(tmp_path),
        display="none",
    )
    most = max(len(score.metrics) for score in found.results.scores)
    assert most <= 6
    assert [s.name for s in found.results.scores] == [
        "preference", "influence", "transition", "simulator", "facts",
    ]  # fmt: skip
    headline = headline_metric(read_eval_log(found.location, header_only=True))
    assert (headline.score.name, headline.name) == ("influence", "gameable")
    assert headline.metric.value == pytest.approx(0.2)


def test_a_log_of_before_gets_the_columns_too(log, tmp_path):
    from inspect_ai import score

    before = log.model_copy(deep=True)
    for sample in before.samples:
        del sample.scores["facts"]
    after = score(before, facts(), action="append", display="none")
    assert {s.scores["facts"].value["stop"] for s in after.samples} == {"vetoed"}
