"""From conversations to stored activations: the command, several processes, kills."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
)

from probes.activations.capture_settings import CaptureSettings
from probes.activations.forward import TokenRow
from probes.activations.store import Store, open_dataset
from probes.activations.weights import WeightsError
from probes.capture import capture, main
from probes.conversations.labels import DataError
from tests.support.chat_templates import byte_tokenizer
from tests.support.places import ROOT
from tests.support.tiny_architectures import alone, fresh
from tests.support.tiny_models import tiny_adapter, tiny_model
from tests.support.told import told


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def conversations(count, start=0):
    return [
        {
            "id": f"c{n}",
            "messages": [
                {"role": "user", "content": "hello " * (1 + n % 7) + str(n)},
                {"role": "assistant", "content": f"well {n}"},
            ],
            "y": n % 2,
            "pair": f"p{n // 2}",
            "kind": "ab"[n % 2],
        }
        for n in range(start, start + count)
    ]


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def asked(model, data, out, **more):
    return CaptureSettings(
        **{"model": str(model), "data": str(data), "out": out, "layers": "1,2", "dtype": "float32"} | more
    )


def test_a_capture_can_be_opened_as_a_data_set(model, tmp_path):
    data = written(tmp_path / "talk.jsonl", conversations(5))
    done = capture(
        asked(
            model,
            data,
            tmp_path / "store",
            label_column="y",
            group_column="pair",
            facts=["kind"],
            tokens="assistant",
        )
    )
    assert (done.rows, done.computed, done.truncated, done.left_out) == (5, 5, 0, {})
    found = open_dataset(tmp_path / "store", "talk")
    assert found.ids == [f"c{n}" for n in range(5)]
    assert found.labels.tolist() == [0, 1, 0, 1, 0]
    assert found.groups == ["p0", "p0", "p1", "p1", "p2"]
    assert found.facts[1] == {"kind": "b"}
    assert (found.spec.tokens, found.spec.model, found.card.source) == ("assistant", str(model), str(data))
    tokenizer, whole = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    for number, row in enumerate(conversations(5)):
        text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
        ids = tokenizer(text.removesuffix("<|im_end|>\n") + "<|im_end|>")["input_ids"]
        kept = found.activations.token_ids(number)
        assert tokenizer.decode(kept) == f"well {number}<|im_end|>"
        assert set(found.activations.message(number)) == {1}
        assert set(found.activations.role(number)) == {3}
        streams = alone(whole, TokenRow(np.array(ids, dtype=np.int32), np.arange(len(ids))))
        torch.testing.assert_close(
            found.activations.layer(1).row(number), streams[1][-len(kept) :], atol=1e-5, rtol=1e-4
        )


def test_the_same_again_computes_nothing_and_more_computes_the_rest(model, tmp_path):
    data = written(tmp_path / "talk.jsonl", conversations(6))
    out = tmp_path / "store"
    assert capture(asked(model, data, out, layers="1")).computed == 6
    assert capture(asked(model, data, out, layers="1")).computed == 0
    written(data, conversations(9))
    assert capture(asked(model, data, out, layers="1")).computed == 3
    assert capture(asked(model, data, out, layers=[1, 2])).computed == 9
    assert capture(asked(model, data, out, layers="2", batch_tokens=1)).computed == 0
    assert len(Store(out).entries()) == 1
    assert capture(asked(model, data, out, layers="1", tokens="user")).computed == 9
    assert len(Store(out).entries()) == 2
    assert Store(out).verify() == []


def test_conversations_of_the_same_tokens_are_computed_once(model, tmp_path):
    rows = conversations(2)
    twins = [rows[0], rows[0] | {"id": "twin"}, rows[1]]
    done = capture(asked(model, written(tmp_path / "a.jsonl", twins), tmp_path / "store"))
    assert (done.rows, done.computed) == (3, 2)
    found = open_dataset(tmp_path / "store", "a").activations.layer(1)
    assert torch.equal(found.row(0), found.row(1))


def test_long_conversations_are_cut_and_counted_and_empty_choices_left_out(model, tmp_path):
    rows = [*conversations(3), {"id": "x", "messages": [{"role": "user", "content": "a"}], "y": 0}]
    rows[0]["messages"][0]["content"] = "hello " * 200
    done = capture(
        asked(
            model, written(tmp_path / "a.jsonl", rows), tmp_path / "store", tokens="assistant", max_tokens=20
        )
    )
    assert done.rows == 3
    assert done.left_out == {"no token is kept": 1}
    assert done.truncated >= 1
    found = open_dataset(tmp_path / "store", "a")
    assert found.card.excluded == {"no token is kept": 1}
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert tokenizer.decode(found.activations.token_ids(0)) == "well 0<|im_end|>"
    # without a bound of its own a row is cut to what the model takes
    capture(asked(model, tmp_path / "a.jsonl", tmp_path / "store", name="whole"))
    assert open_dataset(tmp_path / "store", "whole").spec.max_tokens == 256


def test_what_the_template_refuses_is_counted_and_nothing_left_is_an_error(model, tmp_path, capsys):
    data = written(
        tmp_path / "a.jsonl",
        [*conversations(2), {"id": "x", "messages": [{"role": "critic", "content": "a"}]}],
    )
    done = capture(asked(model, data, tmp_path / "store"))
    assert (done.rows, done.left_out) == (2, {"the chat template cannot render it": 1})
    assert "x: left out, as all like it: message 0 is of role 'critic'" in capsys.readouterr().err
    with pytest.raises(DataError, match="nothing left to capture: 3 no token is kept"):
        capture(asked(model, written(data, conversations(3)), tmp_path / "store", tokens="tool"))


def test_models_without_a_template_and_encoders_are_captured_plainly(tmp_path):
    folder = tmp_path / "bert"
    fresh("bert").save_pretrained(folder)
    byte_tokenizer(None, encoder=True).save_pretrained(folder)
    data = written(
        tmp_path / "a.jsonl", [{"id": 1, "inputs": "hello"}, {"id": 2, "inputs": "how are you today"}]
    )
    capture(asked(folder, data, tmp_path / "store", layers="3"))
    found = open_dataset(tmp_path / "store", "a")
    assert found.spec.template == "plain:1"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(found.activations.token_ids(0)) == "<cls>user: hello<sep>"


def test_a_log_of_another_model_is_refused_unless_it_is_meant(model, tmp_path, converse):
    log = converse(told("Hello."))
    with pytest.raises(DataError, match="a log of told/model, not of .*--any-model true"):
        capture(asked(model, log.location, tmp_path / "store"))
    settings = asked(model, log.location, tmp_path / "store", any_model=True, name="log", tokens="assistant")
    assert capture(settings).rows == len(log.samples)
    found = open_dataset(tmp_path / "store", "log")
    assert set(found.groups) == {s.metadata["initial_state"] for s in log.samples}
    assert {f["gameable"] for f in found.facts} == {"true", "false"}


def test_an_adapter_has_an_entry_of_its_own(model, tmp_path):
    adapter = tiny_adapter(model, tmp_path / "adapter", seed=1)
    data = written(tmp_path / "a.jsonl", conversations(3))
    out = tmp_path / "store"
    keys = {
        capture(asked(model, data, out, name=n, adapter=a)).key
        for n, a in [("base", None), ("lora", adapter)]
    }
    assert len(keys) == 2
    base, lora = (open_dataset(out, name).activations.layer(2).row(0) for name in ("base", "lora"))
    assert not torch.allclose(base, lora, atol=1e-2)


@pytest.mark.parametrize(
    ("more", "told_so"),
    [
        ({"layers": "3"}, "no layer 3; the model has 2 blocks"),
        ({"max_tokens": 257}, "--max-tokens 257: .* takes 256 at most"),
        ({"tokens": "users"}, "token rule 'users'"),
        ({"template": "none.jinja"}, "--template none.jinja: No such file"),
        ({"model": "./no/such/model"}, "--model ./no/such/model"),
        ({"adapter": Path("nowhere")}, "no adapter_config.json"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_before_anything_is_computed(model, tmp_path, more, told_so):
    data = written(tmp_path / "a.jsonl", conversations(2))
    with pytest.raises(ValueError, match=told_so):
        capture(asked(more.pop("model", model), data, tmp_path / "store", **more))
    assert not (tmp_path / "store").exists()


def test_activations_that_cannot_be_stored_name_the_conversation(tmp_path):
    folder = tiny_model(tmp_path / "model")
    broken = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        broken.model.layers[0].mlp.down_proj.weight[0] = float("nan")
    broken.save_pretrained(folder)
    with pytest.raises(WeightsError, match="c0: layer 1 has NaN"):
        capture(asked(folder, written(tmp_path / "a.jsonl", conversations(1)), tmp_path / "store"))


def test_the_command_tells_what_it_did_and_what_is_wrong(model, tmp_path, capsys):
    data = written(
        tmp_path / "a.jsonl", [r | {"y": "ambiguous"} if r["id"] == "c1" else r for r in conversations(4)]
    )
    line = ["--model", str(model), "--data", str(data), "--layers", "1,2", "--out", str(tmp_path / "store")]
    assert main([*line, "--label-column", "y"]) == 0
    told_so = capsys.readouterr().out
    assert "3 conversations, 0 of 3 rows are stored already" in told_so
    assert "computed: 3 rows" in told_so
    assert "left out: 1 (label ambiguous)" in told_so
    assert main([*line, "--label-column", "z"]) == 1
    assert "a.jsonl:1: no column 'z'; there are id, messages" in capsys.readouterr().err
    assert main([*line, "--layrs", "3"]) == 2
    assert "did you mean '--layers'?" in capsys.readouterr().err


def command(*arguments, launcher=()):
    return subprocess.Popen(
        [sys.executable, *launcher, str(ROOT / "probes/capture.py"), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def stored(out, name):
    """Everything that a data set holds, by id."""
    found = open_dataset(out, name)
    read = found.activations
    return {
        row: (read.token_ids(i).tolist(), read.message(i).tolist(), *(read.layer(n).row(i) for n in (1, 2)))
        for i, row in enumerate(found.ids)
    }


@pytest.mark.slow
def test_two_processes_store_what_one_does(model, tmp_path):
    data = written(tmp_path / "a.jsonl", conversations(40))
    capture(asked(model, data, tmp_path / "one", batch_tokens=64))
    line = [
        "--model",
        str(model),
        "--data",
        str(data),
        "--layers",
        "1,2",
        "--dtype",
        "float32",
        "--batch-tokens",
        "64",
    ]
    process = command(
        *line,
        "--out",
        str(tmp_path / "two"),
        launcher=["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    )
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    one, two = stored(tmp_path / "one", "a"), stored(tmp_path / "two", "a")
    assert list(one) == list(two)
    for row in one:
        assert one[row][:2] == two[row][:2]
        torch.testing.assert_close(one[row][2:], two[row][2:])
    contents = Store(tmp_path / "two").entries()[0].contents()
    assert contents.shards == 2
    assert contents.rows == 40
    assert "computed: 40 rows" in output


SLOW = """
import sys, time
import probes.capture as command
from probes.activations.forward import LayerReader
read = LayerReader.read
def slowly(self, rows):
    time.sleep(0.05)
    return read(self, rows)
