"""What `probes/evaluate.py` does not evaluate, and says so before anything is written."""

import json
import math
import struct

import pytest

from probes.evaluate import main
from tests.support.evaluated_rows import LABELS, LOGITS, evaluated, saved, stored
from tests.support.stored_rows import spec


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--monitors", "{tmp}/store"], "is no monitor: it has no monitor.json"),
        (["--monitors", "{tmp}/nowhere"], "is no monitor"),
        (["--data", "{tmp}/store/mst"], "has no data set 'mst'; it has: "),
        (["--data", "{tmp}/store/mt", "{tmp}/store/mt"], "data set mt is given twice"),
        (["--data", "{tmp}/store/mt:split"], "a part is chosen by fact=value, got 'split'"),
        (["--data", "{tmp}/store/mt:split=dev"], "no row has split=dev; there are split=test"),
        (["--data", "{tmp}/store/unlabelled"], "no row has a label"),
        (["--data", "{tmp}/store/foreign"], "data set foreign: monitor m was fitted on other activations: template"),
        (["--data", "{tmp}/store/broken"], "data set broken, 1: row 1 has activations that are NaN"),
        (["--data", "{tmp}/store/huge"], "data set huge: scores beyond all bounds"),
        (["--by", "tone"], "--by tone: no data set has such a fact; there are split"),
        (["--reference", "n"], "--reference n: there are m, length"),
        (["--show", "n"], "--show n: no such monitor; there are m"),
        (["--controls", "tfidf"], "control tfidf is fitted: say on what with --train"),
        (["--controls", "bag"], "bag_of_words"),
        (["--train", "{tmp}/store/mt"], "all its conversations are trained on"),
        (["--train", "{tmp}/store/train", "{tmp}/store/foreign"], "of another capture than train: template"),
        (["--train", "{tmp}/store/train", "--tokenizer", "{tmp}/nowhere"], "no tokenizer for"),
        (["--train", "{tmp}/store/one", "--controls", "shuffled_labels"], "all labels are equal"),
        (["--length-edges", "9,2"], "ascend"),
        (["--monitor", "{tmp}/m"], "--monitors"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_told_before_anything_is_written(options, told, tmp_path, capsys):
    root = tmp_path / "store"
    stored(root, "mt", LABELS, LOGITS, facts=[{"split": "test"}] * 4)
    stored(root, "train", LABELS, LOGITS)
    stored(root, "one", [1.0] * 4, LOGITS)
    stored(root, "unlabelled", [None, None], [0.0, 1.0])
    stored(root, "foreign", LABELS, LOGITS, of=spec(dtype="float32", template="plain:2"))
    stored(root, "huge", LABELS, [1.0, 3e38, 1.0, 1.0], other=[3e38] * 4)
    stored(root, "broken", LABELS, [1.0, 7.25, 1.0, 1.0])
    for shard in root.rglob("*.safetensors"):
        shard.write_bytes(shard.read_bytes().replace(struct.pack("<f", 7.25), struct.pack("<f", math.nan)))
    monitor = saved(tmp_path / "m", weight=(1.0, 1.0))
    given = {"--monitors": [str(monitor)], "--data": [f"{root}/mt"]}
    name = None
    for option in options:
        option = option.format(tmp=tmp_path)
        if option.startswith("--"):
            name = option
            given[name] = []
        else:
            given[name].append(option)
    code, _, _ = evaluated(tmp_path, *[part for name, values in given.items() for part in (name, *values)])
    assert code in (1, 2)  # 2: of the options alone
    assert told in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_layer_that_is_not_stored_is_named(tmp_path, capsys):
    data = stored(tmp_path / "store", "mt", LABELS, LOGITS)
    folder = saved(tmp_path / "m")
    card = json.loads((folder / "monitor.json").read_text()) | {"layers": [6]}
    (folder / "monitor.json").write_text(json.dumps(card))
    assert main(["--monitors", str(folder), "--data", data, "--out", str(tmp_path / "out")]) == 1
    assert (
        "layer 6, which monitor m reads, is not stored for all rows; there are [4]" in capsys.readouterr().err
    )
