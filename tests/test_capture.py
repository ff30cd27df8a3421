"""From conversations to stored activations: forward passes, the command, several processes, kills."""

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
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    Qwen3Config,
    T5Config,
)

from probes.capture import capture, main
from probes.capture_settings import Settings
from probes.forward import (
    ActivationError,
    LayerReader,
    LoadOptions,
    Row,
    batches,
    load_model,
    transformer_blocks,
)
from probes.labels import DataError
from probes.store import Store, open_dataset
from probes.weights import WeightsError, adapter_digest, model_revision
from tests.chat_templates import byte_tokenizer
from tests.tiny_models import tiny_adapter, tiny_model
from tests.told import told

ROOT = Path(__file__).parent.parent
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
PRE_NORM = ["llama", "mistral", "qwen3", "gemma2", "gpt2"]


def fresh(name):
    torch.manual_seed(1)
    return AutoModel.from_config(ARCHITECTURES[name]).eval()


def drawn(*lengths):
    numbers = np.random.default_rng(0)
    return [Row(numbers.integers(1, 300, n).astype(np.int32), np.arange(n)) for n in lengths]


@torch.no_grad()
def alone(model, row):
    """The stream of one row without padding, embeddings first, from the library's own outputs."""
    ids = torch.from_numpy(row.token_ids)[None].long()
    return [h[0] for h in model(input_ids=ids, output_hidden_states=True).hidden_states]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padding_changes_nothing_and_layers_are_the_librarys(name):
    whole, rows = fresh(name), drawn(11, 3, 7)
    expected = [alone(whole, row) for row in rows]
    read = LayerReader(fresh(name), [0, 1, 2], "residual", torch.float32).read(rows)
    for row, streams in zip(read, expected, strict=True):
        for layer in (0, 1, 2):
            torch.testing.assert_close(row[layer], streams[layer], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_left_padding_gives_the_same(name):
    model, rows = fresh(name), drawn(9, 4)
    read = LayerReader(fresh(name), [2], "residual", torch.float32).read(rows)
    ids, mask = torch.zeros(2, 9, dtype=torch.long), torch.zeros(2, 9, dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, -len(row.token_ids) :] = torch.from_numpy(row.token_ids).long()
        mask[number, -len(row.token_ids) :] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        given = model(input_ids=ids, attention_mask=mask, position_ids=positions, output_hidden_states=True)
    for number, row in enumerate(rows):
        there = given.hidden_states[2][number, -len(row.token_ids) :]
        torch.testing.assert_close(read[number][2], there, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", PRE_NORM)
def test_the_last_layer_is_before_the_final_norm(name):
    (row,) = drawn(6)
    model = fresh(name)
    (read,) = LayerReader(fresh(name), [3], "residual", torch.float32).read([row])
    final = getattr(model, "norm", None) or model.ln_f
    expected = alone(model, row)[3]
    with torch.no_grad():
        torch.testing.assert_close(final(read[3]), expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(read[3], expected, atol=1e-2)


@pytest.mark.parametrize("name", PRE_NORM)
def test_normed_is_what_the_next_block_attends_with(name):
    rows = drawn(6, 2)
    model = fresh(name)
    blocks = transformer_blocks(model)
    norm = blocks[2].ln_1 if name == "gpt2" else blocks[2].input_layernorm
    seen = []
    norm.register_forward_hook(lambda module, given, output: seen.append(output[0]))
    expected = []
    for row in rows:
        alone(model, row)
        expected.append(seen[-1])
    read = LayerReader(fresh(name), [2], "normed", torch.float32).read(rows)
    for row, there in zip(read, expected, strict=True):
        torch.testing.assert_close(row[2], there, atol=1e-5, rtol=1e-4)


def test_the_encoder_of_an_encoder_decoder_can_be_read(tmp_path):
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=300, d_model=16, d_kv=4, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    AutoModel.from_config(config).save_pretrained(tmp_path)
    row = drawn(5)[0]
    (read,) = LayerReader(load_model(str(tmp_path), LoadOptions()), [1], "residual", torch.float32).read(
        [row]
    )
    expected = alone(AutoModel.from_pretrained(tmp_path).get_encoder(), row)
    torch.testing.assert_close(read[1], expected[1])


def test_blocks_above_the_last_layer_are_neither_run_nor_kept():
    model = fresh("llama")
    ran = []
    for number, block in enumerate(transformer_blocks(model)):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    model.norm.register_forward_hook(lambda *_: ran.append("norm"))
    reader = LayerReader(model, [2], "residual", torch.float32)
    reader.read(drawn(4))
    assert ran == [0, 1]
    assert len(model.layers) == 2


def test_only_the_kept_tokens_come_back_in_the_type_asked_for():
    (row,) = drawn(8)
    whole = LayerReader(fresh("llama"), [1], "residual", torch.float32).read([row])[0][1]
    kept = LayerReader(fresh("llama"), [1], "residual", torch.bfloat16).read(
        [row._replace(kept=np.array([2, 5]))]
    )[0]
    assert kept[1].dtype == torch.bfloat16
    torch.testing.assert_close(kept[1], whole[[2, 5]].bfloat16())


def spoiled(value):
    model = fresh("llama")
    with torch.no_grad():
        model.embed_tokens.weight[299] = value
    return model


def test_activations_that_are_not_finite_name_row_and_layer():
    rows = [
        Row(np.full(3, 7, dtype=np.int32), np.arange(3)),
        Row(np.array([8, 299], dtype=np.int32), np.arange(2)),
    ]
    for value, dtype, told_so in [
        (float("nan"), torch.float32, "layer 0 has NaN or infinite activations"),
        (
            1e5,
            torch.float16,
            "layer 0 has activations up to 100000, beyond the range of float16; store --dtype bfloat16",
        ),
    ]:
        with pytest.raises(ActivationError, match=told_so) as error:
            LayerReader(spoiled(value), [0, 1], "residual", dtype).read(rows)
        assert error.value.row == 1
    LayerReader(spoiled(1e5), [0], "residual", torch.bfloat16).read(rows)


@pytest.mark.parametrize(
    ("name", "layers", "point", "told_so"),
    [
        (
            "llama",
            [4],
            "residual",
            "no layer 4; the model has 3 blocks, so layers at point residual are 0 to 3",
        ),
        ("llama", [3], "normed", "layers at point normed are 0 to 2"),
        ("llama", [-1], "residual", "no layer -1"),
        ("llama", [], "residual", "no layers were named"),
        ("bert", [1], "normed", "no norm before the attention; use --point residual"),
    ],
)
def test_layers_that_are_not_there_are_refused(name, layers, point, told_so):
    with pytest.raises(WeightsError, match=told_so):
        LayerReader(fresh(name), layers, point, torch.float32)


def test_a_tokenizer_of_another_model_is_noticed():
    reader = LayerReader(fresh("llama"), [1], "residual", torch.float32)
    with pytest.raises(WeightsError, match="token 400, but the model has embeddings for 400"):
        reader.read([Row(np.array([400], dtype=np.int32), np.arange(1))])


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 900))
def test_batches_hold_every_row_once_within_the_budget_and_a_tenth_of_padding(lengths, budget):
    made = list(batches(lengths, budget))
    assert sorted(i for batch in made for i in batch) == list(range(len(lengths)))
    for batch in made:
        padded = max(lengths[i] for i in batch) * len(batch)
        assert len(batch) == 1 or padded <= budget
        assert sum(lengths[i] for i in batch) >= 0.9 * padded - 1e-6


def test_an_adapter_gives_the_activations_of_merged_weights(tmp_path):
    base = tiny_model(tmp_path / "base")
    adapter = tiny_adapter(base, tmp_path / "adapter", seed=3)
    rows = drawn(7, 4)
    plain = LayerReader(load_model(str(base), LoadOptions()), [1, 2], "residual", torch.float32).read(rows)
    options = LoadOptions(adapter=adapter)
    adapted = LayerReader(load_model(str(base), options), [1, 2], "residual", torch.float32).read(rows)
    from peft import PeftModel

    merged = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), str(adapter)
    ).merge_and_unload()
    expected = LayerReader(merged.model.eval(), [1, 2], "residual", torch.float32).read(rows)
    for row, there, without in zip(adapted, expected, plain, strict=True):
        torch.testing.assert_close(row[2], there[2], atol=1e-4, rtol=1e-4)
        assert not torch.allclose(row[2], without[2], atol=1e-2)


