"""The activation store when files are damaged, disks are full, or rows cannot be stored."""

import numpy as np
import pytest
import torch

from probes.activations.store import (
    Store,
    StoredSpec,
    StoreError,
)
from probes.store import main
from tests.support.stored_rows import SPEC, in_another_process, row, shard_files, spec


@pytest.fixture
def entry(tmp_path) -> StoredSpec:
    return Store(tmp_path / "store").entry(SPEC)


def test_missing_rows_are_counted_and_named(entry):
    entry.write([row("r0")])
    with pytest.raises(StoreError, match=r"2 of 3 rows have no layer 4, first a, b; .*capture"):
        entry.open(["r0", "a", "b", "a"], [4])
    with pytest.raises(StoreError, match="1 of 1 rows have no layer 5"):
        entry.open(["r0"], [5])
    with pytest.raises(ValueError, match="which layers"):
        entry.open(["r0"], [])
    with pytest.raises(ValueError, match=r"layer 8 was not opened; there are \[4\]"):
        entry.open(["r0"], [4]).layer(8)


def test_a_truncated_shard_is_named_and_its_rows_can_be_captured_again(entry, capsys):
    entry.write([row("r0", seed=1)])
    entry.write([row("r1", seed=2)])
    bad, good = shard_files(entry)
    bad.write_bytes(bad.read_bytes()[:-10])
    again = Store(entry.folder.parent).entry(SPEC)
    with pytest.raises(StoreError, match=rf"{bad.name}: truncated, .*--damaged"):
        again.open(["r0", "r1"], [4]).layer(4)
    assert again.open(["r1"], [4]).layer(4).row(0).shape == (3, 8)
    root = str(entry.folder.parent)
    assert main(["verify", root]) == 1
    assert bad.name in (out := capsys.readouterr().out)
    assert good.name not in out
    assert main(["delete", root, SPEC.key, "--damaged"]) == 0
    assert main(["verify", root]) == 0
    assert entry.missing(["r0", "r1"], [4]) == ["r0"]
    entry.write([row("r0", seed=1)])
    assert len(entry.open(["r0", "r1"], [4]).layer(4)) == 2


@pytest.mark.parametrize("place", [3, 60, -5])
def test_a_changed_byte_is_found_by_verify(entry, place):
    entry.write([row("r0"), row("r1")])
    (path,) = shard_files(entry)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert len(entry.verify()) == 1
    assert path.name in entry.verify()[0]


def test_a_shard_with_a_header_of_nonsense_is_a_clear_error(entry):
    entry.write([row("r0")])
    (path,) = shard_files(entry)
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(StoreError, match="no safetensors header"):
        Store(entry.folder.parent).entry(SPEC).open(["r0"], [4]).layer(4)


def test_a_sidecar_that_is_no_json_is_named_and_can_be_removed(entry):
    entry.write([row("r0")])
    (sidecar,) = entry.folder.glob("shard-*.json")
    sidecar.write_text('{"layers": [4')
    again = Store(entry.folder.parent).entry(SPEC)
    with pytest.raises(StoreError, match=sidecar.name):
        again.missing(["r0"], [4])
    assert len(again.delete_damaged()) == 1
    assert again.missing(["r0"], [4]) == ["r0"]
    assert not shard_files(entry)


def test_a_shard_that_is_gone_is_named(entry):
    entry.write([row("r0")])
    (path,) = shard_files(entry)
    path.unlink()
    with pytest.raises(StoreError, match=f"{path.name}: is gone"):
        entry.open(["r0"], [4]).layer(4)
    assert "is gone" in entry.verify()[0]


FULL = """
import resource, sys
from probes.activations.store import Store, StoreError
from tests.support.stored_rows import SPEC, row
entry = Store(sys.argv[1]).entry(SPEC)
entry.write([row("small")])
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
try:
    entry.write([row("large", 4000, hidden=512)])
except StoreError as error:
    print(error)
"""


def test_when_a_file_cannot_be_written_whole_nothing_of_it_is_left(tmp_path):
    """The limit on the size of files breaks the writing off like a full disk does."""
    process = in_another_process(FULL, tmp_path)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "cannot be written: the disk is full (File too large)" in out
    assert "What was written before it is kept" in out
    entry = Store(tmp_path).keyed(SPEC.key)
    assert entry.contents().rows == 1
    left = [p for p in entry.folder.rglob("*") if p.is_file() and p.stat().st_size > 2**19]
    assert not left
    assert not list((entry.folder / ".unfinished").glob("*"))


def test_a_full_disk_is_told_as_such(entry, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    entry.write([row("r0")])
    monkeypatch.setattr("probes.activations.shards.writing_shards.flushed", full)
    with pytest.raises(StoreError, match=r"the disk is full \(No space left on device\): make room"):
        entry.write([row("r1")])
    assert not list((entry.folder / ".unfinished").glob("*"))
    assert entry.contents().rows == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda r: r._replace(layers={4: torch.full((3, 8), float("nan"))}), "row r: layer 4 has NaN"),
        (lambda r: r._replace(layers={4: torch.full((3, 8), 70000.0)}), "beyond the range of float16"),
        (lambda r: row("r", tokens=0), "row r: no tokens"),
        (lambda r: r._replace(layers={4: torch.zeros(2, 8)}), r"must be \(3, 8\), got \{4: \(2, 8\)\}"),
        (lambda r: r._replace(layers={5: torch.zeros(3, 8)}), r"has layers \[5\], others \[4\]"),
        (lambda r: r._replace(layers={4: torch.zeros(3, 9)}), r"must be \(3, 8\)"),
        (lambda r: r._replace(role=np.array([0, 1, 5], dtype=np.uint8)), "role 5; codes end at 4"),
        (lambda r: r._replace(message=r.message[:2]), "differ in length"),
        (lambda r: r._replace(key="../x"), "letters, digits"),
    ],
)
def test_rows_that_cannot_be_stored_are_refused_by_name(entry, wrong, message):
    with pytest.raises(ValueError, match=message):
        entry.write([row("first"), wrong(row("r"))])
    assert not shard_files(entry)


def test_why_a_row_cannot_be_stored_can_be_asked_before(tmp_path):
    large = row("r")._replace(layers={4: torch.full((3, 8), 70000.0)})
    assert "beyond the range" in Store(tmp_path).entry(SPEC).problem(large)
    assert Store(tmp_path).entry(spec(dtype="bfloat16")).problem(large) is None
    assert Store(tmp_path).entry(SPEC).problem(row("r", tokens=0)) == "no tokens"
