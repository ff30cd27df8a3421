"""The run-time veto: stopped or drawn again, both recorded, and nothing of it reaches the user."""

import math

import pytest

from scenarios.dialogue import Dialogue
from scorers.influence import influence
from scorers.veto import THRESHOLDS, veto_judge
from solvers.veto import Veto
from tests.conftest import said, the_samples
from tests.told import asked, told


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
