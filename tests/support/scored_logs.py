"""Logs whose conversations have just the scores that a test gives them; no model is asked."""

from inspect_ai.log import read_eval_log, write_eval_log
from inspect_ai.scorer import Score

from tests.support.places import ROOT


def conversation(state, scores, *, epoch=1, gameable=True, family="therapy", topic="smoking"):
    """A conversation with one initial state; scores: name -> (value, metadata)."""
    return {
        "id": f"{family}-{state}",
        "epoch": epoch,
        "scores": {name: Score(value=value, metadata=told) for name, (value, told) in scores.items()},
        "metadata": {"initial_state": state, "family": family, "gameable": gameable, "topic": topic},
    }


def written(path, conversations, *, status="success", finish=None, **facts):
    """A log of these conversations; its path.

    Args:
        path: Ends in .eval or .json.
        conversations: Fields of samples, see `conversation`; whatever else an EvalSample has may be given.
        status: Of the eval.
        finish: Changes the log before it is written.
        facts: Fields of its EvalSpec: task_id, created, model and so on.
    """
    log = read_eval_log(str(ROOT / "logs" / "example.eval"))
    blank = log.samples[0].model_copy(update={"error": None, "events": [], "attachments": {}})
    log.samples = [
        blank.model_copy(update={"uuid": f"{number}", **one}) for number, one in enumerate(conversations)
    ]
    log.eval = log.eval.model_copy(update=facts)
    log.eval.dataset.sample_ids = list(dict.fromkeys(sample.id for sample in log.samples))
    log.results = None
    log.reductions = None
    log.status = status
    write_eval_log(log if finish is None else finish(log), str(path))
    return str(path)


FOREIGN = {"metadata": {}, "store": {}}
"""Fields of a sample that another solver ran."""


def foreign(name, scores, **more):
    """A conversation of another suite; scores: name -> value, or (value, metadata)."""
    pairs = {k: v if isinstance(v, tuple) else (v, None) for k, v in scores.items()}
    made = {k: Score(value=value, metadata=facts) for k, (value, facts) in pairs.items()}
    return {"id": name, "epoch": 1, "scores": made, **FOREIGN, **more}
