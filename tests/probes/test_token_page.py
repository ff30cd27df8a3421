import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from probes.activations.shards.writing_shards import CapturedRow
from probes.activations.store import DatasetCard, DatasetRow, Store, save_dataset
from probes.evaluation.pages.token_texts import TokenizerError, conversation_texts, token_groups
from probes.token_page import choose, main
from probes.tokens.roles import ROLES
from tests.support.evaluated_rows import saved
from tests.support.stored_rows import spec
from tests.support.tiny_models import tiny_tokenizer

BYTES = tiny_tokenizer()
UNTRUSTED = "<script>alert('x')</script> & {{ 7*7 }}"


def pieces(text):
    core = Tokenizer(
        models.WordPiece(
            {w: i for i, w in enumerate(["[UNK]", "don", "t", "'", "walk", "##ing", "now"])},
            unk_token="[UNK]",
        )
    )
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # pyright: ignore
    core.decoder = decoders.WordPiece()  # pyright: ignore
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="[UNK]")
    ids = np.array(tokenizer(text)["input_ids"])
    return token_groups(tokenizer, ids, np.zeros_like(ids))


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\ufffd"), max_size=40))
def test_pieces_of_bytes_make_up_the_text(text):
    ids = np.array(BYTES(text)["input_ids"], dtype=np.int32)
    if not len(ids):
        return
    found = token_groups(BYTES, ids, np.zeros_like(ids))
    assert "".join(piece for piece, _ in found) == text
    assert sum(count for _, count in found) == len(ids)


def test_a_character_of_several_tokens_is_one_piece():
    ids = np.array(BYTES("a🙂b")["input_ids"])
    assert [p for p, _ in token_groups(BYTES, ids, np.zeros_like(ids))] == ["a", "🙂", "b"]


def test_pieces_of_words_are_joined_and_words_keep_their_space():
    assert pieces("walking now") == [("walk", 1), ("ing", 1), (" now", 1)]
    # decoding would make "don't" of the last two, which no prefix of it shows
    assert "".join(p for p, _ in pieces("don't walk")).replace(" ", "") == "don'twalk"


def test_a_message_begins_anew():
    ids = np.array(BYTES("ab")["input_ids"])
    assert [p for p, _ in token_groups(BYTES, ids, np.array([0, 1]))] == ["a", "b"]


def test_ids_of_another_tokenizer_are_refused():
    with pytest.raises(TokenizerError, match="token 99999 is not in the tokenizer"):
        token_groups(BYTES, np.array([99_999]), np.array([0]))


def test_of_each_kind_the_most_telling_are_chosen():
    labels = np.array([1, 1, 1, 0, 0, 0, 0.5])
    logits = np.array([3.0, -2.0, -1.0, 2.0, 1.0, -3.0, 9.0])
    found = choose(labels, logits, 0.0, 4)
    assert [(one.row, one.why) for one in found] == [
        (3, "false alarm"), (1, "missed"), (0, "flagged"), (5, "passed"),
    ]  # fmt: skip
    assert len(choose(labels, logits, 0.0, 50)) == 6
    assert [one.row for one in choose(labels, logits, 99.0, 2)] == [1, 5]


def captured(root, texts, per_token):
    """One conversation for each list of (role, text); `per_token` gives a token's activation by its text."""
    entry = Store(root).entry(spec(dtype="float32"))
    rows, table = [], []
    for i, messages in enumerate(texts):
        ids, message, role = [], [], []
        for number, (who, text) in enumerate(messages):
            own = BYTES(text)["input_ids"]
            ids += own
            message += [number if who != "none" else -1] * len(own)
            role += [ROLES.index(who)] * len(own)
        values = torch.tensor([[per_token(BYTES.decode([n])), 0.0] for n in ids])
        rows.append(
            CapturedRow(
                f"k{i}",
                np.array(ids, np.int32),
                np.array(message, np.int32),
                np.array(role, np.uint8),
                {4: values},
            )
        )
        table.append(
            DatasetRow(
                id=f"row <{i}>", key=f"k{i}", label=float(i % 2), group=str(i), n_tokens=len(ids), truncated=3 * i,
                facts={"topic": "a & b"},
            )
        )  # fmt: skip
    entry.write(rows)
    save_dataset(root, "mt", table, DatasetCard(spec=entry.spec.key, source="mt.jsonl"))
    return f"{root}/mt"


def page_of(tmp_path, *options, threshold=1.0):
    data = captured(
        tmp_path / "store",
        [
            [("user", "hello Q"), ("none", "##"), ("assistant", UNTRUSTED)],
            [("user", "z there"), ("assistant", "grüße 🙂")],
        ],
        lambda text: {"Q": 9.0, "z": -7.0}.get(text, 1.0),
    )
    BYTES.save_pretrained(tmp_path / "tokenizer")
    monitor = saved(tmp_path / "mean-layer4", threshold=threshold)
    out = tmp_path / "page.html"
    code = main(
        [
            "--monitor",
            str(monitor),
            "--data",
            data,
            "--tokenizer",
            str(tmp_path / "tokenizer"),
            "--out",
            str(out),
        ]
        + [str(option) for option in options]
    )
    return code, out


def test_tokens_are_coloured_by_their_scores(tmp_path):
    code, out = page_of(tmp_path)
    assert code == 0
    page = out.read_text()
    # the middle is the threshold, 1: Q lies 8 above it and z 8 below
    assert re.search(r'<i class="s12" title="\+9\.00">Q</i>', page)
    assert re.search(r'<i class="s0" title="-7\.00">z</i>', page)
    assert re.search(r'<i title="\+1\.00">hello', page)
    assert re.findall(r'<div class="who">(\w+)', page).count("assistant") == 2
    assert '<div class="message between">' in page
    assert "3 were cut off" in page
    assert "grüße 🙂" in re.sub(r"</?i[^>]*>", "", page)


def test_texts_cannot_leave_their_place(tmp_path):
    _, out = page_of(tmp_path)
    page = out.read_text()
    assert "<script" not in page
    assert "Content-Security-Policy" in page
    assert "default-src 'none'" in page
    shown = re.sub(r"</?i[^>]*>", "", page)
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; {{ 7*7 }}" in shown
    assert "row &lt;0&gt;" in page
    assert "topic a &amp; b" in page
    assert not re.search(r"(src|href)=", page)


def test_conversations_are_asked_for_by_id(tmp_path, capsys):
    code, out = page_of(tmp_path, "--ids", "row <1>", threshold=None)
    assert code == 0
    page = out.read_text()
    assert page.count("<article>") == 1
    assert "Asked for" in page
    assert "this monitor has no threshold" in page
    code, _ = page_of(tmp_path / "again", "--ids", "nobody")
    assert code == 1
    assert "no labelled conversation 'nobody'" in capsys.readouterr().err


def test_texts_are_those_of_the_kept_tokens(tmp_path):
    data = captured(tmp_path, [[("user", "hello there")], [("user", "how are you")]], lambda _: 0.0)
    store = Store(data.rpartition("/")[0])
    (entry,) = store.entries()
    assert conversation_texts(BYTES, entry.open(["k1", "k0"], [4])) == ["how are you", "hello there"]
