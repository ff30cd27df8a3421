"""A fine-tuned baseline: fitted, saved with all that tells what it is, loaded, and asked about other rows."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError
from safetensors.torch import save_file
from transformers import AutoConfig, AutoTokenizer

from analysis.compute import ModelSize, pass_flops
from probes.activations.weights import WeightsError, model_revision
from probes.conversations.labels import DataError
from probes.finetuned.networks import (
    BLOCK_WEIGHTS,
    LastBlock,
    block_alone,
    classifier,
    last_block,
    load_trained,
    states_before_last,
)
from probes.finetuned.rows import (
    TokenizedSet,
    check_classes,
    drawn_pairs,
    read_part,
    tokenized,
    training_rows,
)
from probes.finetuned.settings import FitSettings
from probes.finetuned.training import (
    Fitted,
    device_called,
    logits_of,
    padding_token,
    seeded,
    train,
    trainer_folder,
)
from probes.tokens.rendering import Renderer, read_template
from providers.causal_models import model_size
from providers.chat.choice import generation_ends
from scenarios.files.whole import write_json
from scenarios.schema import Frozen

CARD = "baseline.json"
TRIED = 2
"""Rows by which it is seen whether the last block can be run alone."""


class BaselineCard(Frozen):
    """Everything about a baseline but its weights."""

    settings: FitSettings
    revision: str | None
    """Commit, or digest of the files, of the model that it was made of."""

    template: str
    """Of the rendering, see `Renderer.identity`."""

    pad: int
    blocks: int
    """Of the whole model."""

    alone: bool
    """The states before the last block were computed once, and the last block trained on them alone."""

    trained_weights: int
    size: dict[str, int]
    """As `analysis.compute.ModelSize`: of what is run for a conversation, beyond the monitored model."""

    training: dict[str, float]
    """Rows, tokens, lengths and what was cut of the training rows; loss (nats), steps, seconds of the fit."""

    excluded: dict[str, int]
    """Reason -> training rows that were left out."""

    known_conversations: list[str]
    """Digests of the conversations that it was trained on."""

    known_pairs: list[str]
    """Digests of file and pair, of the same."""


class Baseline(NamedTuple):
    """Ready to score rows."""

    card: BaselineCard
    network: Any
    renderer: Renderer


class Scores(NamedTuple):
    """What a baseline makes of a data set."""

    data: TokenizedSet
    logits: np.ndarray
    """[rows], float64."""

    flops: np.ndarray
    """[rows], of what is run beyond the monitored model."""

    seconds: float
    """For each conversation, in the mean; of `last-block` the whole model's pass, too."""


def fit_baseline(settings: FitSettings, *, progress: bool = False) -> Baseline:
    """Fit on the training rows, and save to `settings.out`.

    Raises:
        DataError: Rows that cannot be read, of one class only, or nothing left of them.
        WeightsError: A model that cannot be used so.
    """
    renderer, revision = _renderer(settings)
    rows = drawn_pairs(training_rows(settings.data), settings.most_rows, settings.seed)
    data = tokenized("training rows", rows, renderer)
    check_classes(data, "a baseline is fitted on both")
    seeded(settings.seed)
    own: Any = renderer.tokenizer.pad_token_id
    pad = padding_token(data.token_ids, own, len(renderer.tokenizer))
    device = device_called(settings.device)
    inputs: Sequence[Any] = data.token_ids
    alone = False
    blocks = (
        AutoConfig.from_pretrained(settings.model, revision=settings.revision)
        .get_text_config()
        .num_hidden_layers
    )
    if settings.kind == "last-block":
        network: Any = last_block(settings).to(device)
        # what the block is given never changes: it is computed once
        states = states_before_last(network, data.token_ids, device, autocast=settings.autocast)
        alone = block_alone(network, _shortest(data.token_ids), device)
        inputs = states if alone else data.token_ids
        size = _size_of_block(network)
    else:
        network = classifier(settings, pad)
        size = model_size(network) | {"head": network.config.get_text_config().hidden_size}
    try:
        fitted = train(network, inputs, data.labels, settings, pad, progress=progress)
    finally:
        shutil.rmtree(trainer_folder(settings.out), ignore_errors=True)
    card = BaselineCard(
        settings=settings,
        revision=revision,
        template=renderer.identity,
        pad=pad,
        blocks=blocks,
        alone=alone,
        trained_weights=sum(w.numel() for w in network.parameters() if w.requires_grad),
        size=size,
        training=data.lengths() | _figures_of_fit(fitted),
        excluded=data.excluded,
        known_conversations=sorted({row.digest for row in data.rows}),
        known_pairs=_known_pairs(settings.data, data),
    )
    _save(network, card, settings.out)
    # read again: what is scored is what was saved
    return load_baseline(settings.out)


