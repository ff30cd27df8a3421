"""A small random model that speaks in single characters, and monitors fitted on what it reads."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from probes.activations.capture_spec import CaptureSpec
from probes.activations.forward import LayerReader, LoadOptions, TokenRow, load_model
from probes.activations.ragged import Ragged
from probes.activations.weights import adapter_digest, model_revision
from probes.conversations.conversation import Conversation
from probes.heads.table import make_head
from probes.monitors.monitor import Calibration, Monitor, MonitorCard, Sources, Threshold, parameters_of
from probes.tokens.rendering import Renderer
from probes.tokens.rules import TokenRule

LETTERS = " \nabcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,?!'"
CHATML = (
    "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' -}}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
SOURCES = Sources(names=["made up"], digest="0123456789abcdef", rows=2, positive=1, groups=2)


def spoken_model(
    folder: Path,
    *,
    seed: int = 0,
    template: str = CHATML,
    spoilt: str = "",
    letters: str = LETTERS,
    hidden: int = 32,
    blocks: int = 3,
) -> Path:
    """Save a random Llama, each text of which has one sequence of tokens; returns its folder.

    What it reads of the letters in `spoilt` is infinite.
    """
    vocabulary = {t: i for i, t in enumerate(["<|pad|>", "<|im_start|>", "<|im_end|>", *letters])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")  # pyright: ignore
    core.decoder = decoders.Fuse()  # pyright: ignore
    core.add_special_tokens(["<|pad|>", "<|im_start|>", "<|im_end|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<|pad|>", eos_token="<|im_end|>")
    tokenizer.chat_template = template
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=blocks,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            eos_token_id=2,
            pad_token_id=0,
            bos_token_id=None,
            initializer_range=0.15,
        )
    )
    with torch.no_grad():
        for letter in spoilt:
            model.model.embed_tokens.weight[vocabulary[letter]] = torch.inf
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def fitted_monitor(
    model: Path,
    folder: Path,
    name: str = "mean",
    *,
    layers: tuple[int, ...] = (2,),
    point: str = "residual",
    tokens: str = "all",
    adapter: Path | None = None,
    max_tokens: int | None = None,
    threshold: float | None = 0.0,
    any_adapter: bool = False,
    calibration: Calibration | None = None,
) -> Path:
    """Fit a monitor that tells cheerful conversations from grim ones, and save it."""
    renderer = Renderer(AutoTokenizer.from_pretrained(model), max_tokens=max_tokens)
    talks = [
        [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        for asked, answered in [
            ("Hello!", "How nice, hello!"),
            ("Bad day.", "Oh no."),
            ("Hi!", "Ha, hi!"),
            ("No.", "Sad."),
        ]
    ]
    rows = []
    for talk in talks:
        row = renderer.render(Conversation("", talk))
        rows.append(
            TokenRow(row.token_ids, TokenRule.parse(tokens).select(row.message, ["user", "assistant"]))
        )
    reader = LayerReader(load_model(str(model), LoadOptions(adapter=adapter)), layers, point, torch.float32)
    read = [torch.cat([found[n] for n in layers], dim=-1) for found in reader.read(rows)]
    head = make_head(name)
    if "steps" in head.get_params():
        head.set_params(steps=20)
    head.fit(Ragged.from_rows(read), np.array([1.0, 0.0, 1.0, 0.0]))
    spec = CaptureSpec(
        model=str(model),
        revision=model_revision(str(model), None),
        adapter=None if adapter is None else adapter_digest(adapter),
        template=renderer.identity,
        point=point,
        dtype="float32",
        tokens=tokens,
        max_tokens=max_tokens,
        truncation="left",
    )
    card = MonitorCard(
        detects="good cheer",
        head=name,
        parameters=parameters_of(head),
        layers=list(layers),
        hidden=head.n_features_in_,
        spec=spec,
        any_adapter=any_adapter,
        calibration=calibration,
        training=SOURCES,
        threshold=None
        if threshold is None
        else Threshold(logit=threshold, asked_fpr=0.01, fpr=0, recall=1, n_negative=2, n_positive=2),
    )
    return Monitor(head, card).save(folder)