def test_an_adapter_of_another_model_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    base = tiny_model(tmp_path / "base")
    adapter = tiny_adapter(base, tmp_path / "adapter", seed=3)
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file(
        {k.replace("layers.1", "layers.7"): v.clone() for k, v in weights.items()},
        adapter / "adapter_model.safetensors",
    )
    with pytest.raises(WeightsError, match="weights have no counterpart"):
        load_model(str(base), LoadOptions(adapter=adapter))


def test_revisions_tell_weights_apart_but_not_places(tmp_path):
    first, second = tiny_model(tmp_path / "a"), tiny_model(tmp_path / "b", seed=1)
    (tmp_path / "c").mkdir()
    for file in first.iterdir():
        (tmp_path / "c" / file.name).write_bytes(file.read_bytes())
    revisions = [model_revision(str(f), None) for f in (first, second, tmp_path / "c")]
    assert revisions[0] == revisions[2] != revisions[1]
    assert model_revision("org/name", "abc") == "abc"
    adapters = [adapter_digest(tiny_adapter(b, tmp_path / n, seed=s)) for b, n, s in
                [(first, "x", 1), (tmp_path / "c", "y", 1), (first, "z", 2)]]  # fmt: skip
    assert adapters[0] == adapters[1] != adapters[2]
    with pytest.raises(WeightsError, match="no config.json"):
        model_revision(str(tmp_path), None)
    with pytest.raises(WeightsError, match="no adapter_config.json"):
        adapter_digest(first)


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
    return Settings(
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
        ids = tokenizer(tokenizer.apply_chat_template(row["messages"], tokenize=False))["input_ids"]
        kept = found.activations.token_ids(number)
        assert tokenizer.decode(kept) == f"well {number}"
        assert set(found.activations.message(number)) == {1}
        assert set(found.activations.role(number)) == {3}
        streams = alone(whole, Row(np.array(ids, dtype=np.int32), np.arange(len(ids))))
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
    assert tokenizer.decode(found.activations.token_ids(0)) == "well 0"
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
    assert main([*line, "--layrs", "3"]) == 1
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
from probes.forward import LayerReader
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
