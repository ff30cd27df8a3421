"""The reader of judges' answers of an earlier commit; run there by `benchmarks/earlier_commit.py`."""

import runpy
from collections.abc import Callable
from functools import cache
from typing import Any

import anyio
from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser, get_model

PLACES = ("scorers.judging.judgement", "scorers.judgement")


def answer(load: Callable[..., Any], request: dict[str, Any]) -> Any:
    """A reading of a text, or of a judge with log-probabilities.

    Args:
        load: Gives modules of the commit.
        request: `support` (answer -> value), and either `text`, or `service` (fields of
            a `Service`, with `texts` as pairs) and `services`, the path of `tests/support/judge_services.py`.

    Returns:
        The answer that the text gives, or the value of the judgement; None if there is none.
    """
    reader = load(*PLACES)
    if "text" in request:
        return reader.parse_answer(request["text"], request["support"])
    return anyio.run(_judged, load, reader, request)


async def _judged(load: Callable[..., Any], reader: Any, request: dict[str, Any]) -> float | None:
    services = _services(request["services"])
    fields = request["service"]
    texts = {tuple(tokens): probability for tokens, probability in fields["texts"]}
    tuples = {name: tuple(fields[name]) for name in ("thought", "refuses")}
    services["SERVICES"]["judge"] = services["Service"](**fields | tuples | {"texts": texts})
    dialogue = load("scenarios.conversations.dialogue", "scenarios.dialogue")
    blank = dialogue.Judgement(role="preference", model="judge", question="rating", mode="logprobs")
    prompt: list[ChatMessage] = [
        ChatMessageSystem(content="Rate it."),
        ChatMessageUser(content="Your rating?"),
    ]
    # not `judge`, which would want a sample with a cast
    judged = await reader._judge_by_logprobs(get_model("service/judge"), prompt, request["support"], blank)
    return judged.value


@cache
def _services(path: str) -> dict[str, Any]:
    """Today's services: the commit's tests are not what is measured."""
    return runpy.run_path(path)
