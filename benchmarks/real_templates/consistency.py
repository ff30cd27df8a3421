"""Whether `families.yaml` says the same as the templates, wherever a template tells how its model writes."""

from collections.abc import Iterator

from benchmarks.real_templates.families import Writing, families
from benchmarks.real_templates.oracle import Oracle, reply, user
from benchmarks.real_templates.packages import templates
from benchmarks.real_templates.vocabulary import tokenizer

WORDS, THOUGHT = "bravo", "tango"
KNOWN = {
    "Nemotron Nano 2": "its template writes a last reply inside the thought that the prompt has opened",
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
