"""Whether `families.yaml` says the same as the templates, wherever one tells, and as the readers of TRL."""

from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedTokenizerFast
from trl.chat_template_utils import add_response_schema, parse_response

from benchmarks.providers.real_templates.families import Writing, families
from benchmarks.providers.real_templates.oracle import BOOK, Oracle, call, reply, user
from benchmarks.providers.real_templates.packages import templates
from benchmarks.providers.real_templates.vocabulary import tokenizer

WORDS, THOUGHT = "bravo", "tango"
KNOWN = {
    "Nemotron Nano 2": "its template writes a last reply inside the thought that the prompt has opened",
    "Solar Open": "its template ends a last turn as it does earlier ones, with what ends a thought",
    "LLaVA": "its template ends no turn",
}
"""Families whose templates do not write what the models do."""


def faults() -> list[str]:
    """Where the two differ; empty if all is well."""
    texts = templates()
    found: list[str] = []
    for family in families():
        made = tokenizer(family, texts[family.template])
        oracle = Oracle(family, texts[family.template], made)
        if oracle.refuses([user("alpha")]) or family.name in KNOWN:
            continue
        for writing in (family.writing, *family.thinking):
            found += [f"{family.name} {writing.variables}: {fault}" for fault in _faults(oracle, writing)]
    return found


def _faults(oracle: Oracle, writing: Writing) -> Iterator[str]:
    asked = [user("alpha")]
    prompt = oracle.rendered(asked, prompt=True, variables=writing.variables)
    if not prompt.endswith(writing.opened):
        yield f"the prompt ends with {prompt[-40:]!r}"
    for thought in [None, *([THOUGHT] if writing.thought is not None else [])]:
        text = oracle.rendered([*asked, reply(WORDS, thought=thought)], variables=writing.variables)
        if not text.startswith(prompt) or (thought or "") not in text:
            continue  # the template does not tell
        shown = text[len(prompt) :]
        numbers = range(len(writing.nothing)) if thought is None else [0]
        right = [oracle.written(writing, WORDS, thought=thought, nothing=n) for n in numbers]
        # some templates leave the end of a last turn to whoever speaks next
        if not any(shown.startswith(r) or (r.startswith(shown) and shown.endswith(WORDS)) for r in right):
            yield f"the template writes {shown!r}, not {right}"


def misread() -> list[str]:
    """Generations as we write them down that TRL reads as something else; empty if all is well."""
    texts = templates()
    found: list[str] = []
    for family in families():
        made = tokenizer(family, texts[family.template])
        try:
            add_response_schema(made)
        except ValueError:  # TRL does not know the template
            continue
        oracle = Oracle(family, texts[family.template], made)
        for writing in (family.writing, *family.thinking):
            found += [
                f"{family.name} {writing.variables}: {told}" for told in _misread(oracle, made, writing)
            ]
    return found


def _misread(oracle: Oracle, tokenizer: PreTrainedTokenizerFast, writing: Writing) -> Iterator[str]:
    tools: list[Any] | None = [BOOK] if oracle.cannot_call is None else None
    prompt = oracle.rendered([user("alpha")], tools, prompt=True, variables=writing.variables)
    for thought in [None, *([THOUGHT] if writing.thought is not None else [])]:
        for words, seats in ((WORDS, []), ("", ["lisbon"] if tools else [])):
            if not words and not seats:
                continue
            calls = [call("abcdefgh1", seat=seat) for seat in seats]
            text = oracle.written(writing, words, calls, thought=thought)
            read = parse_response(
                tokenizer, _ids(tokenizer, text), prefix=_ids(tokenizer, prompt), tools=tools
            )
            said = next(
                (read["content"].removesuffix(e) for e in oracle.ends if read["content"].endswith(e)), None
            )
            given = [c["function"]["arguments"] for c in read.get("tool_calls") or []]
            told = (said if said is not None else read["content"], _thought(read), given)
            if told != (words, thought, [{"seat": seat} for seat in seats]):
                yield f"{text!r} is read as {told}"


def _thought(read: dict[str, Any]) -> str | None:
    thought = str(read.get("reasoning_content") or read.get("thinking") or "")
    return thought.strip() or None


def _ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])  # pyright: ignore[reportArgumentType]
