"""What a capture costs beside the same model's bare forward pass: speed, memory, disk, a second run.

    python benchmarks/probes/capture.py [--data conversations.jsonl ...] [--rows 420]
        [--vocabularies 16000 128000 | --model FOLDER]

The model is a random Llama (hidden 256, 8 blocks), or one of yours. Capture reads a layer in the middle and
the last one, so that both run all blocks; its time is that of the whole command without loading: reading,
rendering, forward passes, writing. The bare pass goes over the same batches, without head and cache, before
and after it.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "2")

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
)

from probes.activations.capture_settings import CaptureSettings
from probes.activations.forward import LoadOptions, batches, load_model
from probes.activations.store import Store
from probes.capture import capture
from probes.conversations.conversation import Conversation
from probes.conversations.table_rows import messages_of
from probes.tokens.rendering import Renderer

HIDDEN, BLOCKS = 256, 8
BATCH_TOKENS = 8192
TURN = "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
TEMPLATE = "{% for m in messages %}" + TURN + "{% endfor %}"
ROOT = Path(__file__).resolve().parents[2]
OWN_MEMORY = "import resource; print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


class Taken(NamedTuple):
    """Seconds. On a machine that others use too, those of the processor say more."""

    clock: float
    processor: float


def now() -> Taken:
    """Both clocks."""
    return Taken(time.perf_counter(), time.process_time())


def since(started: Taken) -> Taken:
    """Seconds from then to now."""
    ended = now()
    return Taken(ended.clock - started.clock, ended.processor - started.processor)


def read_rows(files: list[Path], count: int, seed: int) -> list[dict[str, Any]]:
    """Conversations of the files, or made-up ones of 20 to 800 words."""
    rng = random.Random(seed)
    if not files:
        known = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(4000)]
        texts = [" ".join(rng.choices(known, k=int(20 * 40 ** rng.random()))) for _ in range(count)]
    else:
        texts = [json.loads(line)["inputs"] for file in files for line in file.open(encoding="utf-8")]
        rng.shuffle(texts)
    if len(texts) < count:
        raise SystemExit(f"{count} rows were asked for, the files have {len(texts)}")
    return [{"id": i, "messages": messages_of(text, f"row {i}")} for i, text in enumerate(texts[:count])]


def make_model(folder: Path, vocabulary: int, rows: list[dict[str, Any]]) -> Path:
    """A random model, and a tokenizer of at most 16,000 tokens trained on the rows."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    core.train_from_iterator(
        (m["content"] for row in rows for m in row["messages"]),
        trainers.BpeTrainer(
            vocab_size=min(vocabulary, 16000),
            special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<|pad|>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=HIDDEN, intermediate_size=4 * HIDDEN, num_hidden_layers=BLOCKS,
        num_attention_heads=8, num_key_value_heads=8, max_position_embeddings=4096, pad_token_id=0,
    )  # fmt: skip
    LlamaModel(config).save_pretrained(folder)
    return folder


