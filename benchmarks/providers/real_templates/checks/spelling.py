"""Words that spell control strings: they stay words, down to their tokens."""

from benchmarks.providers.real_templates.oracle import SEEN
from benchmarks.providers.real_templates.outcomes import Wrong
from benchmarks.providers.real_templates.suite import Suite


def same_tokens(suite: Suite, found: list[int], right: list[list[int]], what: str) -> None:
    """Raises `Wrong` unless these are the tokens of one of the right texts."""
    if found in right:
        return
    names = suite.tokenizer.convert_ids_to_tokens
    at = next(
        (i for i, (a, b) in enumerate(zip(found, right[0], strict=False)) if a != b),
        min(len(found), len(right[0])),
    )
    near = slice(max(0, at - 12), at + 12)
    raise Wrong(
        f"of words that spell control strings, {what}: {names(found[near])}, not {names(right[0][near])}"
    )


def tokens_with(suite: Suite, text: str, spelt: str) -> list[int]:
    """Tokens of a text in which the words stand for `SEEN`, byte by byte."""
    words = [t for c in spelt for t in suite.tokenizer(c, add_special_tokens=False)["input_ids"]]  # pyright: ignore
    made: list[int] = []
    for number, part in enumerate(text.split(SEEN)):
        made += words if number else []
        made += suite.tokenizer(part, add_special_tokens=False)["input_ids"]  # pyright: ignore
    return made
