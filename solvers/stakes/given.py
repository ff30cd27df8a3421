"""Conversations that are data: nobody says a further word, they are judged as they are."""

from inspect_ai.solver import Generate, Solver, TaskState, solver


@solver
def as_given() -> Solver:
    """Leave the conversation as the sample's input has it; no model is called."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001
        return state

    return solve
