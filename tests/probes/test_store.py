"""The activation store: shards, entries, data sets on top of them, and the command."""

import json
import resource
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from probes.activations.mapped import SideBySide
from probes.activations.store import (
    DatasetCard,
    DatasetRow,
    Store,
    StoredSpec,
    StoreError,
    open_dataset,
    save_dataset,
)
from probes.store import main
from tests.support.places import ROOT
from tests.support.stored_rows import SPEC, in_another_process, row, shard_files, spec


@pytest.fixture
def entry(tmp_path) -> StoredSpec:
    return Store(tmp_path / "store").entry(SPEC)


# ---------------------------------------------------------------- specs


def test_key_depends_on_every_field_but_the_name_of_a_known_revision():
    changes = {
        "revision": "beef",
        "adapter": "abc",
        "template": "plain:2",
        "point": "normed",
        "dtype": "float32",
        "tokens": "assistant",
        "max_tokens": 5,
        "truncation": "right",
    }
    keys = {spec(**{name: value}).key for name, value in changes.items()} | {SPEC.key}
    assert len(keys) == len(changes) + 1
    assert all(len(key) == 16 for key in keys)
    assert spec(model="/elsewhere").key == SPEC.key
    assert not spec(model="/elsewhere").differences(SPEC)
    assert spec(revision=None).key != spec(revision=None, model="/elsewhere").key
    assert spec(point="normed").differences(SPEC) == {"point": ("normed", "residual")}


def test_a_folder_of_another_spec_is_refused(tmp_path):
    entry = Store(tmp_path).entry(SPEC)
    (entry.folder / "spec.json").write_text(spec(point="normed").model_dump_json())
    with pytest.raises(StoreError, match="is not of this folder"):
        Store(tmp_path).entry(SPEC)


# ---------------------------------------------------------------- round trips

