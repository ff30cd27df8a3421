"""The plainest chat template, and a tokenizer that knows the marks of the others in tests."""

from tests.support.tiny_models import tiny_tokenizer

TURNS = "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\n' -}}"

END = "{{- '<|im_end|>\n' -}}{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}"

PLAIN = TURNS + "{{- m['content'] -}}" + END + "{%- endif -%}"

SPECIAL = [
    "<|start|>",
    "<|end|>",
    "<|channel|>",
    "<|message|>",
    "<|return|>",
    "[INST]",
    "[/INST]",
    "</s>",
    "<think>",
    "</think>",
]


def tokenizer_of(template, eos="<|im_end|>"):
    tokenizer = tiny_tokenizer(template)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    tokenizer.eos_token = eos
    return tokenizer
