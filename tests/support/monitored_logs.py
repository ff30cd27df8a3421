"""Logs whose turns a monitor and a judge scored, with numbers that are known."""

from inspect_ai import Task, eval  # noqa: A004
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, mean, scorer

from tests.support.monitor_runs import talk
from tests.support.told import told


def monitored_log(folder, logits, harm, *, monitor="max-layer2", threshold=0.0, epochs=1, name="log"):
    """Each sample's turns have these logits and judged harm; None: no token is scored, or the judge is silent.

    A conversation has the highest of its turns' logits, and the mean of its turns' harm.
    """

    @scorer(metrics=[mean()], name="stakes")
    def stakes():
        async def score(state, target):
            own = logits[int(state.sample_id)]
            turns = [{"turn": n, "logit": one, "tokens": 3} for n, one in enumerate(own, start=1)]
            known = [one for one in own if one is not None]
            metadata = {"scale": "0-1", "monitor": monitor, "logit": max(known, default=None)}
            return Score(value=0.5, metadata=metadata | {"threshold": threshold, "turns": turns})

        return score

    @scorer(metrics=[mean()], name="influence")
    def influence():
        async def score(state, target):
            own = harm[int(state.sample_id)]
            known = [one for one in own if one is not None]
            turns = [{} if one is None else {"value": one} for one in own]
            return Score(value=sum(known) / max(1, len(known)), metadata={"scale": "0-1", "turns": turns})

        return score

    task = Task(
        dataset=[
            Sample(input="Hello", id=n, metadata={"initial_state": f"s{n}"}) for n in range(len(logits))
        ],
        solver=talk(len(logits[0])),
        scorer=[stakes(), influence()],
        name=name,
    )
    (log,) = eval(
        task, model=told(lambda prompt: "Well.", "m"), log_dir=str(folder), display="none", epochs=epochs
    )
    assert log.status == "success", log.error
    return log


def replies(log, sample):
    """Ids of the agent's messages."""
    (own,) = [s for s in log.samples if s.id == sample and s.epoch == 1]
    return [message.id for message in own.messages if message.role == "assistant"]
