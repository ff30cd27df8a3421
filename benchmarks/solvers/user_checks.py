"""How right the rules are that look for flaws of simulated users: precision and recall on labelled messages.

    python benchmarks/solvers/user_checks.py [--before 0b481ea] [--list]

The messages are in `benchmarks/solvers/user_messages.yaml`, which says what each set may be used for. Beside
the present rules stand those of a commit before them, in whose tree they run (`benchmarks/earlier_commit.py`;
their time includes that of asking them). False alarms are also counted on the first messages of the families'
people, all of them sound, of which there are thousands.
"""

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.earlier_commit import EarlierCommit
from scenarios.loader import load_family
from scenarios.samples import scenario_dataset
from scenarios.schema import Scenario
from solvers.user_checks import user_flaws

MESSAGES = Path(__file__).with_name("user_messages.yaml")
SETS = {"t": "tuning", "h": "held out", "f": "fresh"}
FAMILIES = (
    "therapy",
    "booking",
    "politics",
    "spiral",
    "farewell",
    "relationship",
    "advice",
    "growth",
    "subtle",
)

Check = Callable[["Message"], set[str]]
"""Flaws that some rules find in a message."""


class Message(NamedTuple):
    """A message with the conversation that it stands in."""

    id: str
    text: str
    flaws: frozenset[str]
    may: frozenset[str]
    """Flaws that count neither for nor against a rule."""

    earlier: tuple[str, ...]
    agent_said: str
    persona: str
    setting: str


@dataclass
class Counts:
    """What was found of what there was. `any` is a flaw of whatever kind."""

    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    missed_ids: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    """Sound messages that were flagged."""

    def precision(self, flaw: str = "any") -> float:
        """Share of what was found that is there; NaN if nothing was found."""
        found = self.right[flaw] + self.wrong[flaw]
        return self.right[flaw] / found if found else float("nan")

    def recall(self, flaw: str = "any") -> float:
        """Share of what is there that was found; NaN if there is nothing."""
        there = self.right[flaw] + self.missed[flaw]
        return self.right[flaw] / there if there else float("nan")


def read_messages(which: str) -> list[Message]:
    """The messages of one set: `t`, `h` or `f`."""
    data = _labelled()
    found = []
    for one in data["messages"]:
        place = data["contexts"][one["in"]]
        if one["id"].startswith(which):
            found.append(
                Message(
                    one["id"],
                    one["text"],
                    frozenset(one["flaws"]),
                    frozenset(one.get("may", ())),
                    tuple(place["earlier"]),
                    place["agent_said"],
                    place["persona"],
                    place["setting"],
                )
            )
    return found


@cache
def _labelled() -> Any:
    return yaml.safe_load(MESSAGES.read_text(encoding="utf-8"))


def rules_now(message: Message) -> set[str]:
    """What the present rules find."""
    return set(
        user_flaws(
            message.text,
            earlier=message.earlier,
            agent_said=message.agent_said,
            persona=message.persona,
            setting=message.setting,
        )
    )


def rules_before(commit: str) -> Check | None:
    """The rules of a commit; None if the history does not reach back so far."""
    earlier = EarlierCommit.start(commit, Path(__file__).with_name("earlier_user_checks.py"))
    if earlier is None:
        return None
    return lambda message: set(
        earlier.ask(
            {
                "text": message.text,
                "earlier": message.earlier,
                "agent_said": message.agent_said,
                "persona": message.persona,
                "setting": message.setting,
            }
        )
    )


def measure(check: Check, messages: Sequence[Message]) -> Counts:
    """Hold some rules against the labels."""
    counts = Counts()
    for message in messages:
        found, labelled = check(message) - message.may, message.flaws
        counts.right.update(found & labelled)
        counts.wrong.update(found - labelled)
        counts.missed.update(labelled - found)
        # any flaw is enough to draw a message again, whichever name it goes by
        flagged = bool(found or (labelled and check(message)))
        outcome = counts.right if flagged and labelled else counts.wrong if flagged else counts.missed
        if flagged or labelled:
            outcome["any"] += 1
        if labelled and not flagged:
            counts.missed_ids.append(message.id)
        if flagged and not labelled:
            counts.alarms.append(message.id)
    return counts


def openings(states: int) -> Iterator[Message]:
    """What the families' people say before the conversation goes on; sound, all of it."""
    for name in FAMILIES:
        for sample in scenario_dataset(load_family(name), states=states, gameable=0.5):
            scenario = Scenario.model_validate(sample.metadata)
            earlier, agent_said = list[str](), ""
            for line in sample.input if isinstance(sample.input, list) else []:
                if isinstance(line, ChatMessageAssistant):
                    agent_said = line.text
                elif isinstance(line, ChatMessageUser):
                    yield Message(
                        str(sample.id), line.text, frozenset(), frozenset(), tuple(earlier), agent_said,
                        scenario.user, scenario.setting,
                    )  # fmt: skip
                    earlier.append(line.text)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--before", default="0b481ea", help="commit whose rules are held against the present ones"
    )
    parser.add_argument(
        "--states", type=int, default=40, help="initial states per topic, for the first messages"
    )
    parser.add_argument(
        "--list", action="store_true", help="name the messages that were missed or flagged wrongly"
    )
    options = parser.parse_args()
    rules: dict[str, Check | None] = {"before": rules_before(options.before), "now": rules_now}
    print(f"{'set':<10}{'rules':<8}{'flaw':<22}{'precision':<30}recall")
    for which, title in SETS.items():
        messages = read_messages(which)
        for name, check in rules.items():
            if check is None:
                print(f"{title:<10}{name:<8}the history does not reach back to {options.before}")
                continue
            _show(title, name, measure(check, messages), named=options.list)
    _show_openings(rules, options.states)


def _show(title: str, name: str, counts: Counts, *, named: bool) -> None:
    flaws = sorted({*counts.right, *counts.wrong, *counts.missed} - {"any"})
    for flaw in ["any", *flaws]:
        right, wrong, missed = counts.right[flaw], counts.wrong[flaw], counts.missed[flaw]
        print(
            f"{title:<10}{name:<8}{flaw:<22}{_share(right, right + wrong):<30}{_share(right, right + missed)}"
        )
    if named:
        print(f"{title:<10}{name:<8}missed: {', '.join(counts.missed_ids) or 'none'}")
        print(f"{title:<10}{name:<8}flagged wrongly: {', '.join(counts.alarms) or 'none'}")


def _show_openings(rules: dict[str, Check | None], states: int) -> None:
    logging.disable(logging.WARNING)
    sound = list(openings(states))
    for name, check in rules.items():
        if check is not None:
            start = time.perf_counter()
            flagged = sum(bool(check(message)) for message in sound)
            each = (time.perf_counter() - start) / len(sound)
            print(
                f"first messages of the families, {name}: flagged {_share(flagged, len(sound))}; "
                f"{1000 * each:.1f} ms a message"
            )


def _share(count: int, of: int) -> str:
    """A share with Wilson's 95 % interval."""
    if not of:
        return "-"
    ends = binomtest(count, of).proportion_ci(method="wilson")
    return f"{count}/{of} = {count / of:.2f} [{ends.low:.2f}, {ends.high:.2f}]"


if __name__ == "__main__":
    main()
