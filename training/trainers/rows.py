"""Rows in tokens, and which of them cannot be trained on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from providers.chat.choice import Readers, TemplateChoice, generation_ends
from providers.chat.completion import Completion, complete
from providers.chat.errors import ChatTemplateError
from providers.chat.token_record import unpacked
from training.examples.example import Example
from training.job import Job
from training.trainers.base_models import CannotTrain

AS_IT_STANDS = "{%- for message in messages -%}{{- message['content'] -}}{%- endfor -%}"
"""Chat template for text that went through the model's own already."""


class Text(NamedTuple):
    """One row."""

    prompt: str
    """All that the agent saw, up to where its own words begin."""

    completion: str
    """What it wrote, the token that ends its turn included."""


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


def readers_of(tokenizer: PreTrainedTokenizerBase, job: Job) -> Readers:
    """Readers for the conversations of the rollouts.

    Raises:
        CannotTrain: The chat template cannot be used.
    """
    choice = TemplateChoice(
        None if job.chat_template is None else str(job.chat_template), job.thinking, job.template_options
    )
    try:
        return Readers(tokenizer, generation_ends(job.base, job.revision, tokenizer), choice, job.base)
    except ChatTemplateError as error:
        raise CannotTrain(str(error)) from None


def token_rows(
    rows: Sequence[Example], tokenizer: PreTrainedTokenizerBase, job: Job, left_out: Counter[str]
) -> list[TokenRow]:
    """The rows in tokens, in their order, without those that cannot be trained on whole.

    Where the log holds the tokens of a generation they are taken; otherwise prompt and reply are rendered as
    the model was prompted and writes.

    Args:
        rows: What is to be trained on.
        tokenizer: The model's, with its chat template.
        job: Tells `max_length`, the template's variables, and whom messages are about.
        left_out: Counts the others: `too_long` (more than `max_length` tokens; a trainer would cut off
            the agent's words), `not_in_template` (the chat template cannot write what the agent did), and
            `across_boundary` (a token would span the end of the prompt and the beginning of the reply).

    Raises:
        CannotTrain: The chat template cannot be used, or no row is left.
    """
    made: list[TokenRow | None] = [recorded_row(row, tokenizer) for row in rows]
    rendered = [number for number, row in enumerate(made) if row is None]
    readers = readers_of(tokenizer, job) if rendered else None
    texts = [_rendered(readers, rows[n], n + 1) for n in rendered] if readers is not None else []
    left_out["not_in_template"] += sum(text is None for text in texts)
    written = [(n, text) for n, text in zip(rendered, texts, strict=True) if text is not None]
    if readers is not None:
        for (number, _), row in zip(written, _tokenized(readers, rows, written), strict=True):
            made[number] = row
    kept = [row for row in made if row is not None and _whole(row, job, left_out)]
    for reason in [r for r, count in left_out.items() if not count]:
        del left_out[reason]
    if rows and not kept:
        raise CannotTrain(
            f"{job.examples}: no row is left to train on: {_counted(left_out)}{_advice(left_out, job)}"
        )
    return kept


def as_text(row: TokenRow) -> dict[str, Any]:
    """A row for TRL's trainers that tokenize themselves: text that is not to go through a template again."""
    return {
        "prompt": [{"role": "user", "content": row.text.prompt}],
        "completion": [{"role": "assistant", "content": row.text.completion}],
        "chat_template_kwargs": {"chat_template": AS_IT_STANDS},
    }


def train_on_tokens(trainer: Any, columns: Mapping[str, Sequence[list[int]]]) -> None:
    """Put our tokens in the place of those that a trainer made of the text.

    Text that is tokenized again may come out in other tokens than were generated. A trainer that dropped
    rows, or keeps log-probabilities of its own tokens, keeps those.

    Args:
        trainer: Made with a data set of text.
        columns: Name of a column of token ids -> the row's own, in the order of the data set.

    Raises:
        CannotTrain: The trainer has no such columns, or not these rows: its library has changed.
    """
    made = trainer.train_dataset
    if any(name.startswith("ref_") for name in made.column_names):
        return
    count = len(next(iter(columns.values())))
    if not set(columns) <= set(made.column_names) or len(made) != count:
        raise CannotTrain(
            f"{type(trainer).__name__} holds {len(made)} rows with {', '.join(made.column_names)} where "
            f"{count} with "
            f"{', '.join(columns)} are expected; this version of trl is not known, install the one in "
            f"constraints.txt"
        )
    kept = {name: made[name] for name in made.column_names if name not in columns}
    trainer.train_dataset = Dataset.from_dict({**kept, **columns})


def recorded_row(row: Example, tokenizer: PreTrainedTokenizerBase) -> TokenRow | None:
    """A row in the tokens that its log holds; None if there are none, or they are not this tokenizer's."""
    record = row.get("tokens")
    if record is None:
        return None
    prompt, written = unpacked(record["prompt"]), unpacked(record["written"])
    if max([*prompt, *written], default=0) >= len(tokenizer):
        return None
    text = Text(_decoded(tokenizer, prompt), _decoded(tokenizer, written))
    (message,) = row["completion"]
    return TokenRow(row, text, prompt, written) if _tells(text.completion, message) else None


def _decoded(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    # many tokenizers would take spaces before punctuation out
    return str(tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))


def _tells(written: str, message: Mapping[str, Any]) -> bool:
    """Whether a generation is this message: its words and its calls stand there, in order.

    Thoughts, control tokens and heads of channels may stand between them.
    """
    at = 0
    for word in str(message["content"]).split():
        at = written.find(word, at) + len(word)
        if at < len(word):
            return False
    return all(call["function"]["name"] in written for call in message.get("tool_calls") or [])


def _rendered(readers: Readers, row: Example, number: int) -> Completion | None:
    """None if the template cannot write what the agent did."""
    (message,) = row["completion"]
    reader = readers.on(row.get("clock"), served=bool(row.get("served")))
    try:
        done = complete(reader, row["prompt"], message, row["tools"])
    except ChatTemplateError as error:
        raise CannotTrain(f"{_row_name(number, row)}: {error}") from error
    return None if done.written is None else done


def _tokenized(
    readers: Readers, rows: Sequence[Example], texts: Sequence[tuple[int, Completion]]
) -> list[TokenRow]:
    # one call each: many are slow. The template writes the special tokens itself
    template = readers.on(None).template
    prompts = template.tokens_of_all([t.prompt for _, t in texts])
    whole = template.tokens_of_all([t.prompt + (t.written or "") for _, t in texts])
    made = []
    for (number, text), prompt, ids in zip(texts, prompts, whole, strict=True):
        written = ids[len(prompt) :] if ids[: len(prompt)] == prompt else []
        made.append(TokenRow(rows[number], Text(text.prompt, text.written or ""), prompt, written))
    return made


def _whole(row: TokenRow, job: Job, left_out: Counter[str]) -> bool:
    if not row.completion:
        left_out["across_boundary"] += 1
    elif len(row) > job.tuning.max_length:
        left_out["too_long"] += 1
    else:
        return True
    return False


def _row_name(number: int, row: Example) -> str:
    if row["sample"] is None:
        return f"row {number} (of {row['source']})"
    return f"row {number} (sample {row['sample']}, epoch {row['epoch']}, turn {row['turn']})"


def _counted(left_out: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))


def _advice(left_out: Counter[str], job: Job) -> str:
    if left_out["too_long"]:
        return f"; raise max_length, which is {job.tuning.max_length}, if the model's context allows"
    if left_out["not_in_template"]:
        return f"; the chat template of {job.base} cannot write calls of tools; name one that can"
    return ""
