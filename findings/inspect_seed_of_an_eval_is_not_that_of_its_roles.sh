#!/usr/bin/env bash
# inspect_ai 0.3.285: `eval(..., seed=7, temperature=0)` (and `inspect eval --seed 7 --temperature 0`) hands both to the evaluated
# model alone. The models of `model_roles` (a user simulator, a grader), also one with the same name as the evaluated model, are
# called without a seed and with the service's own temperature, while they do inherit max_retries, timeout and cache. The log
# shows `seed: 7` for the eval, and nothing tells that half of its calls had none.
#
# So two runs of one seed differ as soon as a role is sampled. A role has to be given its own:
# `--model-role 'grader={model: lab/m, seed: 7}'`, or `get_model("lab/m", config=GenerateConfig(seed=7))`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check inspect_ai==0.3.285 2>/dev/null
cd "$work"
"$work/venv/bin/python" - <<'PY'
import inspect_ai
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig, ModelAPI, ModelOutput, get_model, modelapi
from inspect_ai.solver import solver

calls = []


@modelapi(name="lab")
class Lab(ModelAPI):
    """A service that writes down with which settings it was called."""

    async def generate(self, input, tools, tool_choice, config):
        calls.append((input[-1].text, config.seed, config.temperature, config.max_retries))
        return ModelOutput.from_content(self.model_name, "Yes.")


@solver
def talk():
    async def solve(state, generate):
        state = await generate(state)
        await get_model(role="grader").generate("grader")
        await get_model(role="seeded").generate("seeded")
        return state

    return solve


seeded = get_model("lab/m", config=GenerateConfig(seed=7, temperature=0))
(log,) = eval(
    Task(dataset=[Sample(input="evaluated")], solver=talk()),
    model="lab/m",
    model_roles={"grader": "lab/m", "seeded": seeded},
    seed=7,
    temperature=0,
    max_retries=3,
    display="none",
    log_dir="logs",
)
print("inspect_ai", inspect_ai.__version__, "| the log says seed", log.eval.model_generate_config.seed or log.plan.config.seed)
for who, seed, temperature, retries in calls:
    print(f"{who:>10}: seed {seed}, temperature {temperature}, max_retries {retries}")
assert calls == [("evaluated", 7, 0.0, 3), ("grader", None, None, 3), ("seeded", 7, 0.0, 3)], calls
PY
