"""Which token belongs to whom, for the template shapes of five families."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

from probes.conversations.conversation import Conversation
from probes.tokens.rendering import PLAIN, Renderer
from probes.tokens.roles import ROLES
from probes.tokens.rules import TokenRule
from providers.chat.choice import TemplateChoice
from providers.chat.errors import ChatTemplateError
from providers.local.speech import Speech
from tests.support.chat_templates import CHATML, FAMILIES, GEMMA, LLAMA, MISTRAL, QWEN, byte_tokenizer

TOOLS = [
    {
        "type": "function",
        "function": {"name": "book", "description": "Books.", "parameters": {"type": "object"}},
    }
]
ODD = "שלום 你好 é\u0301 👩‍👩‍👧 ‮x"


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def calling(content="", *names):
    calls = [
        {"type": "function", "id": "123456789", "function": {"name": n, "arguments": {"seat": "7ä"}}}
        for n in names
    ]
    return said("assistant", content, tool_calls=calls)


TALK = [
    said("system", " Be kind. "),
    said("user", "hello\n"),
    said("assistant", f"well {ODD} "),
    said("user", "hello\n"),
    said("assistant", f"well {ODD} "),
]
TALK_SPANS = {
    "llama": ["Be kind.<|eot|>", "hello<|eot|>", f"well {ODD}<|eot|>"],
    "qwen": [" Be kind. <|im_end|>", "hello\n<|im_end|>", f"well {ODD} <|im_end|>"],
    "gemma": ["Be kind.", "hello</turn>", f"well {ODD}</turn>"],
    "mistral": [" Be kind. ", "hello\n[/INST]", f"well {ODD}</s>"],
    "chatml": [" Be kind. <|im_end|>", "hello\n<|im_end|>", f"well {ODD} <|im_end|>"],
}

CALLS = [
    said("system", "Be kind."),
    said("user", "hello"),
    calling("", "book"),
    said("tool", 'so"ld', name="book", tool_call_id="123456789"),
    said("tool", "", name="book", tool_call_id="123456789"),
    calling("again", "book", "book"),
    said("tool", "hello", name="book", tool_call_id="123456789"),
    said("assistant", "hello"),
]
CALL_SPANS = {
    "llama": [
        "Be kind.<|eot|>", "hello<|eot|>", '{"name": "book", "parameters": {"seat": "7ä"}}<|eot|>', 'so\\"ld"<|eot|>', "",
        '{"name": "book", "parameters": {"seat": "7ä"}}{"name": "book", "parameters": {"seat": "7ä"}}<|eot|>',
        'hello"<|eot|>', "hello<|eot|>",
    ],
    "qwen": [
        "Be kind.<|im_end|>", "hello<|im_end|>", '<call>\n{"name": "book", "arguments": {"seat": "7ä"}}\n</call><|im_end|>',
        'so"ld\n</result>', "",
        'again\n<call>\n{"name": "book", "arguments": {"seat": "7ä"}}\n</call>\n<call>\n{"name": "book", "arguments": {"seat": "7ä"}}\n</call><|im_end|>',
        "hello\n</result><|im_end|>", "hello<|im_end|>",
    ],
    "mistral": [
        "Be kind.", "hello[/INST]", '[CALLS][{"name": "book", "arguments": {"seat": "7ä"}}]</s>', 'so"ld}[/RESULT]', "",
        '[CALLS][{"name": "book", "arguments": {"seat": "7ä"}}{"name": "book", "arguments": {"seat": "7ä"}}]</s>',
        " hello}[/RESULT]", " hello</s>",
    ],
    "chatml": [
        "Be kind.<|im_end|>", "hello<|im_end|>", 'CALL book {"seat": "7ä"}<|im_end|>', 'so"ld<|im_end|>', "",
        'againCALL book {"seat": "7ä"}CALL book {"seat": "7ä"}<|im_end|>', "hello<|im_end|>", "hello<|im_end|>",
    ],
}  # fmt: skip


def renderer(template, **options):
    return Renderer(byte_tokenizer(template), **options)


def talk(messages, tools=None):
    return Conversation("row", messages, tools)


def of_messages(made, messages, tools=None):
    """Text of each message's tokens."""
    row = made.render(talk(messages, tools))
    return [made.tokenizer.decode(row.token_ids[row.message == i]) for i in range(len(messages))]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_token_of_a_dialogue_knows_its_message_and_role(family):
    made = renderer(FAMILIES[family])
    system, user, assistant = TALK_SPANS[family]
    # the last reply is as it was generated, also where the template would trim it
    last = f"well {ODD} " + assistant.removeprefix(f"well {ODD}").lstrip()
    assert of_messages(made, TALK) == [system, user, assistant, user, last]
    row = made.render(talk(TALK))
    assert made.tokenizer.decode(row.token_ids) == made.text(talk(TALK)).text
    roles = [ROLES.index(m["role"]) for m in TALK]
    assert [roles[m] if m >= 0 else 0 for m in row.message] == row.role.tolist()


