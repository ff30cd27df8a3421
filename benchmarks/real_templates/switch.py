"""Thoughts are turned on and off by the option that does it for every model."""

from collections.abc import Iterator

from transformers import PreTrainedTokenizerFast

from benchmarks.real_templates.families import Family, Writing
from benchmarks.real_templates.oracle import Oracle, user
from benchmarks.real_templates.outcomes import Outcome, same, tried
from benchmarks.real_templates.suite import Suite, switched

NAMES = ("enable_thinking", "thinking", "thinking_mode")
"""Variables that do so and nothing else."""


def switch(oracle: Oracle, family: Family, tokenizer: PreTrainedTokenizerFast) -> Iterator[Outcome]:
    """A case for each way of writing that a variable of the template brings about."""
    for writing in family.thinking:
        others = [name for name in writing.variables if name not in NAMES]
        excused = f"{others[0]} is no switch" if others else None
        yield tried(
            "the option for thoughts",
            lambda w=writing: _switched(oracle, family, tokenizer, w),
            excused=excused,
            plain=False,
        )


def _switched(oracle: Oracle, family: Family, tokenizer: PreTrainedTokenizerFast, writing: Writing) -> None:
    (value,) = writing.variables.values()
    suite = Suite(family, tokenizer, switched(value in (True, "enabled", "high")))
    expected = oracle.rendered([user("alpha")], prompt=True, variables=writing.variables)
    same(suite.prompt([user("alpha")]), expected, "the prompt with thoughts turned on or off")
