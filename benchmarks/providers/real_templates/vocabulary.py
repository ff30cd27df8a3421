"""A tokenizer for a template whose model's own is not at hand: bytes, and the template's control tokens."""

import re

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from benchmarks.providers.real_templates.families import Family

CONTROL = re.compile(
    r"<[|｜][^<>\n]{1,44}?[|｜]>"
    r"|<\|[\w\"]+>|<[\w\"]+\|>"
    r"|</?(?:start|end)_of_\w+>|<(?:start_of_image|end_of_utterance|image|sop)>"
    r"|<SPECIAL_\d+>"
    r"|\[/?(?:INST|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|SYSTEM_PROMPT|ARGS|CALL_ID|THINK|IMG|gMASK)\]"
    r"|\[\|\w+\|\]"
)
"""Control strings of all families; each of them is one token of its model."""

BYTES = {c: b for b, c in bytes_to_unicode().items()}
"""Letters by which byte-level vocabularies write bytes."""

THOUGHT_TAGS = ("<think>", "</think>")
"""One token each, special in some vocabularies of one family and not in others."""


def tokenizer(family: Family, template: str, *, tags_special: bool = False) -> PreTrainedTokenizerFast:
    """Every byte is a token, and every control string of the template.

    Args:
        family: Tells what ends a generation.
        template: Its text.
        tags_special: Whether `<think>` is taken out with the special tokens when tokens become text.
    """
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(_alphabet())}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    core.decoder = decoders.ByteLevel()  # pyright: ignore
    core.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in control(family, template)]
    )
    if "<think>" in template:
        core.add_tokens([AddedToken(t, special=tags_special, normalized=False) for t in THOUGHT_TAGS])
    made = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=family.bos,
        eos_token=family.eos or _last(family),
        pad_token="<pad>",
        unk_token="<unk>",
    )
    made.chat_template = template
    return made


def control(family: Family, template: str) -> list[str]:
    """Strings that are special tokens."""
    found = set(CONTROL.findall(template)) | set(family.special) | set(family.ends) | {"<pad>", "<unk>"}
    found |= set(ends(family)) | {family.bos, family.eos or _last(family)}
    for writing in (family.writing, *family.thinking):
        for text in (writing.head, writing.thought or "", writing.end):
            found |= set(CONTROL.findall(text))
    return sorted(found)


def ends(family: Family) -> list[str]:
    """Tokens that end a generation, the usual one first."""
    own = [_last(family), family.writing.call_end, *family.ends, family.eos]
    return list(dict.fromkeys(t for t in own if t))


def _last(family: Family) -> str:
    """The token that ends a reply: what it closes before (a channel, say) is no end of its own."""
    text = family.writing.end.strip()
    return (
        max((m for m in (*CONTROL.findall(text), *family.special) if text.endswith(m)), key=len, default=text)
        or "</s>"
    )


def _alphabet() -> list[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())