@pytest.mark.parametrize("family", CALL_SPANS)
def test_tool_calls_and_results_belong_to_their_messages_and_headers_to_none(family):
    made = renderer(FAMILIES[family])
    assert of_messages(made, CALLS, TOOLS) == CALL_SPANS[family]
    row = made.render(talk(CALLS, TOOLS))
    headers = made.tokenizer.decode(row.token_ids[row.message == -1])
    assert ('"description": "Books."' in headers) == (family != "chatml")
    assert "ld" not in headers
    assert "again" not in headers


words = st.text(st.characters(codec="utf-8", exclude_characters="<>[]"), max_size=12).filter(
    lambda text: "zqMark" not in text
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    texts=st.lists(words.filter(str.strip), min_size=1, max_size=5), family=st.sampled_from(sorted(FAMILIES))
)
def test_the_tokens_of_a_message_are_its_words_whatever_they_are(texts, family):
    made = RENDERERS[family]
    messages = [said(("user", "assistant")[i % 2], text) for i, text in enumerate(texts)]
    for text, found in zip(texts, of_messages(made, messages), strict=True):
        # a token may join the template's last line break to the first of the message
        assert text.strip() in found
        assert len(found.strip()) <= len(text) + len("<|im_end|>") + 1


RENDERERS = {family: renderer(template) for family, template in FAMILIES.items()}


@pytest.mark.parametrize("template", [QWEN, GEMMA, CHATML])
def test_the_text_is_what_the_local_provider_prompts_with(template):
    tokenizer = byte_tokenizer(template)
    said_there = [
        ChatMessageSystem(content="Be kind."),
        ChatMessageUser(content="hello"),
        ChatMessageAssistant(content="well"),
        ChatMessageUser(content="and you?"),
    ]
    ours = Renderer(tokenizer).render(talk([said(m.role, m.text) for m in said_there])).token_ids.tolist()
    prompt = Speech(tokenizer, [], TemplateChoice(), "tiny").prompt(said_there).tokens
    assert prompt[: len(ours)] == ours
    assert tokenizer.decode(prompt[len(ours) :]) in ("<|im_start|>assistant\n", "<turn>model\n")


def test_thoughts_that_a_template_takes_out_have_no_tokens_and_others_are_the_assistants():
    thought = "<think>\nhm\n</think>\n\nwell"
    messages = [said("user", "a"), said("assistant", thought), said("user", "b"), said("assistant", thought)]
    assert of_messages(renderer(QWEN), messages)[1::2] == [
        "well<|im_end|>",
        "hm\n</think>\n\nwell<|im_end|>",
    ]
    assert of_messages(renderer(CHATML), messages)[1::2] == [f"{thought}<|im_end|>"] * 2
    separate = [said("user", "a"), said("assistant", "well", reasoning_content="hm")]
    assert of_messages(renderer(QWEN), separate)[1] == "hm\n</think>\n\nwell<|im_end|>"


def test_an_empty_message_has_no_tokens_and_its_neighbours_keep_theirs():
    messages = [said("user", "a"), said("assistant", ""), said("user", " \n"), said("assistant", "")]
    assert of_messages(renderer(LLAMA), messages) == ["a<|eot|>", "", "", ""]


@pytest.mark.parametrize("family", FAMILIES)
def test_bos_stands_once(family):
    made = renderer(FAMILIES[family])
    ids = made.render(talk(TALK)).token_ids
    assert (ids == made.tokenizer.bos_token_id).sum() == (family not in ("qwen", "chatml"))


def test_without_a_template_the_rendering_is_plain_with_the_tokenizers_own_bos():
    made = renderer(None)
    messages = [said("user", "hello"), calling("well", "book"), said("tool", "ok"), said("assistant", "")]
    assert made.identity == PLAIN
    assert made.text(talk(messages, TOOLS)).text == (
        'tools: book\n\nuser: hello\n\nassistant: well\nbook(seat="7ä")\n\ntool: ok\n\nassistant: '
    )
    # a token may hold the space before a word, never a part of another message
    assert [t.strip() for t in of_messages(made, messages, TOOLS)] == [
        "hello",
        'well\nbook(seat="7ä")',
        "ok",
        "",
    ]
    ids = made.render(talk(messages)).token_ids
    assert ids[0] == made.tokenizer.bos_token_id
    assert (ids == ids[0]).sum() == 1


def test_an_encoders_cls_and_sep_belong_to_nobody():
    made = Renderer(byte_tokenizer(None, encoder=True))
    row = made.render(talk([said("user", "hello")]))
    assert made.tokenizer.decode(row.token_ids[[0, -1]]) == "<cls><sep>"
    assert row.message[[0, -1]].tolist() == [-1, -1]


def test_the_identity_names_template_and_variables():
    kinds = [
        renderer(CHATML).identity,
        renderer(QWEN).identity,
        Renderer(byte_tokenizer(None), template=CHATML).identity,
        renderer(CHATML, options={"x": 1}).identity,
        Renderer(byte_tokenizer(CHATML), template="plain").identity,
    ]
    assert kinds[0] == kinds[2]
    assert len(set(kinds)) == 4
    assert kinds[4] == PLAIN


