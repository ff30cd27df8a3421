"""The options that every task takes."""

import ast
import inspect
import typing

import pytest
from pydantic import BeforeValidator

from tasks.families.options import Choices, OptionError, Options, chosen
from tests.support.places import ROOT

TASKS = ROOT / "tasks"


def test_the_typed_dictionary_and_the_choices_name_the_same_options():
    hints = typing.get_type_hints(Options)
    assert list(hints) == list(Choices.model_fields)
    for name, field in Choices.model_fields.items():
        given = (m.json_schema_input_type for m in field.metadata if isinstance(m, BeforeValidator))
        assert next(given, field.annotation) == hints[name], name


def test_every_option_is_explained():
    (body,) = [n for n in ast.parse(inspect.getsource(Choices)).body if isinstance(n, ast.ClassDef)]
    fields = [i for i, n in enumerate(body.body) if isinstance(n, ast.AnnAssign)]
    for place in fields:
        after = body.body[place + 1]
        assert isinstance(after, ast.Expr)
        assert isinstance(after.value, ast.Constant)


def test_the_user_wins_over_the_family_and_the_family_over_the_defaults():
    choices = chosen({"turns": 6, "states": 4}, {"states": 2})
    assert (choices.turns, choices.states, choices.gameable) == (6, 2, 0.5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"turn": 2}, "-T turn: no such option; did you mean 'turns'?"),
        ({"zzz": 2}, "-T zzz: no such option; there are ["),
        ({"turns": 0}, "-T turns=0: Input should be greater than or equal to 1"),
        ({"gameable": 2}, "-T gameable=2"),
        ({"reward": "best"}, "-T reward=best: Input should be 'mean' or 'last'"),
        ({"veto": "strict"}, "-T veto=strict"),
        ({"redraws": -1}, "-T redraws=-1"),
    ],
)
def test_a_wrong_option_is_named_with_the_nearest_right_one(given, message):
    with pytest.raises(OptionError) as error:
        chosen({}, given)
    assert message in str(error.value)


def test_every_task_of_a_family_takes_them():
    families = [path for path in TASKS.glob("*.py") if "influence_task(" in path.read_text()]
    assert len(families) == 11
    for path in families:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and any(
                getattr(d, "id", None) == "task" for d in node.decorator_list
            ):
                assert node.name == path.stem
                assert ast.unparse(node.args.kwarg.annotation) == "Unpack[Options]", path.name
