import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from analysis.ranking import auroc
from probes.baselines import main
from probes.conversations.labels import DataError
from probes.finetuned.baseline import load_baseline
from probes.finetuned.networks import block_alone, last_block, states_before_last
from probes.finetuned.rows import TRAINED_ON, drawn_pairs, tokenized, training_rows
from probes.finetuned.settings import FitSettings
from probes.finetuned.training import padding_token
from probes.laboratory.rows import StakesRow, write_rows
from probes.tokens.rendering import Renderer
from tests.support.tiny_models import TEMPLATE, tiny_model, tiny_tokenizer

KINDS = ("lora", "full", "last-block")
RATES = {"lora": 0.01, "full": 0.002, "last-block": 0.01}


def row(number, split, label=None):
    label = number % 2 if label is None else label
    words = "you you you you" if label else "hello hello hello"
    messages = [{"role": "user", "content": f"{words} {number}"}]
    facts = {} if split is None else {"split": split}
    return StakesRow(
        id=f"{split}{number}", pair=f"{split}{number // 2}", messages=messages, label=label, facts=facts
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_rows(path, [row(n, "train") for n in range(24)] + [row(n, "test") for n in range(100, 112)])
    return path


def fit(base, data, out, *more, kind="lora", rate=None):
    options = [
        "--model",
        base,
        "--kind",
        kind,
        "--out",
        out,
        "--learning-rate",
        rate or RATES[kind],
        "--device",
        "cpu",
    ]
    return main(
        [
            "fit",
            "--data",
            str(data),
            *map(str, options),
            "--epochs",
            "12",
            "--accumulation",
            "1",
            *map(str, more),
        ]
    )


def results(folder):
    return json.loads((folder / "results.json").read_text())


def score_lines(folder):
    return [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_baseline_learns_what_tells_the_classes_and_is_saved_without_pickle(
    base, data, tmp_path, kind, capsys
):
    out = tmp_path / kind
    assert fit(base, data, out, kind=kind) == 0
    (found,) = results(out)
    assert (found["monitor"], found["head"], found["dataset"]) == (kind, kind, "rows:split=test")
    assert (found["n_positive"], found["n_negative"]) == (6, 6)
    assert found["auroc"] > 0.8
    lines = score_lines(out)
    scores = np.array([line["scores"][kind]["score"] for line in lines])
    labels, groups = np.array([line["label"] for line in lines], float), [line["group"] for line in lines]
    assert found["auroc_low"] == auroc(labels, scores, groups).low
    assert found["flops"] == pytest.approx(np.mean([line["cost"][kind]["flops"] for line in lines]))
    assert not [path for path in out.rglob("*") if path.suffix in (".bin", ".pt", ".pkl", ".pth")]
    assert list(out.glob("*.safetensors"))
    assert "24 rows" in capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_baseline_scores_the_same_again_and_in_other_batches(base, data, tmp_path, kind):
    out = tmp_path / "baseline"
    fit(base, data, out, kind=kind)
    again = tmp_path / "again"
    given = ["--baseline", out, "--data", f"{data}:split=test", "--out", again, "--batch-tokens", "1"]
    assert main(["score", *map(str, given)]) == 0
    for first, second in zip(score_lines(out), score_lines(again), strict=True):
        assert first["scores"][kind]["score"] == pytest.approx(second["scores"][kind]["score"], abs=1e-5)


@pytest.mark.parametrize("kind", ["full", "last-block"])
def test_computing_in_bfloat16_leaves_the_weights_as_fine_as_they_were(base, data, tmp_path, kind):
    for name, more in {"exact": [], "fast": ["--autocast", "true"]}.items():
        assert fit(base, data, tmp_path / name, *more, kind=kind) == 0
    (found,) = results(tmp_path / "fast")
    assert found["auroc"] > 0.8
    (path,) = (tmp_path / "fast").glob("*.safetensors")
    weights = [weight for weight in load_file(path).values() if weight.ndim > 1]
    assert all(weight.dtype == torch.float32 for weight in weights)
    assert any(not torch.equal(weight, weight.bfloat16().float()) for weight in weights)
    exact, fast = (
        [line["scores"][kind]["score"] for line in score_lines(tmp_path / n)] for n in ("exact", "fast")
    )
    assert exact != fast
    assert fast == [float(torch.tensor(score).bfloat16()) for score in fast], "logits are computed so, too"


def test_a_cpu_that_only_imitates_bfloat16_is_told_of_before(base, data, tmp_path, monkeypatch, capsys):
    for has_it, told in ((False, True), (True, False)):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda has=has_it: has)
        fit(base, data, tmp_path / str(has_it), "--autocast", "true", kind="last-block")
        assert ("has no bfloat16 arithmetic" in capsys.readouterr().err) is told


def test_the_same_seed_gives_the_same_baseline_and_another_seed_another(base, data, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fit(base, data, tmp_path / name, "--seed", seed)
    a, b, c = ([line["scores"]["lora"]["score"] for line in score_lines(tmp_path / name)] for name in "abc")
    assert a == b != c


def test_pairs_and_conversations_that_were_trained_on_are_left_out_and_counted(base, data, tmp_path):
    out = tmp_path / "baseline"
    fit(base, data, out)
    other = tmp_path / "other.jsonl"
    copy = row(3, "train").model_copy(update={"id": "copy", "pair": "elsewhere"})
    write_rows(other, [copy, row(1, None, 1), row(200, None, 0)])
    given = ["--baseline", out, "--data", data, other, "--out", tmp_path / "scored"]
    assert main(["score", *map(str, given)]) == 0
    whole, second = results(tmp_path / "scored")
    assert whole["excluded"] == {TRAINED_ON: 24}
    # "you you you you 1" was trained on under another id
    assert second["excluded"] == {TRAINED_ON: 2}
    assert second["auroc"] is None  # one class is left, and a table says so
    assert second["n_negative"] == 1


def test_the_last_block_alone_does_what_it_does_in_the_whole(base, data):
    settings = FitSettings(data=[str(data)], model=str(base), kind="last-block", out=Path("unused"))
    network = last_block(settings)
    rows = [np.array([3, 5, 4, 6], dtype=np.int32), np.array([5, 4], dtype=np.int32)]
    whole = AutoModel.from_pretrained(base)(
        input_ids=torch.from_numpy(rows[0]).long()[None]
    ).last_hidden_state
    (states, _) = states_before_last(network, rows, torch.device("cpu"))
    assert block_alone(network, rows, torch.device("cpu"))
    mask = torch.ones(1, 4, dtype=torch.long)
    alone = network.model(inputs_embeds=states[None], attention_mask=mask).last_hidden_state
    assert torch.allclose(whole, alone, atol=1e-5)
    assert {name.split(".")[1] for name in network.trained() if name.startswith("model.")} == {
        "layers",
        "norm",
    }


@pytest.mark.parametrize("make", ["gpt2", "bert"])
def test_models_that_add_positions_to_what_they_are_given_run_whole(tmp_path, data, make):
    tokenizer = tiny_tokenizer(None)
    if make == "gpt2":
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=128)
        )
    else:
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        model = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes))
    model.save_pretrained(tmp_path / make)
    tokenizer.save_pretrained(tmp_path / make)
    assert fit(tmp_path / make, data, tmp_path / "out", kind="last-block") == 0
    assert not load_baseline(tmp_path / "out").card.alone
    assert results(tmp_path / "out")[0]["n_positive"] == 6