def load_baseline(folder: Path, model: str | None = None) -> Baseline:
    """A baseline from the folder that it was saved to.

    Args:
        folder: Of the baseline.
        model: Where its model lies now; as it was fitted if not given.

    Raises:
        DataError: No baseline there, or one that cannot be read.
        WeightsError: The model is another one, or is not there.
    """
    path = folder / CARD
    if not path.is_file():
        raise DataError(f"{folder}: no {CARD}; name a folder that `baselines.py fit` wrote")
    try:
        card = BaselineCard.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    settings = card.settings.model_copy(update={"model": model} if model else {})
    renderer, revision = _renderer(settings)
    if revision != card.revision or renderer.identity != card.template:
        raise WeightsError(
            f"{folder} was fitted on {card.settings.model} ({card.revision}, template {card.template}), "
            f"{settings.model} is {revision}, template {renderer.identity}; name the model with --model"
        )
    network = load_trained(card.settings.kind, folder, settings, card.pad).to(device_called(settings.device))
    return Baseline(card, network, renderer)


def score_part(baseline: Baseline, given: str, split: str | None, batch_tokens: int) -> Scores:
    """What a baseline makes of the rows of `FILE` or `FILE:split=test` that it was not trained on.

    Raises:
        DataError: As `read_part`, or nothing is left.
    """
    card = baseline.card
    name, rows = read_part(given, split)
    known = set(card.known_pairs)
    place = given.partition(":split=")[0]
    data = tokenized(
        name,
        rows,
        baseline.renderer,
        known_digests=set(card.known_conversations),
        known_pairs={row.pair for row in rows if _pair_digest(place, row.pair) in known},
    )
    network, vocabulary = baseline.network, len(baseline.renderer.tokenizer)
    pad = padding_token(data.token_ids, card.pad, vocabulary)
    if pad != card.pad:
        network.config.pad_token_id = network.config.get_text_config().pad_token_id = pad
    logits, seconds = logits_of(
        network, data, data.token_ids, pad, batch_tokens, autocast=card.settings.autocast
    )
    size = ModelSize(**card.size)
    flops = np.array([pass_flops(size, len(ids), wanted=1) for ids in data.token_ids])
    return Scores(data, logits, flops, seconds / len(data.rows))


def _renderer(settings: FitSettings) -> tuple[Renderer, str | None]:
    try:
        config = AutoConfig.from_pretrained(settings.model, revision=settings.revision)
        tokenizer = AutoTokenizer.from_pretrained(settings.model, revision=settings.revision)
    except (OSError, ValueError) as error:
        raise WeightsError(f"--model {settings.model}: {str(error).splitlines()[0]}") from error
    takes = getattr(config.get_text_config(), "max_position_embeddings", None)
    if settings.max_tokens is not None and takes is not None and settings.max_tokens > takes:
        raise WeightsError(f"--max-tokens {settings.max_tokens}: {settings.model} takes {takes} at most")
    limits = [n for n in (takes, tokenizer.model_max_length) if n is not None and n < 10**9]
    ends = generation_ends(settings.model, settings.revision, tokenizer)
    renderer = Renderer(
        tokenizer,
        template=read_template(settings.template),
        source=settings.model,
        ends=[str(token) for token in tokenizer.convert_ids_to_tokens(ends)],
        max_tokens=settings.max_tokens or min(limits, default=None),
        truncation=settings.truncation,
    )
    return renderer, model_revision(settings.model, getattr(config, "_commit_hash", None))


def _size_of_block(network: LastBlock) -> dict[str, int]:
    """Of what is trained: the monitored model, which runs anyway, is not counted."""
    config = network.model.config.get_text_config()
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    head = sum(weight.numel() for weight in network.head.parameters())
    body = sum(weight.numel() for weight in network.trained().values()) - head
    return {"body": body, "head": head, "layers": 1, "width": width}


def _shortest(rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    return sorted(rows, key=len)[:TRIED]


def _figures_of_fit(fitted: Fitted) -> dict[str, float]:
    return {"loss": fitted.loss, "steps": fitted.steps, "seconds": fitted.seconds}


def _known_pairs(files: Sequence[str], data: TokenizedSet) -> list[str]:
    """Pairs are called alike in different files: each is known by its file, too."""
    if len(files) == 1:
        return sorted({_pair_digest(files[0].partition(":split=")[0], pair) for pair in data.pairs})
    digests: set[str] = set()
    for pair in data.pairs:
        number, _, own = pair.partition(":")
        digests.add(_pair_digest(files[int(number)].partition(":split=")[0], own))
    return sorted(digests)


def _pair_digest(file: str, pair: str) -> str:
    return hashlib.sha256(f"{Path(file).resolve()}\0{pair}".encode()).hexdigest()[:16]


def _save(network: Any, card: BaselineCard, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if isinstance(network, LastBlock):
        weights = {name: weight.detach().cpu().contiguous() for name, weight in network.trained().items()}
        if card.alone:
            last = card.blocks - 1
            weights = {_in_the_whole(name, last): weight for name, weight in weights.items()}
        save_file(weights, out / BLOCK_WEIGHTS)
    else:
        network.save_pretrained(out, safe_serialization=True)
    write_json(out / CARD, card.model_dump(mode="json"))


def _in_the_whole(name: str, last: int) -> str:
    """The name that a weight of the last block has where the others are there."""
    parts = name.split(".")
    place = next((n for n, part in enumerate(parts) if part == "0"), None)
    return name if place is None else ".".join([*parts[:place], str(last), *parts[place + 1 :]])
