"""How a model in this process is spoken to and read: tokens of a prompt, and a generation as a message."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from inspect_ai.model import ChatMessage
from inspect_ai.tool import ToolInfo

from providers.chat.choice import Readers, TemplateChoice
from providers.chat.completion import started
from providers.chat.errors import ChatTemplateError
from providers.chat.messages import chat_message, tool_schemas
from providers.chat.reading import Reply, ReplyReader
from providers.chat.replies import frame_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

THOUGHT_TOKENS = 2048
"""A thought may take so many tokens beside those of the answer, unless `reasoning_tokens` says another
number.
"""


class Prompt(NamedTuple):
    """A prompt, and what is needed to read what comes after it."""

    tokens: list[int]
    last: str
    """Role of the last message: `tool`, `assistant` (its words are gone on with), or `user` for any other."""

    tools: list[dict[str, Any]] | None
    opened: bool
    """It ends within a thought."""


class Speech:
    """A tokenizer with its chat template, as one role uses it.

    Args:
        tokenizer: Of the model.
        ends: Token ids that end a generation.
        choice: Its template.
        source: What to call the model in messages.

    Raises:
        ChatTemplateError: No chat template, or one that cannot be used; or no switch for thoughts where one
        is
            asked for.
        ValueError: A date that is none.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", ends: Sequence[int], choice: TemplateChoice, source: str
    ) -> None:
        readers = Readers(tokenizer, ends, choice, source)
        self.tokenizer = readers.tokenizer
        self.clock = choice.day
        self.reader: ReplyReader = readers.on(self.clock)
        self.template = self.reader.template

    def prompt(self, messages: Sequence[ChatMessage], tools: Sequence[ToolInfo] = ()) -> Prompt:
        """The prompt for the assistant's next words.

        A last message of the assistant is continued, not answered.

        Raises:
            ChatTemplateError: The template refuses the messages, does not tell the model of its tools, or
            writes
                calls in a form that cannot be read.
        """
        schemas = tool_schemas(tools)
        if schemas and self.reader.calls_problem is not None:
            raise ChatTemplateError(f"{self.reader.calls_problem}; use a model trained on tools")
        rows = [chat_message(message) for message in messages]
        last = messages[-1].role if messages else "user"
        if last == "assistant":
            return Prompt(self.template.tokens(started(self.reader, rows, schemas)), last, schemas, False)
        text = self.template.prompt(rows, schemas)
        frame = frame_of(self.reader.replies, rows, schemas)
        return Prompt(
            self.template.tokens(text),
            "tool" if last == "tool" else "user",
            schemas,
            frame.opened is not None,
        )

    def read(self, prompt: Prompt, tokens: Sequence[int], stop: Sequence[str] = ()) -> Reply:
        """A generation as a message.

        Args:
            prompt: What it came after.
            tokens: Without the one that ended it.
            stop: Strings of which the first ends the words.
        """
        if prompt.last == "assistant":
            return Reply(_until(self._text(tokens, special=False), stop), None, [])
        text = _until(self._text(tokens, special=True), stop)
        return self.reader.read(text, last=prompt.last, tools=prompt.tools)

    @cached_property
    def closing(self) -> list[int]:
        """Token ids of what the template writes after the words of a reply, up to the end of the turn."""
        return self.template.tokens(self.reader.replies.frame().end)

    def budget(self, prompt: Prompt, answer: int, thought: int) -> "Budget":
        """Tells when a generation has had its tokens."""
        form = self.reader.replies.thoughts
        return Budget(self.tokenizer, answer, thought, form.opening, form.closing, prompt.opened)

    def thought_tokens(self, prompt: Prompt, tokens: Sequence[int]) -> int:
        """How many tokens of a generation are a thought's."""
        return self.budget(prompt, len(tokens) + 1, len(tokens) + 1).thought_in(tokens)

    def _text(self, tokens: Sequence[int], *, special: bool) -> str:
        return str(
            self.tokenizer.decode(
                list(tokens), skip_special_tokens=not special, clean_up_tokenization_spaces=False
            )
        )


class Budget:
    """Counts the tokens of a thought and those of the answer after it apart; asked after every token.

    Args:
        tokenizer: Of the model.
        answer: Tokens of the answer.
        thought: Tokens of a thought before it, its marks included.
        opening: Mark at which a thought begins.
        closing: Mark at which it ends.
        opened: The prompt ends within a thought.
    """

    def __init__(
        self, tokenizer: Any, answer: int, thought: int, opening: str, closing: str, opened: bool
    ) -> None:
        self.most = answer + thought
        self._tokenizer, self._answer, self._thought = tokenizer, answer, thought
        self._opening, self._closing = opening, closing
        self._thinks: bool | None = True if opened else None if opening else False
        self._closed: int | None = None

    def __call__(self, tokens: list[int]) -> bool:
        """Whether these are all that there may be."""
        if self._thinks is None:
            self._thinks = self._begins(tokens)
        if not self._thinks:
            return self._thinks is False and len(tokens) >= self._answer
        if self._closed is None:
            if self._closing in self._tokenizer.decode(tokens[-2 * len(self._closing) :]):
                self._closed = len(tokens)
            return len(tokens) >= self._thought
        return len(tokens) - self._closed >= self._answer

    def thought_in(self, tokens: Sequence[int]) -> int:
        """How many of a generation's tokens are a thought's, its marks included; all if it never ends."""
        for count in range(1, len(tokens) + 1):
            self(list(tokens[:count]))
            if self._thinks is False:
                return 0
            if self._closed is not None:
                return self._closed
        return len(tokens) if self._thinks else 0

    def _begins(self, tokens: list[int]) -> bool | None:
        """Whether a thought begins here; None while it cannot be told."""
        text = self._tokenizer.decode(tokens).lstrip()
        if text.startswith(self._opening):
            return True
        return None if self._opening.startswith(text) else False


def _until(text: str, stop: Sequence[str]) -> str:
    cut = min((at for s in stop if (at := text.find(s)) >= 0), default=None)
    return text if cut is None else text[:cut]