def test_a_template_that_asks_for_the_date_is_told_the_same_one_every_day():
    assert "It is 26 Jul 2024." in renderer(LLAMA).text(talk(TALK)).text


@pytest.mark.parametrize(
    ("template", "messages", "told"),
    [
        (GEMMA, [said("user", "a"), said("user", "b")], r"refuses \['user', 'user'\]: roles must alternate"),
        (CHATML, [said("critic", "a")], "message 0 is of role 'critic'; there are system, user"),
        (CHATML, [said("user", "zqMarkzq")], "contains 'zqMarkzq'"),
        (CHATML.replace("m['content']", "m['content'] + m['content']"), TALK, "shows message 0 twice"),
        (CHATML.replace("m['content']", "m['content']|upper"), TALK, "drops messages of"),
        (
            CHATML.replace("m['content']", "(m['content'] if m['role'] == 'user' else '')"),
            TALK[1:],
            r"drops messages of \['assistant'\]",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_told_apart_is_an_error(template, messages, told):
    with pytest.raises(ChatTemplateError, match=told):
        renderer(template).text(talk(messages))


def test_a_slow_tokenizer_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ChatTemplateError, match="needs a fast one"):
        Renderer(Slow())


def test_truncation_keeps_the_latest_and_bos_or_the_earliest_and_counts():
    whole = renderer(MISTRAL).render(talk(TALK))
    n = len(whole.token_ids)
    left = renderer(MISTRAL, max_tokens=n - 7).render(talk(TALK))
    assert left.token_ids.tolist() == [whole.token_ids[0], *whole.token_ids[8:]]
    assert left.message.tolist() == [-1, *whole.message[8:]]
    assert left.cut == 7
    right = renderer(MISTRAL, max_tokens=n - 7, truncation="right").render(talk(TALK))
    assert right.token_ids.tolist() == whole.token_ids[: n - 7].tolist()
    assert (left.cut_at_end, right.cut_at_end) == (False, True)
    assert renderer(MISTRAL, max_tokens=n).render(talk(TALK)).cut == 0


def test_a_single_text_loses_its_end_and_a_dialogue_its_beginning():
    document = talk([{"role": "user", "content": "In short: call a doctor. " + "And so on. " * 9}])
    whole = renderer(MISTRAL).render(document).token_ids
    cut = renderer(MISTRAL, max_tokens=8).render(document)
    assert (cut.token_ids.tolist(), cut.cut_at_end) == (whole[:8].tolist(), True)
    kept = renderer(MISTRAL, max_tokens=8, truncation="left").render(document).token_ids
    assert kept[1:].tolist() == whole[-7:].tolist()
    dialogue = renderer(MISTRAL, max_tokens=8).render(talk(TALK))
    assert not dialogue.cut_at_end


# system, user, assistant, tool, assistant, user, user, assistant; two tokens each, and one of no message in front
ROLES_OF = ["system", "user", "assistant", "tool", "assistant", "user", "user", "assistant"]
MESSAGE = np.array([-1, *np.repeat(np.arange(8), 2)])


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("all", [-1, 0, 1, 2, 3, 4, 5, 6, 7]),
        ("assistant", [2, 4, 7]),
        ("tool, user", [1, 3, 5, 6]),
        ("from=0", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("from=4", [4, 5, 6, 7]),
        ("last=1", [5, 6, 7]),
        ("last=2", [1, 2, 3, 4, 5, 6, 7]),
        ("last=9", [1, 2, 3, 4, 5, 6, 7]),
        ("assistant,last=1", [7]),
        ("from=6,last=2,user", [6]),
        ("from=8", []),
    ],
)
def test_a_rule_keeps_the_tokens_it_names(rule, kept):
    positions = TokenRule.parse(rule).select(MESSAGE, ROLES_OF)
    assert positions.tolist() == [i for i, m in enumerate(MESSAGE) if m in kept]


def test_rules_have_one_text_whatever_the_order():
    assert str(TokenRule.parse("last=2, tool,user ,from=01")) == "user,tool,from=1,last=2"
    assert str(TokenRule.parse("all")) == "all"
    assert TokenRule.parse(str(TokenRule.parse("assistant,user"))) == TokenRule.parse("user,assistant")


@pytest.mark.parametrize(
    "rule", ["", "all,user", "users", "last=0", "from=-1", "from=x", "user,user", "last=1,last=2"]
)
def test_a_rule_that_is_none_is_an_error(rule):
    with pytest.raises(ValueError, match="token rule"):
        TokenRule.parse(rule)


def test_without_a_user_the_conversation_is_one_turn():
    rule = TokenRule.parse("last=1")
    assert rule.select(np.array([0, 1, 2]), ["system", "assistant", "assistant"]).tolist() == [1, 2]