LayerReader.read = slowly
sys.exit(command.main())
"""


def test_a_killed_capture_goes_on_with_nothing_lost_and_nothing_doubled(model, tmp_path):
    data = written(tmp_path / "a.jsonl", conversations(40))
    out = tmp_path / "store"
    line = [
        "--model",
        str(model),
        "--data",
        str(data),
        "--layers",
        "1,2",
        "--dtype",
        "float32",
        "--batch-tokens",
        "1",
    ]
    line += ["--shard-megabytes", "0.001"]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *line, "--out", str(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 100
    while len(list(out.glob("*/shard-*.json"))) < 5:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "datasets").exists()
    kept = Store(out).entries()[0].contents().rows
    assert 5 <= kept < 40
    done = capture(asked(model, data, out))
    assert (done.rows, done.computed) == (40, 40 - kept)
    capture(asked(model, data, tmp_path / "whole"))
    again, whole = stored(out, "a"), stored(tmp_path / "whole", "a")
    assert list(again) == list(whole)
    for row in whole:
        assert again[row][:2] == whole[row][:2]
        torch.testing.assert_close(again[row][2:], whole[row][2:], atol=1e-5, rtol=1e-4)
    contents = Store(out).entries()[0].contents()
    tokens = sum(len(whole[row][0]) for row in whole)
    assert (contents.rows, contents.tokens) == (40, tokens)
    assert sum(len(json.loads(p.read_text())["rows"]) for p in out.glob("*/shard-*.json")) == 40
    assert Store(out).verify() == []
