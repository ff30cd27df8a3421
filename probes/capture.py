"""Runs conversations through a model and stores the activations of some layers.

    python probes/capture.py --model Qwen/Qwen3-4B --data data.jsonl --layers 12,18 --out activations
    python probes/capture.py --model Qwen/Qwen3-4B --adapter run/iteration_03/checkpoint --data logs/run \
        --label-score influence --tokens assistant --layers 12,18 --out activations
    torchrun --nproc_per_node 2 probes/capture.py ...        # or accelerate launch: rows are shared out

Data are a .jsonl or .csv file, an .eval log, a folder of logs, or a data set of the hub. The same command
again computes what is missing: after a crash, with more rows, with more layers.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import hashlib
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis.logs.finding import unfinished_note
from probes.activations.capture_settings import CaptureSettings
from probes.activations.capture_spec import CaptureSpec
from probes.activations.store import (
    CapturedRow,
    DatasetCard,
    DatasetRow,
    Store,
    StoredSpec,
    StoreError,
    save_dataset,
)
from probes.activations.weights import WeightsError, adapter_digest, model_revision
from probes.conversations.eval_logs import model_of
from probes.conversations.labels import DataError
from probes.conversations.sources import logs_of, read_conversations
from probes.tokens.rendering import Renderer, read_template
from probes.tokens.rules import TokenRule
from providers.chat.errors import ChatTemplateError
from scenarios.commands.command_line import read_settings
from scenarios.commands.exits import exit_status

SHARD_SECONDS = 60.0
"""After this time a shard is written, however small it is."""

UNRENDERED = "the chat template cannot render it"
NO_TOKENS = "no token is kept"


class Captured(NamedTuple):
    """What a capture did."""

    rows: int
    """Conversations of the data set."""

    computed: int
    """Rows that went through the model, over all processes; conversations of the same tokens share one."""

    tokens: int
    """That were computed, over all processes."""

    left_out: dict[str, int]
    """Reason -> conversations."""

    truncated: int
    """Conversations that were cut."""

    cut: int
    """Tokens that they lost."""

    cut_at_end: int
    """Of these conversations, how many lost their end; the others lost their beginning."""

    key: str
    """Of the entry in the store."""


class _Held(NamedTuple):
    """A conversation ready for the model."""

    token_ids: np.ndarray
    kept: np.ndarray
    message: np.ndarray
    role: np.ndarray
    told: DatasetRow
    cut_at_end: bool


def capture(settings: CaptureSettings, *, progress: bool = False) -> Captured:
    """Compute and store what is missing, then write the data set.

    Every process of a torchrun does its share; the first writes the data set when all are done.

    Raises:
        DataError: Something wrong with the data, or nothing left of it.
        ChatTemplateError, WeightsError: Something wrong with the template, the model or the adapter.
        StoreError: The store cannot be written.
        ValueError: A token rule that is none.
    """
    rule = TokenRule.parse(settings.tokens)
    _check_logs(settings)
    renderer, spec = _prepare(settings, rule)
    left_out: Counter[str] = Counter()
    team = _Team()
    progress = progress and team.first
    rows = _held(settings, renderer, rule, left_out, team, progress=progress)
    if not rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "it is empty"
        raise DataError(f"{settings.data}: nothing left to capture: {reasons}")
    entry = Store(settings.out).entry(spec)
    unique = {row.told.key: row for row in rows}
    missing = team.agreed(entry.missing(list(unique), settings.layers))
    todo = [unique[key] for key in missing]
    if progress:
        print(
            f"{len(rows)} conversations, {len(unique) - len(todo)} of {len(unique)} rows are stored already"
        )
    with entry.in_use():
        if todo:
            _compute(settings, entry, todo, team, progress=progress)
        team.wait()
        if team.first:
            card = DatasetCard(spec=spec.key, source=settings.data, excluded=dict(sorted(left_out.items())))
            save_dataset(settings.out, settings.dataset_name, [row.told for row in rows], card)
        team.wait()
    cut = [row.told.truncated for row in rows if row.told.truncated]
    at_end = sum(row.cut_at_end for row in rows if row.told.truncated)
    tokens = sum(len(row.token_ids) for row in todo)
    return Captured(len(rows), len(todo), tokens, dict(left_out), len(cut), sum(cut), at_end, spec.key)


class _Team:
    """The processes that share the rows: one, unless torchrun or accelerate started several."""

    def __init__(self) -> None:
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.first = self.rank == 0
        self._state: Any = None
        if self.size > 1:
            import torch
            from accelerate import PartialState

            self._state = PartialState(cpu=not torch.cuda.is_available())

    def wait(self) -> None:
        """Until all are here."""
        if self._state is not None:
            self._state.wait_for_everyone()

    def agreed(self, keys: list[str]) -> list[str]:
        """The first one's list, for another process may store rows while this one looks."""
        if self._state is None:
            return keys
        from accelerate.utils import broadcast_object_list

        told = [keys]
        broadcast_object_list(told)
        return told[0]


