"""Runs whose conversations a monitor scores, and what it left with each sample."""

from inspect_ai import Task, eval  # noqa: A004
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageUser, GenerateConfig, Model
from inspect_ai.solver import Solver, solver


@solver
def talk(turns: int, *, ends_with_user: bool = False) -> Solver:
    """The model and a user who says longer and shorter things, so many turns."""

    async def solve(state, generate):
        for turn in range(turns):
            if turn:
                state.messages.append(ChatMessageUser(content="And then? " * (1 + int(state.sample_id) % 3)))
            state = await generate(state)
        if ends_with_user:
            state.messages.append(ChatMessageUser(content="Bye."))
        return state

    return solve


def run(agent: str | Model, scorers, tmp_path, *, samples=4, plan=None, setup=None, **arguments):
    """The log of an evaluation of made-up samples, scored by `scorers`."""
    task = Task(
        dataset=[
            Sample(input="Hello " * n, id=n, metadata={"initial_state": n}) for n in range(1, samples + 1)
        ],
        setup=setup,
        solver=plan or talk(3),
        scorer=scorers or None,
        config=GenerateConfig(max_tokens=24, temperature=1.0, seed=arguments.pop("seed", 1)),
    )
    (log,) = eval(task, model=agent, log_dir=str(tmp_path / "logs"), display="none", **arguments)
    return log


def scores_metadata(log, name="stakes"):
    """What the scorer kept with each sample of a log that went well."""
    assert log.status == "success", log.error
    return [sample.scores[name].metadata for sample in log.samples]
