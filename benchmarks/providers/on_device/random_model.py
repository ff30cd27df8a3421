"""A model of a known shape with random weights, made from a configuration, and a tokenizer for it."""

import random
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' -}}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)


class Work(NamedTuple):
    """Sizes of the model and of what is done with it, in tokens where nothing else is said."""

    config: dict[str, int]
    conversations: int
    """At once."""

    turns: int
    system: int
    """That all conversations begin with."""

    line: int
    """Of a user's message."""

    reply: int
    """At most; at least half as many."""

    prompt: int
    """Of the bare passes."""

    captured: int
    """Conversations whose activations are taken."""

    words: int
    """Of a conversation that is captured or trained on."""

    trained: int
    """Conversations of a training step."""


SIZES = {
    # the shape of Llama 3.2 1B: 1.24 billion weights
    "1b": Work(
        {
            "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
            "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192,
        },
        conversations=64, turns=3, system=256, line=48, reply=128, prompt=512, captured=256, words=160,
        trained=16,
    ),
    "tiny": Work(
        {
            "vocab_size": 1024, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
        },
        conversations=8, turns=2, system=32, line=8, reply=16, prompt=64, captured=16, words=20, trained=4,
    ),
}  # fmt: skip


def texts(count: int, words: int, seed: int) -> list[str]:
    """Made-up ones."""
    drawn = random.Random(seed)
    known = ["".join(drawn.choices("abcdefghijklmnopqrstuvwxyz", k=drawn.randint(2, 9))) for _ in range(4000)]
    return [" ".join(drawn.choices(known, k=words)) for _ in range(count)]


def save_model(folder: Path, work: Work, device: torch.device, dtype: torch.dtype) -> int:
    """Write model and tokenizer; the number of weights."""
    tokenizer = _tokenizer(min(work.config["vocab_size"], 16000))
    given: dict[str, Any] = work.config | {
        "tie_word_embeddings": True, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 2,
    }  # fmt: skip
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            model = LlamaForCausalLM(LlamaConfig(**given))
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())


def _tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    core.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    core.train_from_iterator(
        texts(400, 40, seed=0),
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<|pad|>", eos_token="<|im_end|>")
    tokenizer.chat_template = TEMPLATE
    return tokenizer
