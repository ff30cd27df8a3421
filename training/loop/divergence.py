"""How far a checkpoint has moved from the base: the KL divergence on replies that it gave itself.

`python -m training.loop.divergence QUESTION.json` measures it in a process of its own.
"""

import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from providers.chat.choice import Readers, TemplateChoice, generation_ends
from providers.chat.completion import complete
from scenarios.files.strict_json import read_jsonl
from scenarios.files.whole import write_json, write_jsonl
from training.errors import RunError
from training.examples.example import Example
from training.job import read_trained
from training.launch.own_process import ProcessFailed, run_apart, serve_request

TOKENS_AT_ONCE = 8192
"""Of a batch, padding included."""


class Question(BaseModel):
    """What is to be measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    revision: str | None = None
    chat_template: Path | None = None
    thinking: bool | None = None
    template_options: dict[str, Any] = {}
    checkpoint: Path
    dtype: str | None = None
    replies: Path
    """JSONL of rows (`training/examples/from_logs.py`) that the checkpoint generated at temperature 1."""

    out: Path


def measure_divergence(question: Question, rows: Sequence[Example], *, own_process: bool) -> None:
    """Write `question.out`: `kl` in nats per token, `kl_per_reply` in nats, `replies`, `tokens`.

    At every token of every reply the exact divergence of the two next-token distributions is taken, over
    the whole vocabulary; their mean over tokens drawn from the checkpoint estimates the divergence without
    bias, with less variance than log-ratios of the drawn tokens, and is never negative.

    Source: Amini et al. 2025, arXiv:2504.10637 (Rao-Blackwellised estimator).
    """
    write_jsonl(question.replies, rows)
    if not own_process:
        _measure(question)
        return
    try:
        run_apart("training.loop.divergence", question, question.out.with_suffix(".question.json"))
    except ProcessFailed:
        raise RunError(
            f"{question.checkpoint}: its divergence could not be measured; the reason stands above"
        ) from None


def _measure(question: Question) -> None:
    write_json(question.out, _divergence(question))


def _divergence(question: Question) -> dict[str, Any]:
    import torch
    from transformers import AutoTokenizer

    rows = read_jsonl(question.replies)
    tokenizer: Any = AutoTokenizer.from_pretrained(question.base, revision=question.revision)
    template = None if question.chat_template is None else str(question.chat_template)
    choice = TemplateChoice(template, question.thinking, question.template_options)
    ends = generation_ends(question.base, question.revision, tokenizer)
    readers = Readers(tokenizer, ends, choice, question.base)
    pairs = [found for row in rows if (found := _tokens(tokenizer, readers, row)) is not None]
    with torch.inference_mode():
        total, tokens = _summed(question, pairs)
    return {
        "kl": total / tokens if tokens else None,
        "kl_per_reply": total / len(pairs) if pairs else None,
        "replies": len(pairs),
        "tokens": tokens,
    }


def _tokens(tokenizer: Any, readers: Readers, row: Example) -> tuple[list[int], int] | None:
    """Ids of prompt and reply, and where the reply begins; None if the template cannot write the reply."""
    from training.trainers.rows import recorded_row

    if (recorded := recorded_row(row, tokenizer)) is not None:
        return [*recorded.prompt, *recorded.completion], len(recorded.prompt)
    reader = readers.on(row.get("clock"), served=bool(row.get("served")))
    done = complete(reader, row["prompt"], row["completion"][0], row["tools"])
    if done.written is None:
        return None
    head, tail = reader.template.tokens(done.prompt), reader.template.tokens(done.written)
    return [*head, *tail], len(head)


def _summed(question: Question, pairs: Sequence[tuple[list[int], int]]) -> tuple[float, int]:
    """Sum over all tokens of the replies of KL(checkpoint || base), in nats; and how many tokens."""
    from torch.nn.functional import kl_div, log_softmax

    models = _Models(question)
    total, count = 0.0, 0
    for batch in _batches(pairs):
        ids, mask, places = _padded(batch, models.device)
        moved, fixed = (
            log_softmax(logits[:, :-1][places].float(), dim=-1) for logits in models.logits(ids, mask)
        )
        total += float(kl_div(fixed, moved, log_target=True, reduction="sum"))
        count += int(places.sum())
    return total, count


class _Models:
    """The checkpoint and the base: one copy of the weights if the checkpoint is an adapter."""

    def __init__(self, question: Question) -> None:
        import torch
        from transformers import AutoConfig

        from providers.causal_models import loader_of, loading_bar

        on_gpu = torch.cuda.is_available()
        dtype = question.dtype or ("bfloat16" if on_gpu else "float32")
        where: Any = {"dtype": dtype, "device_map": "auto" if on_gpu else None}
        self.adapter = read_trained(question.checkpoint).kind == "adapter"
        config = AutoConfig.from_pretrained(question.base, revision=question.revision)
        loader = loader_of(config, question.base)
        with loading_bar():
            self.base: Any = loader.from_pretrained(question.base, revision=question.revision, **where).eval()
        if self.adapter:
            from peft import PeftModel

            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # of one library to another
                moved = PeftModel.from_pretrained(self.base, str(question.checkpoint))
            self.moved: Any = moved.eval()
        else:
            with loading_bar():
                self.moved = loader.from_pretrained(str(question.checkpoint), **where).eval()
        self.device = next(self.moved.parameters()).device

    def logits(self, ids: Any, mask: Any) -> Iterator[Any]:
        """Of the checkpoint, then of the base; shape (row, position, vocabulary)."""
        yield self.moved(input_ids=ids, attention_mask=mask).logits
        if self.adapter:
            with self.moved.disable_adapter():
                yield self.moved(input_ids=ids, attention_mask=mask).logits
        else:
            yield self.base(input_ids=ids, attention_mask=mask).logits


def _batches(pairs: Sequence[tuple[list[int], int]]) -> Iterator[list[tuple[list[int], int]]]:
    """Rows of similar length together, at most `TOKENS_AT_ONCE`."""
    batch: list[tuple[list[int], int]] = []
    for pair in sorted(pairs, key=lambda p: len(p[0])):
        if batch and (len(batch) + 1) * len(pair[0]) > TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch


def _padded(batch: Sequence[tuple[list[int], int]], device: Any) -> tuple[Any, Any, Any]:
    """Ids, attention mask, and which predictions are of a reply's tokens (row, position - 1)."""
    import torch

    longest = max(len(ids) for ids, _ in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    places = torch.zeros(len(batch), longest - 1, dtype=torch.bool)
    for row, (tokens, start) in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
        places[row, start - 1 : len(tokens) - 1] = True
    return ids.to(device), mask.to(device), places.to(device)


if __name__ == "__main__":
    sys.exit(serve_request(Question, _measure, {}))