def layers_of(model: Path) -> list[int]:
    """The middle one and the last."""
    blocks = AutoConfig.from_pretrained(model).num_hidden_layers
    return [blocks // 2, blocks]


def options(model: Path, data: Path, out: Path, **more: Any) -> CaptureSettings:
    """Of the capture that is measured."""
    given = {
        "model": str(model), "data": str(data), "out": out, "layers": layers_of(model), "dtype": "float16",
    }  # fmt: skip
    return CaptureSettings.model_validate(given | {"batch_tokens": BATCH_TOKENS, "shard_megabytes": 8} | more)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """As JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@torch.inference_mode()
def bare_seconds(model: Path, rows: list[dict[str, Any]]) -> tuple[Taken, int, float]:
    """Time of the bare forward pass, real tokens, and share of padding."""
    renderer = Renderer(AutoTokenizer.from_pretrained(model), max_tokens=4096)
    made = [renderer.render(Conversation(str(r["id"]), r["messages"])).token_ids for r in rows]
    parts = list(batches([len(ids) for ids in made], BATCH_TOKENS))
    inputs = []
    for part in parts:
        longest = max(len(made[i]) for i in part)
        ids = torch.zeros(len(part), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for place, i in enumerate(part):
            ids[place, : len(made[i])] = torch.from_numpy(made[i])
            mask[place, : len(made[i])] = 1
        inputs.append((ids, mask))
    bare = AutoModel.from_pretrained(model).eval()
    bare(input_ids=inputs[-1][0], attention_mask=inputs[-1][1], use_cache=False)
    started = now()
    for ids, mask in inputs:
        bare(input_ids=ids, attention_mask=mask, use_cache=False)
    tokens = sum(map(len, made))
    return since(started), tokens, 1 - tokens / sum(ids.numel() for ids, _ in inputs)


def capture_seconds(settings: CaptureSettings) -> tuple[Taken, int]:
    """Time of the whole command in this process, and rows that were computed."""
    started = now()
    done = capture(settings)
    return since(started), done.computed


def loading_seconds(model: Path) -> Taken:
    """Time that it takes to load the model."""
    started = now()
    load_model(str(model), LoadOptions())
    return since(started)


def peak_megabytes(settings: CaptureSettings) -> float:
    """Peak memory of the command in a process of its own."""
    code = (
        "import sys; from probes.capture import capture; "
        "from probes.activations.capture_settings import CaptureSettings; "
        f"capture(CaptureSettings.model_validate_json(sys.argv[1])); {OWN_MEMORY}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, settings.model_dump_json()],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(done.stdout.split("peak")[-1]) / 1024


def measure(folder: Path, model: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Print the figures for one model."""
    first = len(rows) * 20 // 21
    data = write_rows(folder / "rows.jsonl", rows[:first])
    store = folder / f"store-{name}"
    before, tokens, padding = bare_seconds(model, rows[:first])
    took, _ = capture_seconds(options(model, data, store))
    loading = loading_seconds(model)
    after = bare_seconds(model, rows[:first])[0]
    bare = [(one + other) / 2 for one, other in zip(before, after, strict=True)]
    own = [whole - part for whole, part in zip(took, loading, strict=True)]
    held = Store(store).entries()[0].contents()
    print(f"{name}: {first} conversations, {tokens} tokens, padding {padding:.1%}")
    for kind, alone, whole in zip(Taken._fields, bare, own, strict=True):
        print(f"  bare forward pass      {tokens / alone:8.0f} tokens/s   of the {kind}")
        print(
            f"  capture                {tokens / whole:8.0f} tokens/s   {alone / whole:.1%} (at least 90 %)"
        )
    exact = held.tokens * AutoConfig.from_pretrained(model).hidden_size * 2 * len(layers_of(model))
    share = held.bytes / exact
    print(f"  on disk                {held.bytes / 1e6:8.1f} MB          {share:.3f} x (at most 1.05)")
    write_rows(data, rows)
    second, computed = capture_seconds(options(model, data, store))
    told = f"{computed} new rows, {second.clock:.1f} of {took.clock:.1f} s"
    share = second.processor / took.processor
    print(f"  second run             {share:8.1%} of the processor's seconds; {told} (at most 10 %)")
    quarter = write_rows(folder / "quarter.jsonl", rows[: first // 4])
    some = peak_megabytes(options(model, quarter, folder / f"some-{name}"))
    many = peak_megabytes(options(model, write_rows(data, rows[:first]), folder / f"many-{name}"))
    print(f"  peak memory            {some:8.0f} MB at {first // 4} rows, {many:.0f} MB at {first}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, nargs="*", default=[], help="JSONL with inputs; made-up texts if not given"
    )
    parser.add_argument("--rows", type=int, default=420)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[16000, 128000])
    parser.add_argument("--model", type=Path, help="folder of a checkpoint, in place of random ones")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = read_rows(given.data, given.rows, given.seed)
    with tempfile.TemporaryDirectory() as folder:
        if given.model is not None:
            measure(Path(folder), given.model, given.model.name, rows)
            return
        for vocabulary in given.vocabularies:
            made = make_model(Path(folder) / f"model-{vocabulary}", vocabulary, rows)
            measure(Path(folder), made, f"vocabulary {vocabulary}", rows)


if __name__ == "__main__":
    main()
