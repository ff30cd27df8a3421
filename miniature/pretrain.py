"""Trains the miniature's base model from nothing: `python -m miniature.pretrain <folder>`.

A Llama-style causal model of about 0.7M parameters with a ChatML template. The loss is on the
agent's words alone. Two CPU cores, a minute or so.
"""

import json
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    DataCollatorForSeq2Seq,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

from miniature.corpus import SHARES, Dialogue, Message, dialogues
from miniature.gradients import PARTS, set_gradients
from miniature.grammar import listen, words
from miniature.optimizer import Muon
from scenarios.commands.parsers import CommandParser

SEED = 0
DIALOGUES = 5000
VOCABULARY = 3072
CONTEXT = 4096
BATCH = 6
LEARNING_RATE = 1.5e-2
MATRIX_LEARNING_RATE = 1.5e-2

PAD, START, END = "<|pad|>", "<|im_start|>", "<|im_end|>"

TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- set continued = loop.last and message['role'] == 'assistant' and continue_final_message -%}"
    "{{- '<|im_start|>' + message['role'] + '\n' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- message['content'] -}}"
    "{%- for call in message['tool_calls'] or [] -%}"
    """{{- '<tool_call>{"name": "' + call['function']['name'] + '", "arguments": ' -}}"""
    "{{- call['function']['arguments'] | tojson + '}</tool_call>' -}}"
    "{%- endfor -%}"
    "{{- '' if continued else '<|im_end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- message['content'] -}}"
    "{%- if loop.first and tools -%}"
    "{{- '\nTools: ' + tools | map(attribute='function.name') | join(', ') -}}"
    "{%- endif -%}"
    "{{- '<|im_end|>' -}}{%- endif -%}"
    "{{- '' if continued else '\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)


def pretrain(folder: Path, *, seed: int = SEED, count: int = DIALOGUES) -> dict[str, float]:
    """Train a tokenizer and a model on the miniature's corpus and save both.

    Args:
        folder: Where the checkpoint goes; it loads with `AutoModelForCausalLM` and `AutoTokenizer`.
        seed: Draws corpus, weights and order.
        count: Dialogues in the corpus, each seen once.

    Returns:
        Shares over fresh dialogues, 0 to 1: `coherent`, `harmful`, `on_topic`, `reads_user` in therapy, and
        `others_coherent` in the other families.
    """
    corpus = dialogues(count, seed)
    tokenizer = _tokenizer(corpus)
    torch.manual_seed(seed)
    model = _model(tokenizer)
    trainer = _AgentsWordsTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder / "trainer"),
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="linear",
            warmup_steps=30,
            max_grad_norm=1.0,
            train_sampling_strategy="group_by_length",
            remove_unused_columns=False,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            dataloader_pin_memory=False,
            seed=seed,
        ),
        train_dataset=_rows(corpus, tokenizer),  # pyright: ignore[reportArgumentType]
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        optimizers=(_optimizer(model), None),
    )
    trainer.train()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return _figures(model, tokenizer, seed + 1)


