#!/usr/bin/env bash
# transformers 5.23.0: on a hybrid model's cache `batch_select_indices` moves the attention's keys, not the Mamba states.
#
# `DynamicCache.batch_select_indices` picks rows of a batch: to put prompts in another order, or to repeat them. On Falcon-H1,
# whose layers have both attention and Mamba, the rows' keys and values change places and their recurrent states stay, so each
# prompt goes on with the state of another, without a word. (Picking fewer rows raises instead.) `reorder_cache`, which looks
# like the same for beam search, moves both.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 2>/dev/null
"$work/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 2>/dev/null
"$work/venv/bin/python" -W ignore - <<'PY'
import torch
import transformers
from transformers import FalconH1Config, FalconH1ForCausalLM

transformers.logging.set_verbosity_error()
torch.manual_seed(0)
config = FalconH1Config(
    vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    head_dim=8, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8, mamba_n_groups=1,
)
model = FalconH1ForCausalLM(config).eval()
prompts, following = torch.randint(0, 50, (2, 9)), torch.tensor([[7], [7]])


@torch.no_grad()
def continued(rows, change=None):
    cache = model(rows, use_cache=True).past_key_values
    if change is not None:
        getattr(cache, change)(torch.tensor([1, 0]))
    return model(following, past_key_values=cache, attention_mask=torch.ones(2, 10)).logits[:, -1]


expected = continued(prompts.flip(0))
right = {name: torch.allclose(continued(prompts, name), expected, atol=1e-4) for name in ("reorder_cache", "batch_select_indices")}
print("transformers", transformers.__version__)
for name, same in right.items():
    print(f"two prompts exchanged by {name} go on as if they had been given in that order: {same}")
assert right == {"reorder_cache": True, "batch_select_indices": False}
PY
