"""Conversations in cells, in the forms that people have them in."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.files.conversation_cells import (
    ROLES,
    CellError,
    NoConversationError,
    looks_like_messages,
    messages_of,
)

CHAT = [{"role": "user", "content": 'it\'s } { "hi"\nthere'}, {"role": "assistant", "content": "ho"}]
SHARED = [{"from": "human", "value": CHAT[0]["content"]}, {"from": "gpt", "value": "ho"}]
PARTS = [{"role": "user", "content": [{"type": "text", "text": CHAT[0]["content"]}]}, CHAT[1]]
COLUMNS = {"role": ["user", "assistant"], "content": [CHAT[0]["content"], "ho"]}
TALK = f"\n\nHuman: {CHAT[0]['content']}\n\nAssistant: ho"


@pytest.mark.parametrize(
    "cell",
    [
        *(
            form
            for value in (CHAT, SHARED, PARTS, COLUMNS, {"messages": CHAT}, {"id": 3, "conversations": SHARED})
            for form in (value, json.dumps(value), f" {json.dumps(value, indent=1)}\n", repr(value))
        ),
        TALK,
        TALK.strip(),
        TALK.replace("\n\n", "\r\n\r\n"),
        [CHAT[0] | {"name": None, "tool_calls": None}, CHAT[1]],
        [{"role": " User", "content": CHAT[0]["content"]}, {"role": "ASSISTANT", "content": "ho"}],
    ],
)  # fmt: skip
def test_every_form_is_the_same_conversation(cell):
    assert messages_of(cell) == CHAT


def test_what_pandas_writes_of_lists_and_of_numpys_arrays(tmp_path):
    pandas = pytest.importorskip("pandas")
    parted = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    for chat, meant in ((CHAT, CHAT), (parted, [{"role": "user", "content": "a\nb"}])):
        frame = pandas.DataFrame({"chat": [chat]})
        frame.to_parquet(tmp_path / "a.parquet")
        for one in (frame, pandas.read_parquet(tmp_path / "a.parquet")):
            written = pandas.read_csv(io.StringIO(one.to_csv(index=False)))["chat"][0]
            assert messages_of(written) == meant


def test_other_texts_are_what_a_user_said():
    for text in ("hello", "Human: nobody answers", "see [1] and {2}", "  "):
        assert messages_of(text) == [{"role": "user", "content": text}]
    assert messages_of("[WP] a story", plain=True) == [{"role": "user", "content": "[WP] a story"}]
    assert messages_of(None) == messages_of([]) == messages_of("[]") == messages_of(float("nan")) == []


def test_a_transcript_that_ends_with_the_assistants_turn_asks_for_it():
    assert messages_of("\n\nHuman: hi\n\nAssistant:") == [{"role": "user", "content": "hi"}]


def test_tool_calls_of_both_forms():
    call = {"id": "1", "type": "function", "function": {"name": "book", "arguments": '{"seat": 7}'}}
    (told,) = messages_of([{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert told["tool_calls"][0]["function"] == {"name": "book", "arguments": {"seat": 7}}
    shared = [{"from": "function_call", "value": '{"name": "book", "arguments": {"seat": 7}}'}, {"from": "observation", "value": "done"}]  # fmt: skip
    first, second = messages_of(shared)
    assert first["tool_calls"][0]["function"] == {"name": "book", "arguments": {"seat": 7}}
    assert second == {"role": "tool", "content": "done"}


@pytest.mark.parametrize(
    "text",
    ["[see above] hello", "[1, 2]", '{"a": 1}', "{app}", '["a", "b"]', '[{"role": "user", "content": "cut',
     "[{'role': 'user', 'content': 'cut", "[" * 3000, "[print(1)]"],
)  # fmt: skip
def test_what_begins_like_a_conversation_and_is_none(text):
    with pytest.raises(NoConversationError) as error:
        messages_of(text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ([{"role": "narrator", "content": "x"}], "message 0: unknown role 'narrator'; known are"),
        ([CHAT[0], {"content": "x"}], "message 1: not an object with a role; it has content"),
        ([{"role": "user", "text": "x"}], "message 0: no content; it has role, text"),
        ([{"role": "user", "content": 3}], "message 0: content is int, not text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "part 0: holds something else than text: image"),
        (3, "int instead of a text"),
        ("\n\nHuman: a\n\nHuman: b", "message 1: a transcript of Human and Assistant, but not in turn"),
        ("\n\nAssistant: a", "message 0: a transcript"),
        ("\n\nHuman: a\n\nAssistant:\n\nHuman: b", "message 1: .* in which one says nothing"),
        ('[{"role": "user", "content": "\\ud800"}]', "0.content: half a character"),
        (r"[{'role': 'user', 'content': '\ud800'}]", "0.content: half a character"),
        ('[{"role": "user", "content": "a", "content": "b"}]', "content: this key is here twice"),
        ([{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}], "arguments of f are not JSON"),
        ([{"role": "assistant", "content": "", "tool_calls": [{}]}], "a tool call without function"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_conversation_is_named(cell, problem):
    with pytest.raises(CellError, match=problem):
        messages_of(cell)


def test_speakers_that_are_not_known_may_be_left_to_whoever_renders_them():
    cell = [{"from": "narrator", "value": "x"}, {"from": "human", "value": "y"}]
    assert [m["role"] for m in messages_of(cell, any_role=True)] == ["narrator", "user"]


def test_only_lists_of_messages_and_transcripts_look_like_some():
    for text in ('[{"role": "us', "[{'from':", '{"messages": [', TALK, TALK.strip()):
        assert looks_like_messages(text)
    for text in ("[WP] a story", '{"from": "Rome", "to": "Paris"}', '["a"]', "Human: nobody answers"):
        assert not looks_like_messages(text)


WHATEVER = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from(["user", "gpt", "[", "{'a': "]),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "messages", "tool_calls"]), inner
        )
    ),
    max_leaves=8,
)


@given(WHATEVER, st.sampled_from([lambda v: v, json.dumps, repr, lambda v: repr(v)[:-1], lambda v: f"[{v}"]))
def test_whatever_a_cell_holds_it_is_messages_or_one_line(value, written):
    found, said = [], ""
    try:
        found = messages_of(written(value))
    except CellError as error:
        said = str(error)
    assert "\n" not in said
    assert all(isinstance(m["content"], str) and m["role"] in set(ROLES.values()) for m in found)