def _prepare(settings: CaptureSettings, rule: TokenRule) -> tuple[Renderer, CaptureSpec]:
    """Everything that can be checked without the weights."""
    from transformers import AutoConfig, AutoTokenizer

    from probes.activations.forward import check_layers
    from providers.chat.choice import TemplateChoice, generation_ends, variables_of

    try:
        config = AutoConfig.from_pretrained(settings.model, revision=settings.revision)
        tokenizer = AutoTokenizer.from_pretrained(settings.model, revision=settings.revision)
    except (OSError, ValueError) as error:
        raise WeightsError(f"--model {settings.model}: {error}") from error
    language = config.get_text_config()
    check_layers(settings.layers, language.num_hidden_layers, settings.point)
    takes = getattr(language, "max_position_embeddings", None)
    if settings.max_tokens is not None and takes is not None and settings.max_tokens > takes:
        raise WeightsError(f"--max-tokens {settings.max_tokens}: {settings.model} takes {takes} at most")
    limits = [n for n in (takes, tokenizer.model_max_length) if n is not None and n < 10**9]
    max_tokens = settings.max_tokens or min(limits, default=None)
    ends = generation_ends(settings.model, settings.revision, tokenizer)
    renderer = Renderer(
        tokenizer,
        ends=[str(token) for token in tokenizer.convert_ids_to_tokens(ends)],
        template=read_template(settings.template),
        options=variables_of(
            tokenizer,
            TemplateChoice(thinking=settings.thinking, template_options=settings.template_options),
            settings.model,
        ),
        source=settings.model,
        max_tokens=max_tokens,
        truncation=settings.truncation,
    )
    spec = CaptureSpec(
        model=settings.model,
        revision=model_revision(settings.model, getattr(config, "_commit_hash", None)),
        adapter=None if settings.adapter is None else adapter_digest(settings.adapter),
        template=renderer.identity,
        point=settings.point,
        dtype=settings.dtype,
        tokens=str(rule),
        max_tokens=max_tokens,
        truncation=settings.truncation,
    )
    return renderer, spec


def _check_logs(settings: CaptureSettings) -> None:
    """Refuse logs in which another model spoke than the one that is read; tell unfinished ones."""
    for log in logs_of(settings.data):
        if note := unfinished_note(log):
            print(note, file=sys.stderr)
        if settings.any_model:
            continue
        model, adapter = model_of(log)
        ours = None if settings.adapter is None else str(settings.adapter)
        if not (_same_place(model, settings.model) and _same_place(adapter, ours)):
            told = settings.model + (f" with adapter {ours}" if ours else "")
            raise DataError(
                f"{log.path}: a log of {log.model}, not of {told}. Say --any-model true to take "
                "the activations of a model that reads what another one said"
            )


