"""Thoughts are turned on and off by the option that does it for every model."""

from collections.abc import Iterator

from transformers import PreTrainedTokenizerFast

from benchmarks.providers.real_templates.families import Family, Writing
from benchmarks.providers.real_templates.oracle import Oracle, system, user
from benchmarks.providers.real_templates.outcomes import Outcome, same, tried
from benchmarks.providers.real_templates.suite import Suite, switched

NAMES = ("enable_thinking", "thinking", "thinking_mode")
"""Variables that do so and nothing else."""


def switch(oracle: Oracle, family: Family, tokenizer: PreTrainedTokenizerFast) -> Iterator[Outcome]:
    """A case for each way of writing that a variable of the template brings about."""
    for writing in family.thinking:
        idle = any(name not in NAMES for name in writing.variables) or not _matters(oracle, writing)
        excused = "the variable is no switch" if idle else None
        yield tried(
            "the option for thoughts",
            lambda w=writing: _switched(oracle, family, tokenizer, w),
            excused=excused,
            plain=False,
        )


def _matters(oracle: Oracle, writing: Writing) -> bool:
    """Whether the variable changes a prompt with a system message, as all of the suite's have."""
    rows = oracle.placed([system("sierra"), user("alpha")], "")
    plain, told = (oracle.rendered(rows, prompt=True, variables=v) for v in (None, writing.variables))
    own = oracle.rendered(rows, prompt=True, variables=oracle.family.writing.variables)
    return told not in (plain, own) or own != plain


def _switched(oracle: Oracle, family: Family, tokenizer: PreTrainedTokenizerFast, writing: Writing) -> None:
    (value,) = writing.variables.values()
    suite = Suite(family, tokenizer, switched(value in (True, "enabled", "high")))
    expected = oracle.rendered([user("alpha")], prompt=True, variables=writing.variables)
    same(suite.prompt([user("alpha")]), expected, "the prompt with thoughts turned on or off")