def test_rows_that_are_too_long_are_cut_and_counted(base, data, tmp_path):
    fit(base, data, tmp_path / "out", "--max-tokens", 8)
    card = load_baseline(tmp_path / "out").card
    assert card.training["rows_cut"] == 24
    assert card.training["longest"] == 8
    assert card.training["tokens"] == 24 * 8
    assert 0 < card.training["tokens_cut"] <= 24 * (card.training["longest_before_cutting"] - 8)


def test_pairs_are_drawn_whole_by_the_seed():
    rows = [row(n, "train") for n in range(20)]
    drawn = drawn_pairs(rows, 7, seed=3)
    assert len(drawn) == 6
    assert {r.pair for r in drawn} == {r.pair for r in drawn_pairs(rows, 7, seed=3)}
    assert {r.pair for r in drawn} != {r.pair for r in drawn_pairs(rows, 7, seed=4)}
    assert all(sum(r.pair == pair for r in drawn) == 2 for pair in {r.pair for r in drawn})


def test_padding_is_a_token_that_no_row_has():
    rows = [np.array([0, 1, 2]), np.array([4])]
    assert padding_token(rows, 7, 10) == 7
    assert padding_token(rows, 2, 10) == 3
    with pytest.raises(ValueError, match="no token is left"):
        padding_token([np.arange(4)], None, 4)


