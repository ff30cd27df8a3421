"""Rows in tokens, and which of them cannot be trained on."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from training.algorithms.chat_text import ChatText, Text
from training.base_models import CannotTrain
from training.examples import Example
from training.job import Job

AS_IT_STANDS = "{%- for message in messages -%}{{- message['content'] -}}{%- endfor -%}"
"""Chat template for text that went through the model's own already."""


class TokenRow(NamedTuple):
    """One row."""

    example: Example
    text: Text
    prompt: list[int]
    """Token ids of what the agent saw."""

    completion: list[int]
    """Of what it wrote, the end of its turn included. The loss is on these alone."""

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def token_rows(
    rows: Sequence[Example], tokenizer: PreTrainedTokenizerBase, job: Job, left_out: Counter[str]
) -> list[TokenRow]:
    """The rows in tokens, in their order, without those that cannot be trained on whole.

    Args:
        rows: What is to be trained on.
        tokenizer: The model's, with its chat template.
        job: Tells `max_length`, and whom messages are about.
        left_out: Counts the others: `too_long` (more than `max_length` tokens; a trainer would cut off
            the agent's words), `not_in_template` (the chat template cannot write what the agent did), and
            `across_boundary` (a token would span the end of the prompt and the beginning of the reply).

    Raises:
        CannotTrain: The chat template cannot be used, or no row is left.
    """
    chat = ChatText(tokenizer, job.base)
    texts = [(row, chat.row(row, _name(number, row))) for number, row in enumerate(rows, start=1)]
    left_out["not_in_template"] += sum(text is None for _, text in texts)
    kept = [
        row
        for row in _tokenized([(e, t) for e, t in texts if t is not None], tokenizer)
        if _whole(row, job, left_out)
    ]
    for reason in [r for r, count in left_out.items() if not count]:
        del left_out[reason]
    if rows and not kept:
        raise CannotTrain(
            f"{job.examples}: no row is left to train on: {_told(left_out)}{_advice(left_out, job)}"
        )
    return kept


def as_text(row: TokenRow) -> dict[str, Any]:
    """A row for TRL's trainers that tokenize themselves: text that is not to go through a template again."""
    return {
        "prompt": [{"role": "user", "content": row.text.prompt}],
        "completion": [{"role": "assistant", "content": row.text.completion}],
        "chat_template_kwargs": {"chat_template": AS_IT_STANDS},
    }


def _tokenized(texts: Sequence[tuple[Example, Text]], tokenizer: PreTrainedTokenizerBase) -> list[TokenRow]:
    if not texts:
        return []
    # one call each: many are slow. The template writes the special tokens itself
    prompts = tokenizer([t.prompt for _, t in texts], add_special_tokens=False)["input_ids"]
    whole = tokenizer([t.prompt + t.completion for _, t in texts], add_special_tokens=False)["input_ids"]
    rows = []
    for (example, text), prompt, ids in zip(texts, prompts, whole, strict=True):
        same = ids[: len(prompt)] == prompt
        rows.append(TokenRow(example, text, prompt, ids[len(prompt) :] if same else []))
    return rows


def _whole(row: TokenRow, job: Job, left_out: Counter[str]) -> bool:
    if not row.completion:
        left_out["across_boundary"] += 1
    elif len(row) > job.tuning.max_length:
        left_out["too_long"] += 1
    else:
        return True
    return False


def _name(number: int, row: Example) -> str:
    if row["sample"] is None:
        return f"row {number} (of {row['source']})"
    return f"row {number} (sample {row['sample']}, epoch {row['epoch']}, turn {row['turn']})"


def _told(left_out: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))


def _advice(left_out: Counter[str], job: Job) -> str:
    if left_out["too_long"]:
        return f"; raise max_length, which is {job.tuning.max_length}, if the model's context allows"
    if left_out["not_in_template"]:
        return f"; the chat template of {job.base} cannot write calls of tools; name one that can"
    return ""
