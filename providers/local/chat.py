"""From Inspect's messages to the tokens that a model was trained to see, through its chat template."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageSystem, ChatMessageTool
from inspect_ai.tool import ToolInfo

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ChatTemplateError(ValueError):
    """The chat template is missing or does not render what it is given."""


class Chat:
    """A tokenizer's chat template, checked once.

    Args:
        tokenizer: Its template is used, unless `template` names a file with another.
        template: Path of a Jinja chat template.
        source: What to call the model in messages.

    Raises:
        ChatTemplateError: No template, or one that drops the words of the user or the assistant or adds no
            prompt for the assistant's turn.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", template: str | None, source: str) -> None:
        self.tokenizer = tokenizer
        self.source = source
        if template is not None:
            tokenizer.chat_template = Path(template).read_text(encoding="utf-8")
        if not tokenizer.chat_template:
            raise ChatTemplateError(
                f"{source} has no chat template; give one with -M chat_template=<file.jinja>, "
                "or use the model's instruction-tuned version"
            )
        self._check_dialogue()
        self.takes_system = self._takes_system()

    def tokens(self, messages: Sequence[ChatMessage], tools: Sequence[ToolInfo] = ()) -> list[int]:
        """Token ids of the prompt for the assistant's next words.

        A last message of the assistant is continued, not answered. A template that takes no system
        message gets it at the head of the first user message.

        Raises:
            ChatTemplateError: The template refuses the messages, or does not tell the model of its tools.
        """
        rows = self._rows(messages)
        continues = bool(messages) and messages[-1].role == "assistant"
        text = self._render(rows, tools=[_schema(t) for t in tools], continues=continues)
        if tools and text == self._render(rows, continues=continues):
            raise ChatTemplateError(
                f"the chat template of {self.source} does not show the model its tools; "
                "give one that does with -M chat_template=<file.jinja>, or use a model trained on tools"
            )
        # the template writes the special tokens itself; a second BOS would be added here otherwise
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @cached_property
    def closing(self) -> list[int]:
        """Token ids of what the template writes after the words of a reply that ends the conversation."""
        rows = [{"role": "user", "content": "alpha"}, {"role": "assistant", "content": "bravo"}]
        text = str(self.tokenizer.apply_chat_template(rows, tokenize=False, add_generation_prompt=False))
        after = text.rpartition("bravo")[2]
        return list(self.tokenizer(after, add_special_tokens=False)["input_ids"])

    def _rows(self, messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
        system = "\n\n".join(m.text for m in messages if isinstance(m, ChatMessageSystem))
        rows = [_row(m) for m in messages if not isinstance(m, ChatMessageSystem)]
        if not system:
            return rows
        if self.takes_system:
            return [{"role": "system", "content": system}, *rows]
        if rows and rows[0]["role"] == "user":
            return [{"role": "user", "content": f"{system}\n\n{rows[0]['content']}"}, *rows[1:]]
        return [{"role": "user", "content": system}, *rows]

    def _render(
        self,
        rows: list[dict[str, Any]],
        *,
        tools: list[dict[str, Any]] | None = None,
        continues: bool = False,
    ) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                rows,
                tools=tools or None,  # pyright: ignore[reportArgumentType]
                tokenize=False,
                add_generation_prompt=not continues,
                continue_final_message=continues,
            )
        except Exception as error:
            roles = [row["role"] for row in rows]
            raise ChatTemplateError(f"the chat template of {self.source} refuses {roles}: {error}") from error
        return str(text)

    def _check_dialogue(self) -> None:
        words = ["alpha", "bravo", "charlie"]
        roles = ["user", "assistant", "user"]
        rows = [{"role": r, "content": w} for r, w in zip(roles, words, strict=True)]
        text = self._render(rows)
        if lost := [w for w in words if w not in text]:
            lost_roles = sorted({roles[words.index(w)] for w in lost})
            raise ChatTemplateError(f"the chat template of {self.source} drops messages of {lost_roles}")
        closed = self.tokenizer.apply_chat_template(rows, tokenize=False, add_generation_prompt=False)
        if text == closed:
            raise ChatTemplateError(
                f"the chat template of {self.source} ignores add_generation_prompt, so the model would "
                "go on with the user's words; give a mended one with -M chat_template=<file.jinja>"
            )

    def _takes_system(self) -> bool:
        rows = [{"role": "system", "content": "delta"}, {"role": "user", "content": "alpha"}]
        try:
            return "delta" in self._render(rows)
        except ChatTemplateError:
            return False


def _row(message: ChatMessage) -> dict[str, Any]:
    """A message as chat templates take it, tool traffic included."""
    row: dict[str, Any] = {"role": message.role, "content": message.text}
    if isinstance(message, ChatMessageAssistant) and message.tool_calls:
        row["tool_calls"] = [
            {
                "type": "function",
                "id": call.id,
                "function": {"name": call.function, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if isinstance(message, ChatMessageTool):
        row["content"] = message.error.message if message.error else message.text
        row |= {"name": message.function, "tool_call_id": message.tool_call_id}
    return row


def _schema(tool: ToolInfo) -> dict[str, Any]:
    parameters = tool.parameters.model_dump(exclude_none=True)
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}
