"""Whether a server that took an adapter answers with it: some take one and go on with the base's weights."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
from inspect_ai.log import EvalLog
from inspect_ai.model import ChatMessage, ChatMessageAssistant, GenerateConfig, get_model

from scenarios.files.whole import write_json

ADAPTER_CHECK = "adapter_check.json"
"""In an iteration's folder."""

PROMPTS = 4
TOKENS = 48
"""Of each answer. One prompt after which the two differ is enough."""


def check_effect(log: EvalLog, model: str, how: dict[str, Any], record: Path) -> None:
    """Ask a server's base and its adapter the same at temperature 0, and write down whether they differ.

    An adapter may truly change nothing that is seen here, so that is a warning: one line on stderr and in the
    record, which says `prompts`, `different` and `warning`, or why nothing could be asked.

    Args:
        log: Of conversations with the adapter, whose first prompts are asked again.
        model: `vllm/<base>:<adapter>`; of any other there is nothing to check.
        how: What else `get_model` takes.
        record: Where it is written down; what is there is kept.
    """
    base, _, adapter = model.rpartition(":")
    if not (model.startswith("vllm/") and base and adapter) or record.exists():
        return
    prompts = _prompts(log)
    try:
        with_adapter, without = anyio.run(_asked, prompts, (model, base), how)
    except Exception as error:  # of any kind a server and its client may have; the conversations went well
        write_json(record, {"prompts": 0, "different": None, "warning": f"not checked: {error}"})
        return
    different = sum(a != b for a, b in zip(with_adapter, without, strict=True))
    warning = None
    if prompts and not different:
        warning = (
            f"{model} answers {len(prompts)} prompts at temperature 0 word for word as the base does: the "
            "server may ignore the adapter that it loaded (vLLM: --enable-lora, a model class that supports "
            "LoRA, module names as the server has them), or training has changed nothing"
        )
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    write_json(record, {"prompts": len(prompts), "different": different, "warning": warning})


def _prompts(log: EvalLog) -> list[list[ChatMessage]]:
    """What the model was given before it first spoke, of the first conversations that differ in it."""
    found: dict[str, list[ChatMessage]] = {}
    for sample in log.samples or []:
        spoken = next((n for n, m in enumerate(sample.messages) if isinstance(m, ChatMessageAssistant)), 0)
        given = sample.messages[:spoken]
        if given and len(found) < PROMPTS:
            found.setdefault("\n".join(m.text for m in given), given)
    return list(found.values())


async def _asked(
    prompts: Sequence[list[ChatMessage]], models: Sequence[str], how: dict[str, Any]
) -> list[list[str]]:
    """The answers of each model."""
    config = GenerateConfig(temperature=0.0, max_tokens=TOKENS, seed=0)
    answers: list[list[str]] = []
    for name in models:
        async with get_model(name, memoize=False, **how) as model:
            answers.append([(await model.generate(prompt, config=config)).completion for prompt in prompts])
    return answers
