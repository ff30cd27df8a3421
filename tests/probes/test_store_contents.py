"""A store whose hashes fit and whose contents do not: refused by `verify`, and before anything is read."""

import hashlib
import json
import struct

import pytest

from probes.activations.store import DatasetCard, DatasetRow, Store, StoreError, open_dataset, save_dataset
from probes.store import main
from tests.support.stored_rows import SPEC, row, shard_files


@pytest.fixture
def entry(tmp_path):
    entry = Store(tmp_path / "store").entry(SPEC)
    entry.write([row("r0", tokens=3), row("r1", tokens=5, seed=1)])
    rows = [DatasetRow(id=k, key=k, label=float(n), n_tokens=3) for n, k in enumerate(("r0", "r1"))]
    save_dataset(entry.folder.parent, "train", rows, DatasetCard(spec=SPEC.key, source="a.jsonl"))
    return entry


def forge(entry, *, header=None, sidecar=None, content=None):
    """Change a shard as a remote could: its sidecar tells the size and the hash of what is there."""
    (path,) = shard_files(entry)
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    told, body = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    if header:
        header(told)
    if content:
        content(told, body)
    text = json.dumps(told).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    facts = json.loads(path.with_suffix(".json").read_bytes())
    if sidecar:
        sidecar(facts)
    facts |= {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(facts))
    return path


def at(told, name):
    return told[name]["data_offsets"]


def shift(told):
    told["layer_4"]["data_offsets"] = [at(told, "layer_4")[0] + 2, at(told, "layer_4")[1] + 2]


def set_byte(name, place, value):
    def change(told, body):
        body[at(told, name)[0] + place] = value

    return change


def read_all(root):
    activations = open_dataset(root, "train").activations
    for number in range(2):
        activations.layer(activations.available[0]).row(number)
        activations.role(number)


DAMAGES = {
    "offsets in the header beyond the file": (
        {"header": lambda t: t["layer_4"].update(data_offsets=[10**6, 10**6 + 128])}, "InvalidOffset|IncompleteBuffer|no safetensors header"),
    "a shape beyond the file": ({"header": lambda t: t["layer_4"].update(shape=[8, 800])}, "no safetensors header"),
    "one dimension": ({"header": lambda t: t["layer_4"].update(shape=[64])}, "has the shape"),
    "another type of the same size": ({"header": lambda t: t["layer_4"].update(dtype="BF16")}, "stored as"),
    "data shifted by a number": ({"header": shift}, "no safetensors header"),
    "no list of offsets": ({"header": lambda t: t["layer_4"].update(data_offsets=7)}, "no safetensors header"),
    "more keys than rows": ({"sidecar": lambda f: f["rows"].append("r2")}, "names other rows"),
    "keys in another order": ({"sidecar": lambda f: f["rows"].reverse()}, "in another order"),
    "another hidden size": ({"sidecar": lambda f: f.update(hidden=4)}, "has the shape"),
    "another layer": ({"sidecar": lambda f: f.update(layers=[5])}, "not the layers"),
    "more tokens": ({"sidecar": lambda f: f.update(tokens=9)}, "has the shape"),
    "rows that begin elsewhere": ({"content": set_byte("offsets", 8, 9)}, "do not divide"),
    "a role that there is not": ({"content": set_byte("role", 0, 99)}, "role 99 is unknown"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_does_not_fit_is_found_though_the_hash_fits(entry, damage, capsys):
    changes, message = DAMAGES[damage]
    path = forge(entry, **changes)
    with pytest.raises(StoreError, match=message):
        read_all(entry.folder.parent)
    assert main(["verify", str(entry.folder.parent)]) == 1
    assert path.name in capsys.readouterr().out


def test_an_unchanged_shard_written_anew_is_whole(entry):
    forge(entry)
    assert Store(entry.folder.parent).verify() == []


def test_a_data_set_that_lost_rows_or_is_no_text_is_refused(entry, capsys):
    root = entry.folder.parent
    table = root / "datasets" / "train.jsonl"
    whole = table.read_text()
    table.write_text(whole.splitlines(keepends=True)[0])
    with pytest.raises(StoreError, match=r"train\.jsonl: 1 rows instead of 2"):
        open_dataset(root, "train")
    assert main(["verify", str(root)]) == 1
    assert "1 rows instead of 2" in capsys.readouterr().out
    table.write_bytes(b"\xff" + whole.encode())
    for command in ("list", "verify"):
        assert main([command, str(root)]) == 1
        told = capsys.readouterr()
        assert "train.jsonl: not UTF-8 from byte 0 on" in told.out + told.err
    table.write_text(whole.replace('"r0"', '"r\u20280"', 1))
    assert len(open_dataset(root, "train").ids) == 2


def test_a_push_that_broke_off_in_a_data_set_is_mended_and_half_of_one_is_not_pulled(entry, tmp_path, capsys):
    root, there = entry.folder.parent, tmp_path / "there"
    assert main(["push", str(root), f"file://{there}"]) == 0
    table, card = there / "datasets" / "train.jsonl", there / "datasets" / "train.json"
    half = table.read_text().splitlines(keepends=True)[0]
    table.write_text(half)
    assert main(["pull", str(tmp_path / "here"), f"file://{there}"]) == 1
    assert "has 1 of 2 rows" in capsys.readouterr().err
    card.unlink()  # as a push that was stopped leaves it
    assert main(["push", str(root), f"file://{there}"]) == 0
    assert main(["pull", str(tmp_path / "again"), f"file://{there}"]) == 0
    assert Store(tmp_path / "again").verify() == []


def test_nothing_is_deleted_beside_a_capture(entry, capsys):
    root = str(entry.folder.parent)
    with entry.in_use():
        for what in ([], ["--layers", "4"], ["--damaged"]):
            assert main(["delete", root, SPEC.key, *what]) == 1
            assert "another process is writing to it just now" in capsys.readouterr().err
    assert Store(root).verify() == []
    assert main(["delete", root, SPEC.key, "--layers", "4"]) == 0


def test_a_symbolic_link_is_refused_and_what_lies_behind_it_stays(entry, tmp_path, capsys):
    root, outside = entry.folder.parent, tmp_path / "outside"
    outside.mkdir()
    (outside / "private").write_text("mine")
    (entry.folder / "link").symlink_to(outside / "private")
    url = f"file://{tmp_path / 'copy'}"
    for command in (["push", str(root), url], ["pull", str(root), url], ["delete", str(root), SPEC.key]):
        assert main(command) == 1
        assert f"{entry.folder / 'link'} is a symbolic link" in capsys.readouterr().err
    assert (outside / "private").read_text() == "mine"
    assert (entry.folder / "spec.json").exists()
    assert not (tmp_path / "copy").exists()