def test_two_files_may_call_different_pairs_alike(tmp_path):
    for name in ("a", "b"):
        write_rows(tmp_path / f"{name}.jsonl", [row(n, None) for n in range(4)])
    rows = training_rows([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")])
    assert len({r.pair for r in rows}) == 4
    assert len({r.id for r in rows}) == 8


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            ["fit", "--data", "{one}", "--model", "{base}", "--out", "{out}"],
            "0 rows of high stakes and 4 of low",
        ),
        (["fit", "--data", "{data}:split=dev", "--model", "{base}", "--out", "{out}"], "no row of split dev"),
        (
            ["fit", "--data", "{data}:split=tset", "--model", "{base}", "--out", "{out}"],
            "'tset' is none of train",
        ),
        (["fit", "--data", "{data}", "--model", "{out}/none", "--out", "{out}"], "--model"),
        (["score", "--baseline", "{out}", "--data", "{data}", "--out", "{out}"], "no baseline.json"),
    ],
)
def test_what_is_wrong_is_one_line(base, data, tmp_path, capsys, options, problem):
    one = tmp_path / "one.jsonl"
    write_rows(one, [row(n, None, 0) for n in range(4)])
    given = [o.format(one=one, base=base, data=data, out=tmp_path / "out") for o in options]
    assert main(given) == 1
    told = capsys.readouterr().err
    assert problem in told
    assert told.count("\n") == 1


def test_a_command_that_is_none_and_another_model(base, data, tmp_path, capsys):
    assert main(["train"]) == 2
    assert "first fit or score" in capsys.readouterr().err
    fit(base, data, tmp_path / "out")
    other = tiny_model(tmp_path / "other", seed=5)
    capsys.readouterr()
    given = ["--baseline", tmp_path / "out", "--data", data, "--out", tmp_path / "s", "--model", other]
    assert main(["score", *map(str, given)]) == 1
    assert "was fitted on" in capsys.readouterr().err


def test_rows_whose_roles_the_chat_template_does_not_take_are_counted(tmp_path):
    alternating = (
        "{%- for m in messages -%}{%- if not loop.first and loop.previtem['role'] == m['role'] -%}"
        "{{- raise_exception('roles must alternate') -}}{%- endif -%}{%- endfor -%}" + TEMPLATE
    )
    folder = tiny_model(tmp_path / "tiny", template=alternating)
    rows = [row(n, "train") for n in range(4)]
    told = [*rows[0].messages, {"role": "user", "content": "Are you there?"}]
    renderer = Renderer(AutoTokenizer.from_pretrained(folder), source=str(folder))
    found = tokenized("rows", [rows[0].model_copy(update={"messages": told}), *rows[1:]], renderer)
    assert (len(found.rows), found.excluded) == (3, {"the chat template cannot render it": 1})
    with pytest.raises(DataError, match="rows: no row is left: 1 the chat template cannot render it"):
        tokenized("rows", [rows[0].model_copy(update={"messages": told})], renderer)


def test_rows_without_a_label_are_counted(base, data):
    settings = FitSettings(data=[str(data)], model=str(base), out=Path("unused"))
    from probes.finetuned.baseline import _renderer

    renderer, _ = _renderer(settings)
    unlabelled = row(1, None).model_copy(update={"label": None})
    read = tokenized("set", [unlabelled, row(2, None)], renderer)
    assert (len(read.rows), read.excluded) == (1, {"not labelled": 1})