def _same_place(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one is other
    return one == other or Path(one).resolve() == Path(other).resolve()


def _held(
    settings: CaptureSettings,
    renderer: Renderer,
    rule: TokenRule,
    left_out: Counter[str],
    team: _Team,
    *,
    progress: bool,
) -> list[_Held]:
    """All conversations that are captured, as tokens: some ten bytes for each."""
    from tqdm import tqdm

    read = read_conversations(settings.data, settings, left_out)
    rows: list[_Held] = []
    for conversation in tqdm(
        read, "reading", unit=" conversations", disable=None if progress else True, leave=False
    ):
        try:
            rendered = renderer.render(conversation)
        except ChatTemplateError as error:
            if UNRENDERED not in left_out and team.first:
                print(f"{conversation.id}: left out, as all like it: {error}", file=sys.stderr)
            left_out[UNRENDERED] += 1
            continue
        kept = rule.select(rendered.message, [m["role"] for m in conversation.messages])
        if not len(kept):
            left_out[NO_TOKENS] += 1
            continue
        message, role = rendered.message[kept], rendered.role[kept]
        told = DatasetRow(
            id=conversation.id,
            key=_row_key(rendered.token_ids, kept.astype(np.int64), message, role),
            label=conversation.label,
            group=conversation.group,
            facts=conversation.facts,
            n_tokens=len(kept),
            truncated=rendered.cut,
        )
        rows.append(_Held(rendered.token_ids, kept, message, role, told, rendered.cut_at_end))
    return rows


def _row_key(*arrays: np.ndarray) -> str:
    """32 hex digits over what goes through the model, what is kept of it, and whose it is."""
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(f"{array.dtype} {len(array)}\n".encode())
        whole.update(array.tobytes())
    return whole.hexdigest()[:32]


def _compute(
    settings: CaptureSettings, entry: StoredSpec, rows: Sequence[_Held], team: _Team, *, progress: bool
) -> None:
    """This process's share of the rows."""
    from tqdm import tqdm

    from probes.activations.forward import ActivationError, TokenRow, batches

    reader = _reader(settings, team)
    mine = list(batches([len(row.token_ids) for row in rows], settings.batch_tokens))[team.rank :: team.size]
    unwritten: list[CapturedRow] = []
    held, since = 0, time.monotonic()
    total = sum(len(rows[i].token_ids) for batch in mine for i in batch)
    with tqdm(total=total, desc="computing", unit=" tokens", disable=not progress) as bar:
        for batch in mine:
            try:
                read = reader.read([TokenRow(rows[i].token_ids, rows[i].kept) for i in batch])
            except ActivationError as error:
                raise WeightsError(f"{rows[batch[error.row]].told.id}: {error}") from error
            for i, layers in zip(batch, read, strict=True):
                row = rows[i]
                ids = row.token_ids[row.kept]
                unwritten.append(CapturedRow(row.told.key, ids, row.message, row.role, layers))
                held += sum(values.nbytes for values in layers.values())
            if held >= settings.shard_megabytes * 1e6 or time.monotonic() - since >= SHARD_SECONDS:
                entry.write(unwritten)
                unwritten, held, since = [], 0, time.monotonic()
            bar.update(sum(len(rows[i].token_ids) for i in batch))
    entry.write(unwritten)


def _reader(settings: CaptureSettings, team: _Team) -> Any:
    import torch

    from probes.activations.forward import LayerReader, LoadOptions, load_model

    gpu = torch.cuda.is_available()
    computed = settings.compute_dtype or ("bfloat16" if gpu else "float32")
    device_map: str | dict[str, Any] | None = settings.device_map
    if device_map is None and gpu:
        device_map = {"": int(os.environ.get("LOCAL_RANK", "0"))} if team.size > 1 else "auto"
    options = LoadOptions(
        settings.revision,
        settings.adapter,
        getattr(torch, computed),
        device_map,
        settings.attn_implementation,
    )
    model = load_model(settings.model, options)
    return LayerReader(model, settings.layers, settings.point, getattr(torch, settings.dtype))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(
        lambda: _capture(read_settings(CaptureSettings, arguments, __doc__ or "")),
        kept="rows that are stored are kept; the same command goes on from there",
        mistakes=(StoreError, ValueError),
    )


def _capture(settings: CaptureSettings) -> int:
    done = capture(settings, progress=True)
    if os.environ.get("RANK", "0") == "0":
        _report(settings, done)
    return 0


def _report(settings: CaptureSettings, done: Captured) -> None:
    print(f"data set {settings.dataset_name}: {done.rows} conversations in {settings.out / done.key}")
    print(f"computed: {done.computed} rows, {done.tokens} tokens")
    if done.truncated:
        sides = (done.cut_at_end, "the end"), (done.truncated - done.cut_at_end, "the beginning")
        where = " and ".join(f"{end} of {count}" for count, end in sides if count)
        print(f"truncated: {done.truncated} conversations, by {done.cut} tokens: {where}")
    for reason, count in sorted(done.left_out.items()):
        print(f"left out: {count} ({reason})")


if __name__ == "__main__":
    sys.exit(main())
