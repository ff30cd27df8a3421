#!/usr/bin/env bash
# peft 0.21.2: a pass with `adapter_names` that raises leaves its hooks behind, and later passes use its adapters.
#
# A batch may mix adapters: `model(ids, adapter_names=[...])`. The names travel by forward hooks that are taken off after
# the pass, but not if the pass raises, as one that runs out of memory does. Whoever catches that and goes on, with smaller
# batches or another adapter set by `set_adapter`, gets the adapters of the broken pass, without a word.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 2>/dev/null
"$work/venv/bin/pip" install --quiet --disable-pip-version-check peft==0.21.2 transformers==5.23.0 2>/dev/null
"$work/venv/bin/python" -W ignore - <<'PY'
import peft
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
)
lora = {"r": 4, "target_modules": "all-linear"}
model = get_peft_model(LlamaForCausalLM(config), LoraConfig(**lora), adapter_name="a")
model.add_adapter("b", LoraConfig(**lora))
for name, weight in model.named_parameters():
    if "lora_B" in name:
        torch.nn.init.normal_(weight)
model.eval()
ids = torch.tensor([[3, 4, 5], [6, 7, 8]])


def no_memory(*_):
    raise torch.OutOfMemoryError("as on a device")


with torch.no_grad():
    model.set_adapter("b")
    before = model(ids).logits
    hook = model.base_model.model.model.layers[1].register_forward_pre_hook(no_memory)
    try:
        model(ids, adapter_names=["a", "a"])
    except torch.OutOfMemoryError:
        pass
    hook.remove()
    model.set_adapter("b")
    after = model(ids).logits
print("peft", peft.__version__)
print("adapter b answers the same after a mixed batch that ran out of memory:", torch.allclose(before, after))
assert not torch.allclose(before, after)
PY
