"""A random model of each kind, and its activations without padding and batches."""

import torch
from transformers import (
    AutoModel,
    BertConfig,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    Qwen3Config,
)

SIZES = {
    "vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None,
    "initializer_range": 0.3,
}  # fmt: skip
ARCHITECTURES = {
    "llama": LlamaConfig(**SIZES, num_key_value_heads=2),
    "mistral": MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=4),
    "qwen3": Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8),
    "gemma2": Gemma2Config(**SIZES, num_key_value_heads=2, head_dim=8, sliding_window=4),
    "gpt2": GPT2Config(
        vocab_size=400, n_embd=32, n_layer=3, n_head=4, n_positions=128, bos_token_id=None, eos_token_id=None
    ),
    "bert": BertConfig(**SIZES),
    "modernbert": ModernBertConfig(
        **SIZES | {"cls_token_id": None, "sep_token_id": None},
        local_attention=8,
        global_attn_every_n_layers=2,
    ),
}


def fresh(name):
    torch.manual_seed(1)
    return AutoModel.from_config(ARCHITECTURES[name]).eval()


@torch.no_grad()
def alone(model, row):
    """The stream of one row without padding, embeddings first, from the library's own outputs."""
    ids = torch.from_numpy(row.token_ids)[None].long()
    return [h[0] for h in model(input_ids=ids, output_hidden_states=True).hidden_states]
