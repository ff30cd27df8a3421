"""Who plays which role: a misspelled one is told before anybody speaks."""

import pytest

from scenarios.cast import ROLES, misspelled_role
from tests.support.told import asked, told


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("influnce", "influence"),
        ("usr", "user"),
        ("User", "user"),
        ("judg", "judge"),
        ("jugde", "judge"),
        ("preferences", "preference"),
        ("transitions", "transition"),
        ("vetto", "veto"),
    ],
)
def test_a_misspelled_role_is_told_with_the_nearest(name: str, meant: str):
    assert misspelled_role(["user", name]) == f"{name}: no such role; did you mean {meant!r}?"


def test_right_roles_and_those_of_others_pass():
    assert misspelled_role(ROLES) is None
    assert misspelled_role(["grader", "secretary", "model"]) is None
    assert (
        misspelled_role(["grader"], all_known=True) == f"grader: no such role; there are {', '.join(ROLES)}"
    )


def test_an_eval_with_a_misspelled_role_asks_nobody(converse):
    agent, user, judge = told("Hello."), told("I see."), told({"no": 1.0})
    log = converse(agent, roles={"user": user, "judge": judge, "transitoin": judge})
    assert log.status == "error"
    assert "transitoin: no such role; did you mean 'transition'?" in log.error.message
    assert [asked(model) for model in (agent, user, judge)] == [[], [], []]
