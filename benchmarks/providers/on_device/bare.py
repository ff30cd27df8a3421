"""The model's own passes with nothing around them."""

from typing import Any, NamedTuple

import torch

from benchmarks.providers.on_device.limits import seconds_of

STEPS = 32
"""Of decoding."""


class Bare(NamedTuple):
    """Seconds a token."""

    prompt: float
    """Of a prompt, in a batch without padding."""

    step: float
    """Of a reply, in a batch of all conversations."""

    context: float
    """Tokens that a row held on average in these steps."""


@torch.inference_mode()
def bare_passes(model: Any, rows: int, prompt: int) -> Bare:
    """A pass over so many prompts of one length, and steps after it."""
    device = model.device
    ids = torch.randint(3, model.config.vocab_size, (rows, prompt), device=device)

    def read() -> Any:
        return model(input_ids=ids, use_cache=True, logits_to_keep=1)

    def read_and_write() -> None:
        output = read()
        for _ in range(STEPS):
            tokens = output.logits[:, -1].argmax(dim=-1)[:, None]
            output = model(input_ids=tokens, past_key_values=output.past_key_values, use_cache=True)

    reading = seconds_of(read, device)
    both = seconds_of(read_and_write, device)
    return Bare(reading / (rows * prompt), (both - reading) / (rows * STEPS), prompt + STEPS / 2)


@torch.inference_mode()
def bare_forward(model: Any, rows: int, each: int, batch_tokens: int) -> float:
    """Seconds of forward passes over so many texts of one length, without head and cache.

    As many as have room are in a batch; nothing is padded.
    """
    body, device = model.get_decoder(), model.device
    at_once = max(1, batch_tokens // each)
    parts = [min(at_once, rows - start) for start in range(0, rows, at_once)]
    batches = [torch.randint(3, model.config.vocab_size, (part, each), device=device) for part in parts]
    return seconds_of(lambda: [body(input_ids=ids, use_cache=False) for ids in batches], device)
