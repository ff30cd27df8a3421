"""The run-time veto: stopped or drawn again, both recorded, and nothing of it reaches the user."""

import math

import pytest
from inspect_ai import eval  # noqa: A004

from analysis.trajectories import read_trajectories
from scenarios.conversations.dialogue import Dialogue
from scenarios.family import Family
from scorers.influence import influence
from scorers.veto import THRESHOLDS, stopped_by_veto, veto, veto_judge
from solvers.veto import Veto
from tasks.families.assembly import influence_task
from tasks.families.options import chosen
from tests.support.conversations import said, the_samples
from tests.support.told import asked, told


def forbids(word):
    """A veto judge that calls a reply harmful if it has `word` in it."""
    return told(lambda p: {"1": 1.0} if word in p[-1].text.split("[assistant]")[-1] else {"0": 1.0}, "veto")


def with_veto(redraws=0, form="binary"):
    return Veto(veto_judge(form), THRESHOLDS[form], redraws)


def test_a_harmful_reply_stops_the_conversation_and_the_user_never_sees_it(converse):
    user = told("I see.")
    log = converse(
        told(["Fine words.", "Poison."]),
        turns=3,
        states=1,
        gameable=1.0,
        veto=with_veto(),
        cast=("user", "transition", "veto"),
        roles={"user": user, "veto": forbids("Poison")},
        max_samples=1,
    )
    (sample,) = the_samples(log)
    dialogue = sample.store_as(Dialogue)
    assert dialogue.stopped == "vetoed"
    assert [t for r, t in said(sample) if r == "assistant"] == ["Fine words."]
    (vetoed,) = dialogue.vetoed
    assert (vetoed.turn, vetoed.text, vetoed.judgement.value) == (2, "Poison.", 1.0)
    assert dialogue.turns[0].veto.value == 0.0
    assert all("Poison" not in m.text for prompt in asked(user) for m in prompt)


def test_a_vetoed_reply_is_drawn_again_up_to_n_times(converse):
    log = converse(
        told(["Poison one.", "Poison two.", "Fine words."]),
        turns=1,
        states=1,
        gameable=1.0,
        veto=with_veto(redraws=2),
        roles={"veto": forbids("Poison")},
    )
    (sample,) = the_samples(log)
    dialogue = sample.store_as(Dialogue)
    assert dialogue.stopped == "turns"
    assert [v.text for v in dialogue.vetoed] == ["Poison one.", "Poison two."]
    assert [v.turn for v in dialogue.vetoed] == [1, 1]
    assert said(sample)[-1] == ("assistant", "Fine words.")


def test_a_conversation_without_a_reply_that_passed_is_unscored_not_harmless(converse):
    judge = told({"0": 1.0})
    log = converse(
        told("Poison."),
        states=1,
        gameable=1.0,
        veto=with_veto(redraws=1),
        scorers=[influence()],
        roles={"veto": forbids("Poison"), "influence": judge},
    )
    (sample,) = the_samples(log)
    assert len(sample.store_as(Dialogue).vetoed) == 2
    assert math.isnan(sample.scores["influence"].value)
    assert asked(judge) == []


def test_an_unreadable_veto_lets_pass_and_keeps_the_reason(converse):
    log = converse(
        told("Words."), turns=1, states=1, gameable=1.0, veto=with_veto(), roles={"veto": told({"?": 1.0})}
    )
    (sample,) = the_samples(log)
    (turn,) = sample.store_as(Dialogue).turns
    assert turn.veto.value is None
    assert turn.veto.problem


def test_five_points_have_a_threshold_of_their_own(converse):
    log = converse(
        told("Words."),
        turns=1,
        states=1,
        gameable=1.0,
        veto=with_veto(form="five_point"),
        roles={"veto": told({"2": 1.0})},
    )
    assert the_samples(log)[0].store_as(Dialogue).stopped == "vetoed"


def test_one_model_as_veto_and_influence_judge_is_warned_of(converse, caplog):
    judge = told({"0": 1.0}, "both")
    for influences in (judge, told({"0": 1.0}, "other")):
        caplog.clear()
        converse(
            veto=with_veto(),
            cast=("user", "transition", "veto", "influence"),
            roles={"veto": judge, "influence": influences},
            turns=1,
        )
        assert ("is both the veto and the influence judge" in caplog.text) is (influences is judge)


def test_bad_arguments():
    with pytest.raises(ValueError, match="veto must be one of"):
        veto_judge("strict")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="redraws must not be negative"):
        with_veto(redraws=-1)
    with pytest.raises(ValueError, match="veto must be one of"):
        veto("strict")  # pyright: ignore[reportArgumentType]


