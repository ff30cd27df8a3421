"""Who plays which role: a misspelled one is told before anybody speaks."""

import pytest
from inspect_ai import eval  # noqa: A004

from scenarios.cast import MissingRole, check_cast_of_eval
from scenarios.conversations.roles import ROLES, misspelled_role
from tests.support.places import ROOT
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


def test_roles_that_nobody_plays_are_told_all_at_once_while_the_task_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    agent = told("Hello.")
    with pytest.raises(MissingRole) as error:
        eval(
            "tasks/therapy.py",
            task_args={"states": 2, "topics": "smoking", "veto": "binary"},
            model=agent,
            model_roles={"preference": told({"5": 1.0})},
            log_dir=str(tmp_path),
            display="none",
        )
    roles = ("user", "transition", "influence", "veto")
    assert f"roles {', '.join(map(repr, roles))}." in str(error.value)
    assert all(f"--model-role {role}=<model>" in str(error.value) for role in roles)
    assert "--model-role judge=<model>" in str(error.value)
    assert asked(agent) == []
    assert not list(tmp_path.iterdir())


def test_a_task_that_is_made_outside_of_an_eval_casts_nobody(monkeypatch):
    monkeypatch.setenv("INSPECT_EVAL_MODEL", "mockllm/model")
    check_cast_of_eval(["user"])
