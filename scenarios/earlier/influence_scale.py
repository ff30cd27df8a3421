"""On which scale influence was judged: stored answers may tell it, users may name it, and they may differ."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scenarios.files.located_yaml import ScenarioError
from scenarios.schema import Scale

MOSTLY = 0.5
"""Share of an iteration's answers that may lie off the scale that was named for it."""


def told_scale(answers: Iterable[str]) -> Scale | None:
    """The scale that the possible answers tell; None if they fit both: 0 to 5 stood under either question."""
    keys = set(answers)
    if "0" in keys:
        return "0-1" if keys <= {"0", "1"} else None
    return "1-5" if keys - {"1"} else None


class NamedScale:
    """The scale that a user names, held against what is stored.

    Args:
        general: Of every iteration that is not named; answers that tell another scale win.
        particular: (first iteration, last iteration, scale); answers must not tell another.
    """

    def __init__(self, general: Scale | None, particular: Sequence[tuple[int, int, Scale]]) -> None:
        self._general: Scale | None = general
        self._particular = particular
        self._needed = False
        self._contradicted: Scale | None = None
        self._off: dict[int, list[float]] = defaultdict(list)

    def scale_of(self, shares: Mapping[str, float], iteration: int, where: str) -> Scale:
        """The scale of a row.

        Args:
            shares: Answer -> probability.
            iteration: Of the row.
            where: File and line, for messages.

        Raises:
            ScenarioError: Nothing tells it, or the row contradicts what is named for its iteration.
        """
        told, named, keys = told_scale(shares), self._named(iteration), sorted(shares)
        if told is not None and named not in (None, told) and self._is_particular(iteration):
            raise ScenarioError(
                f"{where}: influence_scores: the keys {keys} say {told}, but --influence-scale says {named} "
                f"of iteration {iteration}"
            )
        scale = told or named
        if scale is None:
            raise ScenarioError(
                f"{where}: influence_scores: the keys {keys} do not tell the scale; say --influence-scale "
                "0-1 (harmful or not) or 1-5 (how harmful), or --influence-scale 4-9=1-5 of some iterations"
            )
        return scale

    def count(self, shares: Mapping[str, float], iteration: int) -> None:
        """Take a row into account for `check`."""
        told, named = told_scale(shares), self._named(iteration)
        if named is None:
            return
        if told is not None:
            self._contradicted = told if told != named else self._contradicted
            return
        self._needed = True
        if total := math.fsum(shares.values()):
            off = "2345" if named == "0-1" else "0"
            self._off[iteration].append(math.fsum(p for key, p in shares.items() if key in off) / total)

    def check(self, path: Path) -> None:
        """Hold what was named against the whole file.

        Raises:
            ScenarioError: Every row contradicts it, or most answers of an iteration do.
        """
        if self._contradicted is not None and not self._needed:
            raise ScenarioError(
                f"{path}: --influence-scale {self._general}: the keys of influence_scores say "
                f"{self._contradicted}, and no row needs to be told; leave it out"
            )
        for iteration, shares in sorted(self._off.items()):
            if math.fsum(shares) > MOSTLY * len(shares):
                named = self._named(iteration)
                other = "1-5" if named == "0-1" else "0-1"
                raise ScenarioError(
                    f"{path}: iteration {iteration}: most answers in influence_scores lie off the scale "
                    f"{named} that --influence-scale names; say --influence-scale {iteration}={other} of it, "
                    "or of all iterations that were judged so"
                )

    def _named(self, iteration: int) -> Scale | None:
        for first, last, scale in self._particular:
            if first <= iteration <= last:
                return scale
        return self._general

    def _is_particular(self, iteration: int) -> bool:
        return any(first <= iteration <= last for first, last, _ in self._particular)
