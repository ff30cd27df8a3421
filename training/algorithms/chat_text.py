"""What the agent saw and what it wrote, as text, through the chat template."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from training.base_models import CannotTrain
from training.examples import Example

Message = Mapping[str, Any]

_MARK = "zqxj-what-the-agent-writes-zqxj"


class Text(NamedTuple):
    """One row."""

    prompt: str
    """All that the agent saw, up to where its own words begin."""

    completion: str
    """What it wrote, the token that ends its turn included."""


class ChatText:
    """A tokenizer's chat template, read so that exactly the agent's own words are told from the rest.

    Words alone are taken as they were generated, where a template would trim them or put an empty block of
    thoughts before them; calls of tools and separate reasoning are in the template's form. White space after
    the end of the turn is not the agent's and is left out; where the template leaves the turn open, the
    tokenizer's end-of-sequence token ends it. A template that takes no system message gets it at the head
    of the first user message, as in the rollouts.

    Args:
        tokenizer: With a chat template.
        source: What to call the model in messages.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
        self._tokenizer = tokenizer
        self._source = source
        added = tokenizer.added_tokens_decoder.values()
        self._special = {*tokenizer.all_special_tokens, *(t.content for t in added if t.special)}
        self.takes_system = self._takes_system()

    def row(self, example: Example, name: str) -> Text | None:
        """The text of a row.

        Args:
            example: The row.
            name: What to call it in messages.

        Returns:
            None if the template cannot write what the agent did, e.g. drops its calls of tools.

        Raises:
            CannotTrain: The template refuses the messages, or writes the prompt in another way when a reply
                follows it.
        """
        (message,) = example["completion"]
        prompt, tools = self.placed(example["prompt"]), example["tools"]
        opened = self.render(prompt, tools, name)
        marked = self.render([*prompt, {"role": "assistant", "content": _MARK}], tools, name, closed=True)
        head, mark, tail = marked.partition(_MARK)
        if not mark or not (head.startswith(opened) or opened.startswith(head)):
            raise CannotTrain(
                f"{name}: the chat template of {self._source} writes the prompt differently when a reply "
                "follows it, so that what was seen cannot be told from what was written: "
                f"{_difference(opened, head)}. "
                "Name a mended template with model_args chat_template=<file.jinja>"
            )
        lead = head[len(opened) :]
        if message.get("tool_calls") or message.get("reasoning_content"):
            closed = self.render([*prompt, message], tools, name, closed=True)
            seen = next((len(t) for t in (opened, head) if closed.startswith(t)), None)
            written = None if seen is None else self._structured(message, closed[seen:], opened, lead, tail)
        else:
            space = lead if not lead.strip() and not message["content"].startswith(lead) else ""
            written = space + message["content"] + self._end(tail)
        return None if written is None else Text(opened, written)

    def placed(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with one system message at their head, or in the first user message."""
        system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
        rows = [m for m in messages if m["role"] != "system"]
        if not system:
            return rows
        if self.takes_system:
            return [{"role": "system", "content": system}, *rows]
        if rows and rows[0]["role"] == "user":
            return [{"role": "user", "content": f"{system}\n\n{rows[0]['content']}"}, *rows[1:]]
        return [{"role": "user", "content": system}, *rows]

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None,
        name: str,
        *,
        closed: bool = False,
    ) -> str:
        """The template's text, with the head of the agent's next message unless `closed`.

        Raises:
            CannotTrain: The template refuses the messages.
        """
        try:
            text = self._tokenizer.apply_chat_template(
                [dict(m) for m in messages],
                tools=[dict(t) for t in tools] if tools else None,  # pyright: ignore[reportArgumentType]
                tokenize=False,
                add_generation_prompt=not closed,
            )
        except Exception as error:  # templates raise whatever they like
            roles = [m["role"] for m in messages]
            raise CannotTrain(
                f"{name}: the chat template of {self._source} refuses {roles}: {error}"
            ) from error
        return str(text)

    def _structured(self, message: Message, written: str, opened: str, lead: str, tail: str) -> str | None:
        """Calls and reasoning, which the template writes; None if it leaves part of them out."""
        reasoning = str(message.get("reasoning_content") or "").strip()
        if lead.strip() and not reasoning:
            written = written.removeprefix(lead)
        calls = message.get("tool_calls") or []
        parts = [reasoning, str(message["content"]).strip(), *(c["function"]["name"] for c in calls)]
        if not calls and reasoning and reasoning not in written:
            return self._reasoning_in_line(message, opened, tail)
        if not all(part in written for part in parts):
            return None
        if written.endswith(tail):
            return written.removesuffix(tail) + self._end(tail)
        written = written.rstrip()
        return written if written.endswith(tuple(self._special)) else written + self._end("")

    def _reasoning_in_line(self, message: Message, opened: str, tail: str) -> str | None:
        """As models write it whose template takes it out: `<think>`, reasoning, `</think>`, words."""
        if "</think>" not in str(self._tokenizer.chat_template):
            return None
        begin = "" if opened.rstrip().endswith("<think>") else "<think>\n"
        return f"{begin}{message['reasoning_content']}\n</think>\n\n{message['content']}{self._end(tail)}"

    def _end(self, tail: str) -> str:
        """Of what the template writes after the agent's words, the part that ends the turn."""
        places = [tail.index(token) + len(token) for token in self._special if token in tail]
        if places:
            return tail[: min(places)]
        if self._tokenizer.eos_token is None:
            raise CannotTrain(
                f"neither the chat template of {self._source} nor its tokenizer has a token that ends a "
                "turn, so the model could not learn to stop; set eos_token in its tokenizer_config.json"
            )
        return tail.rstrip() + str(self._tokenizer.eos_token)

    def _takes_system(self) -> bool:
        rows = [{"role": "system", "content": "delta"}, {"role": "user", "content": "alpha"}]
        try:
            return "delta" in self.render(rows, None, "a system message")
        except CannotTrain:
            return False


def _common(one: str, other: str) -> int:
    """Length of what both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _difference(opened: str, head: str) -> str:
    at = _common(opened, head)
    return f"{opened[at : at + 40]!r} without it, {head[at : at + 40]!r} with it"
