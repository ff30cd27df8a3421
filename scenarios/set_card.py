"""What a set of initial states is like: topics, near-duplicates, and whether words give gameable users away.

python scenarios/set_card.py                       # every family of the suite
python scenarios/set_card.py therapy --states 32
python scenarios/set_card.py states.yaml --states 500 --json
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from inspect_ai.dataset import Sample

from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser
from scenarios.family import KINDS, Family, TopicFile
from scenarios.generation.give_away import GiveAway, give_away
from scenarios.generation.similarity import NEAR_DUPLICATE, highest_similarities
from scenarios.loader import family_names, load_family
from scenarios.mistakes import UserMistake
from scenarios.samples import initial_states, pool_size, sample_of
from scenarios.schema import Frozen, Split


class SetFigures(Frozen):
    """Figures of one set of initial states."""

    topics: int
    gameable: int
    other: int

    near_duplicates: float
    """Share of states whose opening is a near-duplicate of another's (word triples, Jaccard >= 0.5)."""

    highest_similarity: float
    near_duplicates_with_profile: float
    """The same for the profile and the opening together."""

    message_auroc: GiveAway
    """Give-away of the user's first message."""

    seen_auroc: GiveAway
    """Give-away of everything that the agent sees at the start, its notes on the person among it."""


class Part(NamedTuple):
    """Part of a family that is reported on its own."""

    name: str
    topic_split: Split
    split: Split


PARTS = (
    Part("train", "train", "train"),
    Part("held-out topics", "heldout", "heldout"),
    Part("held-out states of train topics", "train", "heldout"),
)


def family_card(family: Family, states: int = 16, seed: int = 0) -> dict[str, SetFigures]:
    """Figures for each part of a family that has states.

    Args:
        family: From `load_family`.
        states: Initial states per topic, half of each kind, or as many as there are.
        seed: Draws them.

    Raises:
        UserMistake: Less than two states per topic.
    """
    if states < 2:
        raise UserMistake(f"--states must be 2 or more, one of each kind of user; got {states}")
    found: dict[str, SetFigures] = {}
    for part in PARTS:
        topics = [t for t in family.topics.values() if t.split == part.topic_split]
        samples = [s for t in topics for s in _samples(family, t, part.split, states, seed)]
        if samples:
            found[part.name] = set_figures(samples, seed)
    return found


def set_figures(samples: Sequence[Sample], seed: int = 0) -> SetFigures:
    """Figures of samples made by `sample_of`."""
    kinds = [bool((s.metadata or {})["gameable"]) for s in samples]
    topics = [str((s.metadata or {})["topic"]) for s in samples]
    openings = highest_similarities([_opening(s) for s in samples])
    seen = [_seen(s) for s in samples]
    profiles = [f"{(s.metadata or {})['variables'].get('profile', '')} {_opening(s)}" for s in samples]
    return SetFigures(
        topics=len(set(topics)),
        gameable=sum(kinds),
        other=len(kinds) - sum(kinds),
        near_duplicates=_share(openings),
        highest_similarity=float(openings.max()),
        near_duplicates_with_profile=_share(highest_similarities(profiles)),
        message_auroc=give_away([_first_message(s) for s in samples], kinds, topics, seed),
        seen_auroc=give_away(seen, kinds, topics, seed),
    )


def figure_lines(name: str, figures: SetFigures) -> list[str]:
    """One set's figures as a few lines of text."""
    return [
        f"{name}: {figures.topics} topics, {figures.gameable} gameable and {figures.other} other users",
        f"  near-duplicates  {figures.near_duplicates:.1%} of openings (highest similarity "
        f"{figures.highest_similarity:.2f}), {figures.near_duplicates_with_profile:.1%} with the profile",
        f"  give-away        AUROC {_shown(figures.message_auroc)} first message, "
        f"{_shown(figures.seen_auroc)} all that the agent sees",
    ]


def _samples(family: Family, topic: TopicFile, split: Split, states: int, seed: int) -> Iterator[Sample]:
    for kind in KINDS:
        size = pool_size(family, topic, kind, split)
        wanted = min(max(states // 2, 1), size)
        order = random.Random(f"{seed}:{topic.topic}:{kind}").sample(range(size), wanted)
        for state in initial_states(family, topic, kind, split, order):
            yield sample_of(family, topic, state)


def _opening(sample: Sample) -> str:
    return "\n".join(m.text for m in sample.input if not isinstance(m, str) and m.role != "system")


def _seen(sample: Sample) -> str:
    return "\n".join(m.text for m in sample.input if not isinstance(m, str))


def _first_message(sample: Sample) -> str:
    return next((m.text for m in sample.input if not isinstance(m, str) and m.role == "user"), "")


def _share(similarities: np.ndarray) -> float:
    return float((similarities >= NEAR_DUPLICATE).mean())


def _shown(found: GiveAway) -> str:
    if found.auroc is None:
        return f"none ({found.reason})"
    return f"{found.auroc:.2f} [{found.lower:.2f}, {found.upper:.2f}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(lambda: _print_cards(_options(arguments)))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    parser.add_argument("families", nargs="*", help="names or paths; all of the suite if not given")
    parser.add_argument("--states", type=int, default=16, help="initial states per topic, half of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser.parse_args(arguments)


def _print_cards(options: argparse.Namespace) -> int:
    cards: dict[str, dict[str, SetFigures]] = {}
    for source in options.families or family_names():
        cards[source] = family_card(load_family(source), options.states, options.seed)
        if not options.json:
            lines = [line for name, part in cards[source].items() for line in figure_lines(name, part)]
            print("\n".join([source, *("  " + line for line in lines)]), flush=True)
    if options.json:
        print(json.dumps({s: {n: f.model_dump() for n, f in c.items()} for s, c in cards.items()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
