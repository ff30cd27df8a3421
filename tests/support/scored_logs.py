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


def written(path, conversations):
    """A log of these conversations; its path."""
    log = read_eval_log(str(ROOT / "logs" / "example.eval"))
    blank = log.samples[0].model_copy(update={"error": None, "events": [], "attachments": {}})
    log.samples = [
        blank.model_copy(update={**one, "uuid": f"{number}"}) for number, one in enumerate(conversations)
    ]
    log.results = None
    log.reductions = None
    write_eval_log(log, str(path))
    return str(path)