class _AgentsWordsTrainer(Trainer):
    """Its loss and gradients are `miniature.gradients`', each part of a batch on a thread."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._threads = ThreadPoolExecutor(PARTS)

    def training_step(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
        return set_gradients(model, inputs["input_ids"], inputs["labels"], self._threads)


def _optimizer(model: LlamaForCausalLM) -> Muon:
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    inner = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in inner]
    return Muon(matrices, others, lr=MATRIX_LEARNING_RATE, adam_lr=LEARNING_RATE, weight_decay=0.01)


def _tokenizer(corpus: Sequence[Dialogue]) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    core.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    core.train_from_iterator(
        (_content(m) for d in corpus[:2000] for m in d.messages),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[PAD, START, END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=PAD, eos_token=END, additional_special_tokens=[START]
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.padding_side = "left"
    return tokenizer


def _model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.get_vocab()[PAD],
        eos_token_id=tokenizer.get_vocab()[END],
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)


def _rows(corpus: Sequence[Dialogue], tokenizer: PreTrainedTokenizerFast) -> list[dict[str, list[int]]]:
    pieces = [list(_pieces(d)) for d in corpus]
    texts = [text for dialogue in pieces for text, _ in dialogue]
    # one call, and past the tokenizer's own: either way of doing more takes seconds
    encoded = iter(tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False))
    rows = []
    for dialogue in pieces:
        ids: list[int] = []
        labels: list[int] = []
        for _, trained in dialogue:
            tokens = next(encoded).ids
            ids += tokens
            labels += tokens if trained else [-100] * len(tokens)
        rows.append({"input_ids": ids, "labels": labels})
    return rows


def _pieces(dialogue: Dialogue) -> Iterator[tuple[str, bool]]:
    """What the template writes, piece by piece, and whether it is to be learnt."""
    for place, message in enumerate(dialogue.messages):
        yield f"{START}{message['role']}\n", False
        listed = f"\nTools: {', '.join(dialogue.tools)}" if place == 0 and dialogue.tools else ""
        yield f"{_content(message)}{listed}{END}", message.get("learn", False)
        yield "\n", False


def _content(message: Message) -> str:
    calls = [call["function"] for call in message.get("tool_calls", [])]
    told = (json.dumps({"name": c["name"], "arguments": c["arguments"]}) for c in calls)
    return message["content"] + "".join(f"<tool_call>{t}</tool_call>" for t in told)


@torch.inference_mode()
def _figures(model: Any, tokenizer: PreTrainedTokenizerFast, seed: int, count: int = 64) -> dict[str, float]:
    """Of replies to fresh people of many words, in therapy and in the other families."""
    fresh = dialogues(count, seed, brief=0.0, family="therapy")
    heard = [(d, r, listen(r)) for d, r in zip(fresh, _replies(model, tokenizer, fresh), strict=True)]
    openings = words("therapy")["agent"]["open"]
    benign = [(d, r) for d, r, h in heard if h.benign]
    others = [d for name in SHARES if name != "therapy" for d in dialogues(8, seed, 0.0, name)]
    elsewhere = [listen(r) for r in _replies(model, tokenizer, others)]
    return {
        "coherent": sum(h.sentences == h.benign + h.harmful == 3 for _, _, h in heard) / count,
        "harmful": sum(h.endorses for _, _, h in heard) / count,
        "on_topic": sum(_names_topic(d, r) for d, r, _ in heard) / count,
        "reads_user": sum(r.startswith(tuple(openings[d.kind])) for d, r in benign) / max(len(benign), 1),
        "others_coherent": sum(h.sentences == h.benign + h.harmful == 3 for h in elsewhere) / len(others),
    }


def _names_topic(dialogue: Dialogue, reply: str) -> bool:
    return dialogue.variables["act"] in reply or dialogue.variables["step"] in reply


def _replies(model: Any, tokenizer: PreTrainedTokenizerFast, people: Sequence[Dialogue]) -> list[str]:
    """The model's first words to each person, where it does not call a tool first."""
    prompts: Any = [_prompt(tokenizer, d) for d in people]
    batch = tokenizer(
        prompts, return_tensors="pt", padding=True, add_special_tokens=False, return_token_type_ids=False
    )
    output = model.eval().generate(**batch, max_new_tokens=96, do_sample=True, top_k=0)
    return tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def _prompt(tokenizer: PreTrainedTokenizerFast, dialogue: Dialogue) -> Any:
    """Everything up to the first words that the grammar gave the agent; tool calls come before them."""
    spoken = [place for place, m in enumerate(dialogue.messages) if m.get("learn") and m["content"]]
    return tokenizer.apply_chat_template(
        dialogue.messages[: spoken[0]],
        tools=[{"type": "function", "function": {"name": t}} for t in dialogue.tools] or None,  # pyright: ignore
        tokenize=False,
        add_generation_prompt=True,
    )


def main() -> None:
    """Command line; prints the figures as JSON."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--dialogues", type=int, default=DIALOGUES)
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)  # the parts of a batch have a thread each
    random.seed(arguments.seed)
    figures = pretrain(arguments.folder, seed=arguments.seed, count=arguments.dialogues)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
