"""Tools for models in this process: what the template shows, and what is read from the answer."""

import json

import pytest
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
)
from inspect_ai.tool import ToolCall, ToolCallError, ToolInfo, ToolParam, ToolParams

from providers.local.chat import Chat, ChatTemplateError
from providers.local.tool_calls import read_tool_calls
from tests.tiny_models import tiny_tokenizer

TOOLS = [
    ToolInfo(
        name="book",
        description="Books a seat.",
        parameters=ToolParams(properties={"seat": ToolParam(type="string")}, required=["seat"]),
    )
]

TEMPLATE = (
    "{%- if tools -%}{{- 'TOOLS ' + tools | tojson + '\n' -}}{%- endif -%}"
    "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\n' + m['content'] -}}"
    "{%- for c in m['tool_calls'] or [] -%}{{- 'CALL ' + c['function']['name'] + ' ' + c['function']['arguments'] | tojson -}}{%- endfor -%}"
    "{{- '<|im_end|>\n' -}}{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)

MESSAGES = [
    ChatMessageSystem(content="You book."),
    ChatMessageUser(content="A seat, please."),
    ChatMessageAssistant(
        content="", tool_calls=[ToolCall(id="1", function="book", arguments={"seat": "7ä"})]
    ),
    ChatMessageTool(
        content="", tool_call_id="1", function="book", error=ToolCallError("unknown", "Sold out.")
    ),
]


def rendered(template, tools=TOOLS):
    tokenizer = tiny_tokenizer(template)
    return tokenizer.decode(Chat(tokenizer, None, "tiny").tokens(MESSAGES, tools))


def test_the_model_sees_its_tools_its_calls_and_their_results():
    text = rendered(TEMPLATE)
    assert json.loads(text.split("TOOLS ")[1].split("\n")[0])[0]["function"]["name"] == "book"
    assert 'CALL book {"seat": "7ä"}' in text
    assert "tool\nSold out." in text
    assert "TOOLS" not in rendered(TEMPLATE, [])


def test_a_template_that_hides_the_tools_is_refused():
    with pytest.raises(ChatTemplateError, match="does not show the model its tools"):
        rendered(TEMPLATE.split("{%- endif -%}", 1)[1])


@pytest.mark.parametrize(
    ("text", "said", "calls"),
    [
        ('<tool_call>{"name": "book", "arguments": {"seat": "7"}}</tool_call>', "", [("book", {"seat": "7"})]),
        (
            'Right away.\n<tool_call>\n{"name": "book", "arguments": {}}\n</tool_call>\n<tool_call>{"name": "x"}',
            "Right away.",
            [("book", {}), ("x", {})],
        ),
        ('{"name": "book", "parameters": {"seat": "7"}}', "", [("book", {"seat": "7"})]),
        ('[{"name": "book", "arguments": {"seat": "1"}}, {"name": "book", "arguments": {"seat": "2"}}]', "",
         [("book", {"seat": "1"}), ("book", {"seat": "2"})]),
        ('{"name": "book", "parameters": {}}; {"name": "book", "parameters": {}}', "", [("book", {}), ("book", {})]),
        ("I have booked seat 7.", "I have booked seat 7.", []),
        ('{"name": "Anna", "arguments": "none"}', '{"name": "Anna", "arguments": "none"}', []),
        ('{"seat": 7', '{"seat": 7', []),
    ],
)  # fmt: skip
def test_calls_are_read_in_every_form(text, said, calls):
    found_text, found = read_tool_calls(text, TOOLS)
    assert found_text == said
    assert [(c.function, c.arguments) for c in found] == calls
    assert len({c.id for c in found}) == len(found)
    assert all(c.parse_error is None for c in found)


@pytest.mark.parametrize(
    "body", ['{"name": "book", "arguments": ', '["book"]', '{"name": "book", "arguments": "7"}']
)
def test_a_call_that_cannot_be_read_says_so_to_the_model(body):
    _, (call,) = read_tool_calls(f"<tool_call>{body}</tool_call>", TOOLS)
    assert "cannot be read" in call.parse_error
