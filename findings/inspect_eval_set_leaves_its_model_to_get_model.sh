#!/usr/bin/env bash
# inspect_ai 0.3.285: after `eval_set(..., model=A)` in one Python process, `get_model()` answers A while the next task is made,
# although INSPECT_EVAL_MODEL names B and the next `eval` runs on B; after `eval(..., model=A)` it answers B.
#
# `eval` makes its tasks inside an event loop, whose context ends with it; `eval_set` makes them before, in the caller's, and
# leaves A there as the active model, which `get_model()` prefers to the environment's. So a script that runs a set and then
# makes a task whose grader is `get_model()` has B graded by A, without a word.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check inspect_ai==0.3.285 2>/dev/null
cd "$work"
INSPECT_EVAL_MODEL=none/B "$work/venv/bin/python" - <<'PY'
import inspect_ai
from inspect_ai import Task, eval, eval_set, task
from inspect_ai.dataset import Sample
from inspect_ai.model import get_model
from inspect_ai.solver import solver


@solver
def silent():
    async def solve(state, generate):
        return state

    return solve


@task
def hello():
    return Task(dataset=[Sample(input="Hello")], solver=silent())


def seen_by_what_comes_next():
    """The model that `get_model()` gives while a task is made, and that of an eval that names none."""
    return str(get_model()), eval(hello(), display="none", log_dir="logs")[0].eval.model


print("inspect_ai", inspect_ai.__version__, " (get_model() while the next task is made, model of the next eval)")
eval(hello(), model="none/A", display="none", log_dir="logs")
after_eval = seen_by_what_comes_next()
print("INSPECT_EVAL_MODEL=none/B; after eval(model='none/A'):    ", after_eval)
eval_set(hello(), log_dir="set", model="none/A", display="none")
after_set = seen_by_what_comes_next()
print("INSPECT_EVAL_MODEL=none/B; after eval_set(model='none/A'):", after_set)
assert (after_eval, after_set) == (("none/B", "none/B"), ("none/A", "none/B"))
PY
