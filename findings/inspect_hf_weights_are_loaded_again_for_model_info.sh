#!/usr/bin/env bash
# inspect_ai 0.3.285: `eval(..., model="hf/NAME")` loads the weights a second time at its first answer, if Inspect's list of
# models has no such name (a folder, say). The second copy is loaded with none of the `-M` options (another dtype, the default
# device), stays after the eval, and is used for nothing. Nothing is said of it.
#
# To show how full the context is, each answer of a sample has `get_model_info` look up the model's name. A name that is in no
# list is looked up by `get_model(name, api_key=...)`, which for `hf/` loads the weights; an error of that load, of memory too,
# is swallowed by its code. `hf/NAME -M model_path=FOLDER` has no second copy, but NAME is then asked of the hub.
#
# It does not happen once `set_model_info("hf/NAME", ModelInfo())` has been called in the process.
#
# The lookup's placeholder key no longer reaches the hub (issue 4600, pull request 4617); the lookup itself was left as it is.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 2>/dev/null
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    inspect_ai==0.3.285 transformers==5.23.0 accelerate==1.15.0 2>/dev/null
cd "$work"
HF_HUB_OFFLINE=1 "$work/venv/bin/python" -W ignore - <<'PY'
import gc

import inspect_ai
import transformers
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelInfo, set_model_info
from inspect_ai.solver import generate
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

transformers.logging.disable_progress_bar()
words = ["<end>", "user", "assistant", "hello", "yes"]
splitter = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<end>"))
splitter.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=splitter, eos_token="<end>", unk_token="<end>")
tokenizer.chat_template = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}assistant"
config = LlamaConfig(
    vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
)
for folder in ("alone", "told", "placed"):
    tokenizer.save_pretrained(folder)
    LlamaForCausalLM(config).save_pretrained(folder)

asked = []
load = AutoModelForCausalLM.from_pretrained


def load_and_note(name, **options):
    asked.append(name)
    return load(name, **options)


AutoModelForCausalLM.from_pretrained = load_and_note


def after_an_eval(model, **options):
    """Names that weights were asked for during the eval, and dtypes of the models that are there afterwards only."""
    asked.clear()
    before = {id(m) for m in gc.get_objects() if type(m) is LlamaForCausalLM}
    task = Task(dataset=[Sample(input="hello")], solver=generate())
    (log,) = eval(task, model=model, model_args=options, max_tokens=3, display="none", log_dir="logs")
    assert log.status == "success"
    gc.collect()
    live = [m for m in gc.get_objects() if type(m) is LlamaForCausalLM and id(m) not in before]
    return list(asked), sorted(str(m.dtype) for m in live)


print("inspect_ai", inspect_ai.__version__, " (names that weights were asked for, dtypes of the models that stay)")
alone = after_an_eval("hf/alone", dtype="bfloat16")
print("hf/alone -M dtype=bfloat16:                      ", *alone)
set_model_info("hf/told", ModelInfo())
told = after_an_eval("hf/told", dtype="bfloat16")
print("hf/told -M dtype=bfloat16, after set_model_info: ", *told)
placed = after_an_eval("hf/local", model_path="placed", dtype="bfloat16")
print("hf/local -M model_path=placed -M dtype=bfloat16: ", *placed)
assert alone == (["alone", "alone"], ["torch.bfloat16", "torch.float32"])
assert told == (["told"], ["torch.bfloat16"])
assert placed == (["placed", "local"], ["torch.bfloat16"])
PY
