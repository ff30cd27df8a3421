"""Seconds of the two renderers of an earlier commit; run there by `benchmarks/earlier_commit.py`."""

import time
from collections.abc import Callable
from functools import cache
from typing import Any


def answer(load: Callable[..., Any], request: dict[str, Any]) -> float:
    """Seconds for some conversations, after a few that warm up.

    Args:
        load: Gives modules of the commit.
        request: `work` (`rows` or `spans`), `talks`, `checkpoint`, and `template` (None: its own).
    """
    tokenizer = _tokenizer(request["checkpoint"], request["template"])
    if request["work"] == "rows":
        render = _rows(load, tokenizer)
    else:
        render = load("probes.message_spans").ChatText(tokenizer, None, {}, "x").render
    for talk in request["talks"][:5]:
        render(talk)
    begin = time.perf_counter()
    for talk in request["talks"]:
        render(talk)
    return time.perf_counter() - begin


def _rows(load: Callable[..., Any], tokenizer: Any) -> Callable[[Any], Any]:
    chat = load("training.algorithms.chat_text").ChatText(tokenizer, "x")
    return lambda talk: chat.row({"prompt": talk[:-1], "completion": talk[-1:], "tools": None}, "row")


@cache
def _tokenizer(checkpoint: str, template: str | None) -> Any:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.chat_template = template or tokenizer.chat_template
    return tokenizer
