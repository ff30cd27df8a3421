"""Chat templates of real models, out of pinned pip packages: nothing in the table of `docs/` is silently wrong."""

import pytest

from benchmarks.providers.real_templates.consistency import faults, misread
from benchmarks.providers.real_templates.families import families
from benchmarks.providers.real_templates.oracle import Oracle, reply, system, user
from benchmarks.providers.real_templates.outcomes import Outcome
from benchmarks.providers.real_templates.packages import NoNetwork, templates
from benchmarks.providers.real_templates.page import page
from benchmarks.providers.real_templates.running import CHECKS, results
from benchmarks.providers.real_templates.vocabulary import tokenizer
from tests.support.places import ROOT

pytestmark = pytest.mark.download

PAGE = ROOT / "docs" / "chat-templates.md"

MUST = (
    "Qwen 2.5", "Qwen 3", "Qwen 3.5", "Llama 3", "Llama 3.1, 3.3", "Llama 3.2", "Llama 4", "Gemma 2", "Gemma 3",
    "Gemma 4 31B", "Mistral v0.3", "Mistral Nemo", "Mistral Small 3.2", "Ministral 3", "Phi 3.5", "Phi 4",
    "DeepSeek V3", "DeepSeek R1", "gpt-oss", "GLM 4.5", "GLM 4.6", "GLM 4.7", "Granite 3.3", "Granite 4.0",
    "SmolLM 3", "LFM 2", "LFM 2.5",
)  # fmt: skip
"""Families of which plain dialogue has to be right in every column, with all others that are marked `required`."""


@pytest.fixture(scope="module")
def texts():
    try:
        return templates()
    except NoNetwork as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def found(texts):
    return list(results())


def test_no_cell_is_wrong(found):
    wrong = [f"{r.family.name}, {o.case}: {o.told}" for r in found for o in r.wrong]
    assert not wrong


def test_plain_dialogue_is_right_in_all_columns_for_all_but_a_few_templates(found):
    right = {r.family.name for r in found if r.plain}
    assert not set(MUST) - right
    assert not {r.family.name for r in found if r.family.required} - right
    assert len(right) >= 150


def test_every_cell_was_tried_and_says_what_the_page_in_docs_says(found):
    assert all(r.cells[column] for r in found for column in CHECKS)
    assert page(found) == PAGE.read_text(encoding="utf-8"), (
        "run python benchmarks/providers/chat_templates.py"
    )


def test_what_it_is_held_against_says_the_same_as_the_templates_and_trl(texts):
    assert not faults()
    assert not misread()
    assert len({text.strip() for text in texts.values()}) >= 67


@pytest.mark.parametrize("prompt", [True, False])
def test_what_it_is_held_against_renders_as_transformers_does(texts, prompt):
    differing = []
    rows = [system("sierra"), user("alpha"), reply("bravo", thought="tango"), user("charlie")]
    for family in families():
        made = tokenizer(family, texts[family.template])
        oracle = Oracle(family, texts[family.template], made)
        if (
            "strftime_now" in texts[family.template]
            or oracle.refuses(rows)
            or oracle.parts
            or oracle.empty_tools
        ):
            continue
        expected = made.apply_chat_template(rows, tokenize=False, add_generation_prompt=prompt)
        if oracle.rendered(rows, prompt=prompt) != expected:
            differing.append(family.name)
    assert not differing


def test_a_wrong_cell_would_be_seen(found):
    """The page names the case, and counts it."""
    first = found[0]
    cells = {**first.cells, "training": [Outcome("one turn", "WRONG", "what is learnt")]}
    broken = first._replace(cells=cells)
    assert not broken.plain
    assert "| **WRONG**: one turn |" in page([broken])
