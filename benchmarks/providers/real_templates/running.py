"""Every family through every check."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from benchmarks.providers.real_templates.checks.judge import judge
from benchmarks.providers.real_templates.checks.round_trip import round_trip
from benchmarks.providers.real_templates.checks.spans import spans
from benchmarks.providers.real_templates.checks.switch import switch
from benchmarks.providers.real_templates.checks.tools import tools
from benchmarks.providers.real_templates.checks.training import training
from benchmarks.providers.real_templates.checks.user import user_role
from benchmarks.providers.real_templates.families import Family, Writing, families
from benchmarks.providers.real_templates.oracle import Oracle, user
from benchmarks.providers.real_templates.outcomes import Outcome, worst
from benchmarks.providers.real_templates.packages import templates
from benchmarks.providers.real_templates.suite import Suite, chosen
from benchmarks.providers.real_templates.vocabulary import tokenizer
from providers.chat.errors import ChatTemplateError

Check = Callable[[Oracle, Suite, Writing], Iterator[Outcome]]
CHECKS: dict[str, Check] = {
    "training": training,
    "spans": spans,
    "user": user_role,
    "round trip": round_trip,
    "judge": judge,
    "tools": tools,
}
"""Columns of the table."""


class Result(NamedTuple):
    """What came of one family."""

    family: Family
    cells: dict[str, list[Outcome]]

    @property
    def wrong(self) -> list[Outcome]:
        """Outcomes that must not be."""
        return [o for outcomes in self.cells.values() for o in outcomes if o.status == "WRONG"]

    @property
    def plain(self) -> bool:
        """Whether plain dialogue is right in every column; tools are right or refused for a true reason."""
        said = [o for outcomes in self.cells.values() for o in outcomes if o.plain]
        return not self.wrong and worst(said) == "right" and bool(said)


def results(chosen: Sequence[Family] | None = None) -> Iterator[Result]:
    """One result for each family, in order.

    Raises:
        NoNetwork: The templates are neither in the cache nor to be had.
    """
    texts = templates()
    for family in families() if chosen is None else chosen:
        yield Result(family, _cells(family, texts[family.template]))


def _cells(family: Family, template: str) -> dict[str, list[Outcome]]:
    cells: dict[str, list[Outcome]] = {column: [] for column in CHECKS}
    for special in (False, True) if "<think>" in template else (False,):
        made = tokenizer(family, template, tags_special=special)
        oracle = Oracle(family, template, made)
        cells["round trip"] += [] if special else switch(oracle, family, made)
        for writing in (family.writing, *family.thinking):
            try:
                suite = Suite(family, made, chosen(writing.variables))
            except ChatTemplateError as refusal:
                needless = not oracle.refuses([user("alpha")])
                for outcomes in cells.values():
                    outcomes.append(Outcome("all", "WRONG" if needless else "refused", str(refusal)))
                continue
            for column, check in CHECKS.items():
                # whether the tags of thoughts are special tokens matters to what is read alone
                if not special or column in ("round trip", "judge"):
                    cells[column] += check(oracle, suite, writing)
    return cells