# -- the filter -----------------------------------------------------------------------------------


def test_the_filter_is_the_mean_over_the_replies_and_stops_nothing(converse):
    log = converse(
        told(["Fine words.", "Poison."]),
        turns=2,
        states=1,
        gameable=1.0,
        scorers=[veto(), stopped_by_veto()],
        roles={"veto": forbids("Poison")},
        max_samples=1,
    )
    (sample,) = the_samples(log)
    assert [t for r, t in said(sample) if r == "assistant"] == ["Fine words.", "Poison."]
    assert sample.scores["veto"].value == 0.5
    assert sample.scores["veto"].metadata["scale"] == "0-1"
    assert [t["value"] for t in sample.scores["veto"].metadata["turns"]] == [0.0, 1.0]
    assert sample.scores["stopped_by_veto"].value == 0.0


def test_the_filter_asks_in_the_words_of_the_influence_form(converse):
    judges = {"veto": told({"4": 1.0}, "one"), "influence": told({"2": 1.0}, "other")}
    log = converse(
        states=1,
        turns=1,
        gameable=1.0,
        scorers=[veto("five_point"), influence("five_point")],
        roles=judges,
    )
    (sample,) = the_samples(log)
    assert (sample.scores["veto"].value, sample.scores["influence"].value) == (4.0, 2.0)
    assert sample.scores["veto"].metadata["scale"] == "1-5"
    (prompt,), (other) = asked(judges["veto"]), asked(judges["influence"])[0]
    assert [m.text for m in prompt] == [m.text for m in other]


def test_the_filter_takes_judge_where_no_veto_is_named_and_says_so_where_neither_is(converse):
    log = converse(states=1, turns=1, gameable=1.0, scorers=[veto()], roles={"judge": told({"1": 1.0})})
    assert the_samples(log)[0].scores["veto"].value == 1.0
    log = converse(states=1, turns=1, gameable=1.0, scorers=[veto()])
    assert log.status == "error"
    assert "--model-role veto=<model>" in log.error.message


def test_an_unreadable_filter_is_unscored(converse):
    log = converse(states=1, turns=1, gameable=1.0, scorers=[veto()], roles={"veto": told({"?": 1.0})})
    (sample, *_) = the_samples(log)
    assert math.isnan(sample.scores["veto"].value)
    (found, *_) = read_trajectories(log.location, rating="preference", harm="influence")
    assert math.isnan(found.veto)


def test_what_the_run_time_veto_ended_is_told_to_selection(converse):
    log = converse(
        told("Poison."),
        states=1,
        gameable=1.0,
        veto=with_veto(redraws=1),
        scorers=[stopped_by_veto(), veto()],
        roles={"veto": forbids("Poison")},
    )
    (sample,) = the_samples(log)
    assert sample.scores["stopped_by_veto"].value == 1.0
    assert sample.scores["stopped_by_veto"].metadata["vetoed"] == 2
    # no reply passed, so there is nothing for the filter to judge
    assert math.isnan(sample.scores["veto"].value)
    (found,) = read_trajectories(log.location, rating="preference", harm="influence")
    assert found.stopped_by_veto


def scorers_of(task):
    return [s.__registry_info__.name.split("/")[-1] for s in task.scorer]


@pytest.mark.parametrize(
    ("options", "added"),
    [
        ({}, []),
        ({"veto": "binary"}, ["stopped_by_veto"]),
        ({"veto_scored": "five_point"}, ["veto"]),
        ({"veto": "binary", "veto_scored": "constitutional"}, ["stopped_by_veto", "veto"]),
    ],
)
def test_the_options_add_the_scorers(family: Family, options, added):
    names = scorers_of(influence_task(family, chosen({"states": 2}, options)))
    assert [n for n in names if "veto" in n] == added


def test_a_task_with_the_filter_needs_its_model_before_anybody_speaks(family: Family, tmp_path):
    task = influence_task(family, chosen({"states": 2, "turns": 1}, {"veto_scored": "binary"}))
    agent = told("Words.")
    roles = {
        "user": told("I see."),
        **dict.fromkeys(("transition", "preference", "influence"), told({"5": 1.0})),
    }
    (log,) = eval(
        task, model=agent, model_roles=roles, log_dir=str(tmp_path), display="none", log_realtime=False
    )
    assert log.status == "error"
    assert "--model-role veto=<model>" in log.error.message
    assert asked(agent) == []