lengths = st.lists(st.integers(1, 9), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(
    lengths=lengths,
    dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
    layers=st.lists(st.integers(0, 80), min_size=1, max_size=3, unique=True),
    hidden=st.integers(1, 7),
    data=st.data(),
)
def test_what_is_written_is_read_whatever_its_shape_and_order(
    tmp_path_factory, lengths, dtype, layers, hidden, data
):
    entry = Store(tmp_path_factory.mktemp("store")).entry(spec(dtype=dtype))
    rows = [
        row(f"r{i}", n, layers, hidden, seed=i, dtype=getattr(torch, dtype)) for i, n in enumerate(lengths)
    ]
    parts = data.draw(st.lists(st.integers(1, 4), min_size=len(rows), max_size=len(rows)))
    left = list(rows)
    for size in parts:
        entry.write(left[:size])
        left = left[size:]
    asked = data.draw(st.lists(st.sampled_from(rows), max_size=15))
    stored = entry.open([r.key for r in asked], layers)
    assert stored.lengths.tolist() == [len(r.token_ids) for r in asked]
    for number, captured in enumerate(asked):
        assert np.array_equal(stored.token_ids(number), captured.token_ids)
        assert np.array_equal(stored.message(number), captured.message)
        assert np.array_equal(stored.role(number), captured.role)
    for layer in layers:
        read = stored.layer(layer)
        assert len(read) == len(asked)
        for number, captured in enumerate(asked):
            assert torch.equal(read.row(number), captured.layers[layer].float())
        values = [block.values for block in read.blocks(data.draw(st.integers(1, 20)))]
        expected = [r.layers[layer].float() for r in asked]
        assert torch.equal(torch.cat(values or [torch.empty(0)]), torch.cat(expected or [torch.empty(0)]))
    assert not entry.verify()


def test_layers_written_at_different_times_are_read_together_side_by_side(entry):
    rows = [row(f"r{i}", tokens=i + 1, layers=(4, 8), seed=i) for i in range(5)]
    entry.write([r._replace(layers={4: r.layers[4]}) for r in rows])
    assert entry.missing([r.key for r in rows], [4]) == []
    assert entry.missing(["r1", "r0", "r1", "new"], [4, 8]) == ["r1", "r0", "new"]
    entry.write([r._replace(layers={8: r.layers[8]}) for r in reversed(rows)])
    stored = entry.open(["r3", "r0", "r4"], [4, 8])
    both = stored.layers([8, 4])
    assert isinstance(both, SideBySide)
    assert both.hidden == 16
    assert both.tokens == 4 + 1 + 5
    blocks = list(both.blocks(max_tokens=5))
    assert [b.rows.tolist() for b in blocks] == [[0, 1], [2]]
    expected = [torch.cat([rows[i].layers[8], rows[i].layers[4]], dim=1).float() for i in (3, 0, 4)]
    assert torch.equal(torch.cat([b.values for b in blocks]), torch.cat(expected))
    assert torch.equal(both.take([2]).row(0), expected[2])
    (only,) = both.take([1, 2]).blocks()
    assert torch.equal(only.values, torch.cat(expected[1:]))
    assert torch.equal(stored.take([1]).layers([4]).row(0), rows[0].layers[4].float())
    assert entry.layers_of([r.key for r in rows]) == [4, 8]


def test_rows_are_read_in_the_order_given_without_padding(entry):
    rows = [row(f"r{i}", tokens=n, seed=i) for i, n in enumerate((1, 50, 2))]
    entry.write(rows)
    read = entry.open(["r2", "r0", "r1"], [4]).layer(4)
    (block,) = read.blocks(order=[1, 2, 0])
    assert block.values.shape == (53, 8)
    assert block.offsets.tolist() == [0, 1, 51, 53]
    assert torch.equal(block.values, torch.cat([rows[i].layers[4] for i in (0, 1, 2)]).float())


def test_a_row_that_is_written_twice_is_read_once_and_always_the_same(entry):
    first, second = row("same", seed=1), row("same", seed=2)
    entry.write([first, row("other"), second])
    entry.write([second])
    for _ in range(2):
        again = Store(entry.folder.parent).entry(SPEC)
        assert torch.equal(again.open(["same"], [4]).layer(4).row(0), first.layers[4].float())
    contents = entry.contents()
    assert (contents.rows, contents.tokens, contents.shards, contents.layers) == (2, 6, 2, {4: 2})


def test_what_is_read_may_be_changed_without_changing_what_is_read_next(tmp_path):
    entry = Store(tmp_path).entry(spec(dtype="float32"))
    stored = row("r", dtype=torch.float32)
    entry.write([stored])
    read = entry.open(["r"], [4]).layer(4)
    read.row(0).zero_()
    next(read.blocks()).values.zero_()
    assert torch.equal(read.row(0), stored.layers[4])


def test_bytes_on_disk_are_at_most_five_per_cent_more_than_the_activations(entry):
    hidden, rows = 256, [row(f"{i:016x}", 20 + i % 180, (4, 8), 256, seed=i) for i in range(60)]
    entry.write(rows)
    tokens = sum(len(r.token_ids) for r in rows)
    on_disk = sum(p.stat().st_size for p in entry.folder.rglob("*") if p.is_file())
    assert on_disk <= 1.05 * tokens * hidden * 2 * 2
    assert entry.contents().bytes <= on_disk


# ---------------------------------------------------------------- memory

GROWTH = """
import sys
from probes.activations.store import CaptureSpec, Store
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
root = sys.argv[1]
import torch, safetensors.torch
torch.ones(10) + 1
before = resident()
entry, = Store(root).entries()
read = entry.open([f"r{i}" for i in range(100)], [4]).layer(4)
opened = resident()
total, peak = 0, opened
for block in read.take(range(100)).blocks(4096, order=range(99, -1, -1)):
    total += len(block.values)
    peak = max(peak, resident())
print(opened - before, peak - before, total)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_opening_maps_and_reading_frees_what_was_read(tmp_path):
    """A store of 307 MB."""
    entry = Store(tmp_path).entry(SPEC)
    one = row("r", 3000, hidden=512)
    for shard in range(4):
        entry.write([one._replace(key=f"r{i}") for i in range(shard * 25, shard * 25 + 25)])
    assert entry.contents().bytes > 307e6
    process = in_another_process(GROWTH, tmp_path)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    opened, peak, tokens = map(float, out.split())
    assert opened < 50
    assert peak < 200
    assert tokens == 300_000


def test_shards_that_are_open_hold_no_file_descriptors(entry):
    """There may be 1024 of them, and more shards."""
    for i in range(30):
        entry.write([row(f"r{i}", seed=i)])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = max(int(p.name) for p in Path("/dev/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 10, hard))
    try:
        read = entry.open([f"r{i}" for i in range(30)], [4]).layer(4)
        assert next(read.blocks()).values.shape == (90, 8)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---------------------------------------------------------------- several writers, and killed ones

WRITE = """
import sys
from probes.activations.store import Store
from tests.support.stored_rows import SPEC, row
root = sys.argv[1]
first, last, tokens = map(int, sys.argv[2:])
print("ready", flush=True)
sys.stdin.readline()
for i in range(first, last):
    Store(root).entry(SPEC).write([row(f"r{i}-{j}", tokens, hidden=64, seed=i) for j in range(2)])
    print(i, flush=True)
"""


def test_processes_write_at_the_same_time(tmp_path):
    processes = [
        in_another_process(WRITE, tmp_path, first, first + 12, 40, stdin=subprocess.PIPE) for first in (0, 6)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    entry = Store(tmp_path).entry(SPEC)
    keys = [f"r{i}-{j}" for i in range(18) for j in range(2)]
    contents = entry.contents()
    assert (contents.rows, contents.shards) == (36, 24)
    assert not entry.missing(keys, [4])
    assert not entry.verify()
    read = entry.open(keys, [4]).layer(4)
    assert torch.equal(read.row(15), row("x", 40, hidden=64, seed=7).layers[4].float())


def test_a_killed_writer_loses_only_its_last_shard(tmp_path):
    """Killed at moments spread over the writing of a shard of 20 MB."""
    for number, delay in enumerate((0.02, 0.1)):
        root = tmp_path / str(number)
        process = in_another_process(WRITE, root, 0, 1000, 80_000, stdin=subprocess.PIPE)
        process.stdout.readline()
        process.stdin.write("\n")
        process.stdin.flush()
        done = process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate(timeout=60)
        finished = len((done + rest).split())
        entry = Store(root).entry(SPEC)
        assert entry.contents().shards in (finished, finished + 1)
        assert not entry.missing([f"r{i}-1" for i in range(finished)], [4])
        assert not entry.verify()
        assert len(shard_files(entry)) == len(list(entry.folder.glob("shard-*.json")))
        assert not (entry.folder / ".unfinished").exists()


def test_what_a_live_writer_has_not_finished_is_left_alone(tmp_path):
    from probes.activations.shards.locks import writing

    entry = Store(tmp_path).entry(SPEC)
    entry.write([row("r")])
    unfinished = entry.folder / "shard-0-0.safetensors"
    unfinished.write_bytes(b"half")
    with writing(entry.folder):
        Store(tmp_path).entry(SPEC)
        assert unfinished.exists()
        with pytest.raises(StoreError, match="another process is writing"):
            Store(tmp_path).delete(SPEC.key)
    assert Store(tmp_path).entry(SPEC).contents().rows == 1
    assert not unfinished.exists()


# ---------------------------------------------------------------- pooled features


def test_pooled_features_are_computed_once_and_kept(entry, monkeypatch):
    rows = [row(f"r{i}", tokens=i + 1, seed=i) for i in range(6)]
    entry.write(rows[:4])
    entry.write(rows[4:])
    keys = ["r5", "r0", "r2", "r5"]
    values = [rows[i].layers[4].float() for i in (5, 0, 2, 5)]
    torch.testing.assert_close(entry.pooled("mean", keys, 4), torch.stack([v.mean(0) for v in values]))
    kept = sorted((entry.folder / "pooled").iterdir())
    assert len(kept) == 2
    monkeypatch.setattr("probes.activations.pooled_features.pool", None)
    assert torch.equal(entry.pooled("last", keys, 4), torch.stack([v[-1] for v in values]))
    assert torch.equal(entry.pooled("max", keys, 4), torch.stack([v.amax(0) for v in values]))
    with pytest.raises(ValueError, match="pooling 'median'; there are mean, last, max"):
        entry.pooled("median", keys, 4)
    assert not entry.verify()


def test_pooled_features_of_a_shard_with_other_contents_are_not_used(entry):
    entry.write([row("r0", seed=1)])
    entry.pooled("mean", ["r0"], 4)
    (kept,) = (entry.folder / "pooled").iterdir()
    stale = kept.read_bytes()
    with safe_open(kept, framework="pt") as file:
        shard = file.metadata()["shard"]
    kept.write_bytes(stale.replace(shard.encode(), b"0" * 64))
    expected = row("r0", seed=1).layers[4].float().mean(0)
    torch.testing.assert_close(entry.pooled("mean", ["r0"], 4)[0], expected)
    kept.write_bytes(stale[:-1] + bytes([stale[-1] ^ 1]))
    assert "its contents have changed" in entry.verify()[0]
    entry.delete_damaged()
    assert not kept.exists()
    torch.testing.assert_close(entry.pooled("mean", ["r0"], 4)[0], expected)


# ---------------------------------------------------------------- data sets and the command


def dataset_rows(labels=(1.0, 0.0, None, 0.25)):
    return [
        DatasetRow(id=f"id{i}", key=f"r{i % 3}", label=label, n_tokens=3, facts={"topic": "t"})
        for i, label in enumerate(labels)
    ]


def test_a_data_set_has_labels_groups_and_activations_in_one_order(entry):
    root = entry.folder.parent
    rows = [row(f"r{i}", layers=(4, 8), seed=i) for i in range(3)]
    entry.write(rows)
    card = DatasetCard(spec=SPEC.key, source="file.jsonl", excluded={"ambiguous": 2})
    table = dataset_rows()
    table[1] = table[1].model_copy(update={"group": "pair"})
    save_dataset(root, "train", table, card)
    dataset = open_dataset(root, "train")
    assert dataset.ids == ["id0", "id1", "id2", "id3"]
    assert dataset.groups == ["id0", "pair", "id2", "id3"]
    np.testing.assert_array_equal(dataset.labels, [1, 0, np.nan, 0.25])
    assert dataset.facts[3] == {"topic": "t"}
    assert (dataset.spec, dataset.card) == (SPEC, card.model_copy(update={"rows": 4}))
    assert dataset.activations.available == [4, 8]
    assert torch.equal(dataset.activations.layer(8).row(3), rows[0].layers[8].float())
    assert open_dataset(root, "train", layers=[8]).activations.available == [8]


def test_data_sets_that_do_not_exist_or_cannot_be_read_are_named(entry):
    root = entry.folder.parent
    card = DatasetCard(spec=SPEC.key, source="x")
    save_dataset(root, "train", dataset_rows(), card)
    with pytest.raises(StoreError, match="no data set 'test'; it has: train"):
        open_dataset(root, "test")
    with pytest.raises(StoreError, match="no layer is stored for all of its rows"):
        open_dataset(root, "train")
    assert "data set train" in Store(root).verify()[0]
    with pytest.raises(ValueError, match="two rows have the id 'id0'"):
        save_dataset(root, "train", dataset_rows()[:1] * 2, card)
    with pytest.raises(ValueError, match="data set name"):
        save_dataset(root, "../train", [], card)
    with (root / "datasets" / "train.jsonl").open("a") as file:
        file.write('{"id": "x", "key": "y", "label": 2, "n_tokens": 1}\n')
    with pytest.raises(StoreError, match=r"train.jsonl:5: .*label"):
        open_dataset(root, "train")


def test_the_command_lists_and_deletes(entry, capsys):
    root = str(entry.folder.parent)
    entry.write([row("r0", 3, (4, 8)), row("r1", 4, (4, 8))])
    entry.write([row("r2", 5, (4,))])
    entry.pooled("mean", ["r0"], 8)
    save_dataset(root, "train", dataset_rows(), DatasetCard(spec=SPEC.key, source="x.jsonl"))
    assert main(["list", root]) == 0
    out = capsys.readouterr().out
    assert f"{SPEC.key}  some/model @ c0ffee" in out
    assert "3 rows, 12 tokens, 2 shards, 0.000 GB; layers: 4, 8 (2 rows)" in out
    assert "residual, float16, tokens: all, template: plain:1" in out
    assert f"data set train: 4 rows of {SPEC.key} from x.jsonl" in out
    before = entry.open(["r0", "r1", "r2"], [4]).layer(4)
    expected = [before.row(i) for i in range(3)]
    assert main(["delete", root, SPEC.key, "--layers", "8"]) == 0
    assert list(entry.contents().layers) == [4]
    assert not list((entry.folder / "pooled").iterdir())
    after = entry.open(["r0", "r1", "r2"], [4]).layer(4)
    assert all(torch.equal(after.row(i), expected[i]) for i in range(3))
    assert entry.open(["r1"], [4]).token_ids(0).tolist() == [100_000, 100_001, 100_002, 100_003]
    assert not entry.verify()
    assert main(["delete", root, SPEC.key, "--layers", "8"]) == 1
    assert "no layer 8; there are [4]" in capsys.readouterr().err
    assert main(["delete", root, "nothing"]) == 1
    assert f"no entry 'nothing'; it has: {SPEC.key}" in capsys.readouterr().err
    assert main(["delete", root, SPEC.key]) == 0
    assert not entry.folder.exists()
    assert main(["list", root + "-not-there"]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_the_command_runs_as_a_script(entry):
    entry.write([row("r0")])
    done = subprocess.run(
        [sys.executable, "probes/store.py", "verify", str(entry.folder.parent)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "all files are what they should be\n")


def test_names_of_shards_sort_by_time(entry):
    for i in range(5):
        entry.write([row(f"r{i}")])
    sidecars = [json.loads(p.read_text()) for p in sorted(entry.folder.glob("shard-*.json"))]
    assert [s["rows"] for s in sidecars] == [[f"r{i}"] for i in range(5)]
    ages = [p.stat().st_mtime_ns for p in shard_files(entry)]
    assert all(one <= other for one, other in pairwise(ages))
