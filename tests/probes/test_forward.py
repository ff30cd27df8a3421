"""Forward passes: what is read of them, whatever the padding, the architecture and the adapter."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    T5Config,
)

from probes.activations.forward import (
    ActivationError,
    LayerReader,
    LoadOptions,
    TokenRow,
    batches,
    load_model,
    transformer_blocks,
)
from probes.activations.weights import WeightsError, adapter_digest, model_revision
from tests.support.tiny_architectures import ARCHITECTURES, alone, fresh
from tests.support.tiny_models import tiny_adapter, tiny_model

PRE_NORM = ["llama", "mistral", "qwen3", "gemma2", "gpt2"]


def drawn(*lengths):
    numbers = np.random.default_rng(0)
    return [TokenRow(numbers.integers(1, 300, n).astype(np.int32), np.arange(n)) for n in lengths]


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
        TokenRow(np.full(3, 7, dtype=np.int32), np.arange(3)),
        TokenRow(np.array([8, 299], dtype=np.int32), np.arange(2)),
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
        reader.read([TokenRow(np.array([400], dtype=np.int32), np.arange(1))])


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
