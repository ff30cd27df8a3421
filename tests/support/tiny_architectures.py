"""Random models of many kinds: their activations without padding and batches, and some that speak."""

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
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


SMALL: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": None,
    "eos_token_id": 2, "tie_word_embeddings": False,
}  # fmt: skip
EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
STATE_SPACE: dict[str, Any] = {
    "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8,
}  # fmt: skip
DELTA_RULE: dict[str, Any] = {
    "head_dim": 8, "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"] * 2,
}  # fmt: skip
WINDOWS: dict[str, Any] = {
    "head_dim": 8,
    "sliding_window": 6,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}

SPEAKERS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3.5": (
        "qwen3_5_text",
        {
            **DELTA_RULE,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [1, 1, 0],
                "partial_rotary_factor": 0.5,
            },
        },
    ),
    "qwen3-next": ("qwen3_next", {**DELTA_RULE, **EXPERTS, "shared_expert_intermediate_size": 16}),
    "olmo-hybrid": ("olmo_hybrid", DELTA_RULE),
    "lfm2": (
        "lfm2",
        {"layer_types": ["conv", "full_attention", "conv", "conv"], "conv_L_cache": 3, "block_multiple_of": 8},
    ),
    "mamba": ("mamba", {"state_size": 8, "time_step_rank": 4}),
    "mamba2": ("mamba2", {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 2, "chunk_size": 8}),
    "granite": (
        "granitemoehybrid",
        {
            **STATE_SPACE,
            "layers_block_type": ["mamba", "attention"] * 2,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 32,
        },
    ),
    "bamba": ("bamba", {**STATE_SPACE, "attn_layer_indices": [1]}),
    "jamba": (
        "jamba",
        {
            "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "num_experts": 4,
            "num_experts_per_tok": 2, "mamba_d_state": 8, "mamba_dt_rank": 4,
        },
    ),
    "falcon-h1": ("falcon_h1", {**STATE_SPACE, "mamba_d_ssm": 64, "head_dim": 8}),
    "nemotron-h": (
        "nemotron_h",
        {
            "mamba_num_heads": 8, "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 1, "chunk_size": 8,
            "layers_block_type": ["mamba", "attention", "mlp", "mamba"], "head_dim": 8,
        },
    ),
    "gemma3": ("gemma3_text", WINDOWS),
    "gpt-oss": ("gpt_oss", {**WINDOWS, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "mistral": ("mistral", {"sliding_window": 6, "head_dim": 8}),
    "llama4": (
        "llama4_text",
        {
            "head_dim": 8, "attention_chunk_size": 8, "num_local_experts": 2, "intermediate_size_mlp": 32,
            "layer_types": ["chunked_attention", "full_attention"] * 2, "no_rope_layers": [1, 0, 1, 0],
        },
    ),
    "phi3": (
        "phi3",
        {
            "original_max_position_embeddings": 40,
            "rope_parameters": {
                "rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 40,
                "short_factor": [1.0, 1.5, 2.0, 2.5], "long_factor": [4.0, 6.0, 8.0, 12.0],
            },
        },
    ),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 256}),
    "rwkv": ("rwkv", {"attention_hidden_size": 32, "context_length": 256}),
    "minimax": (
        "minimax",
        {"layer_types": ["linear_attention", "full_attention"] * 2, "block_size": 8, "num_local_experts": 4},
    ),
    "recurrent-gemma": (
        "recurrent_gemma",
        {
            "lru_width": 32, "attention_window_size": 16, "head_dim": 8,
            "block_types": ["recurrent", "recurrent", "attention"],
        },
    ),
}  # fmt: skip
"""Causal language models by family: name of the configuration in transformers, and what makes it tiny."""


def speaker(family: str, vocabulary: int, seed: int = 0) -> Any:
    """A random causal language model, whose every next token depends on much of what came before."""
    kind, sizes = SPEAKERS[family]
    torch.manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(kind, **{**SMALL, "vocab_size": vocabulary, **sizes})
    )
    roughen(model, seed)
    return model.eval()


TEXT: dict[str, Any] = {**SMALL, "num_hidden_layers": 2, "head_dim": 8}
IMAGES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip

SEEING: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "gemma3": (
        {**TEXT, "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]},
        IMAGES,
        {"mm_tokens_per_image": 4, "image_token_index": 9, "boi_token_index": 10, "eoi_token_index": 11},
    ),
    "mistral3": (
        {**TEXT, "model_type": "mistral"},
        {**IMAGES, "model_type": "pixtral", "head_dim": 8},
        {"image_token_index": 9},
    ),
    "llava": (
        {**TEXT, "model_type": "llama"},
        {**IMAGES, "model_type": "clip_vision_model"},
        {"image_token_index": 9},
    ),
    "qwen3_vl": (
        {
            **TEXT,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]},
        },
        {
            "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 32,
            "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 16,
        },
        {},
    ),
}  # fmt: skip
"""Models of images and text: configuration of the language model, of the tower, and of the whole."""


def seeing_speaker(family: str, vocabulary: int, seed: int = 0) -> Any:
    """A random model of images and text, which is only spoken to here."""
    text, images, whole = SEEING[family]
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        family,
        text_config={**text, "vocab_size": vocabulary},
        vision_config=images,
        tie_word_embeddings=False,
        **whole,
    )
    model: Any = AutoModelForImageTextToText.from_config(config)
    roughen(model, seed)
    model.generation_config.eos_token_id = SMALL["eos_token_id"]
    return model.eval()


@torch.no_grad()
def roughen(model: Any, seed: int = 0) -> None:
    """Random weights far from where training starts, but for those that set how fast a state forgets."""
    noise = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.dim() >= 2 and not name.endswith("A_log"):
            weight.copy_(torch.randn(weight.shape, generator=noise) * 0.2)
