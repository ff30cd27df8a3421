#!/usr/bin/env bash
# trl 1.16.0 with transformers 5.23.0: `parse_response(tokenizer, ids)`, called as its docstring shows, gives a tool call back as words.
#
# `add_response_schema` sets a `response_template` where transformers has one (>= 5.13), and that parser wants the prompt's ids
# too (`prefix=`), to know whether the prompt has opened a thought. Without them it raises a ValueError, which TRL takes for a
# malformed call: it falls back to the decoded text, with tags and thoughts in it and no `tool_calls`, without a warning. With
# `prefix=` the same ids are read rightly. Whoever follows the docstring's example takes every call for something the model said.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 2>/dev/null
"$work/venv/bin/pip" install --quiet --disable-pip-version-check trl==1.16.0 transformers==5.23.0 2>/dev/null
"$work/venv/bin/python" -W ignore - <<'PY'
from pathlib import Path

import transformers
import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from trl.chat_template_utils import add_response_schema, parse_response

# Qwen 3's chat template, as TRL brings it, over a vocabulary of bytes.
vocabulary = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=backend, eos_token="<|im_end|>", additional_special_tokens=["<|im_start|>"]
)
tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text()
tokenizer = add_response_schema(tokenizer)

prompt = tokenizer.apply_chat_template([{"role": "user", "content": "3 x 4?"}], tokenize=False, add_generation_prompt=True)
reply = '<tool_call>\n{"name": "multiply", "arguments": {"a": 3, "b": 4}}\n</tool_call><|im_end|>'
ids, prefix = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (reply, prompt))
alone, after_prompt = parse_response(tokenizer, ids), parse_response(tokenizer, ids, prefix=prefix)
try:
    reason = str(tokenizer.parse_response(ids))
except ValueError as error:
    reason = str(error)

print("trl", trl.__version__, "transformers", transformers.__version__)
print("parse_response(tokenizer, ids):                ", alone)
print("parse_response(tokenizer, ids, prefix=prompt): ", after_prompt)
print("what transformers says without the prompt:     ", reason[:100])
assert "tool_calls" not in alone and "<tool_call>" in alone["content"]
assert after_prompt["tool_calls"][0]["function"] == {"name": "multiply", "arguments": {"a": 3, "b": 4}}
PY
