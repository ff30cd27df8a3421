"""Several monitors as one: the mean of their calibrated logits."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from probes.evaluation.scored import Named, Scored


def members_of(pools: Mapping[str, str], monitors: Sequence[Named]) -> dict[str, list[Named]]:
    """Name of a pool -> its monitors.

    Args:
        pools: Name -> names of monitors, `*` for any letters, with commas between them; `all` is all.
        monitors: That there are.

    Raises:
        ValueError: A name that no monitor has, or a pool of fewer than two.
    """
    names = [named.name for named in monitors]
    found: dict[str, list[Named]] = {}
    for pool, wanted in pools.items():
        patterns = ["*"] if wanted == "all" else [part for part in wanted.split(",") if part]
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(
                    f"--pool {pool}={wanted}: no monitor {pattern!r}; there are {', '.join(names)}"
                )
        found[pool] = [one for one in monitors if any(fnmatchcase(one.name, pattern) for pattern in patterns)]
        if len(found[pool]) < 2:
            raise ValueError(
                f"--pool {pool}={wanted}: one monitor alone, {found[pool][0].name}; name several"
            )
    return found


def pooled(pools: Mapping[str, Sequence[Named]], scored: Sequence[Scored]) -> list[Scored]:
    """Mean over monitors of the logits, each calibrated by what its card says of its validation rows.

    A monitor without calibration counts as its head made it; `uncalibrated` names those.

    Args:
        pools: Name -> monitors.
        scored: Of all monitors.
    """
    by_name = {one.name: one for one in scored}
    return [
        Scored(
            name,
            [
                np.mean([_calibrated(one, by_name[one.name].logits[number]) for one in members], axis=0)
                for number in range(len(scored[0].logits))
            ],
            pooled=tuple(one.name for one in members),
        )
        for name, members in pools.items()
    ]


def notes_of(pools: Mapping[str, Sequence[Named]]) -> list[str]:
    """Which monitors a pool is made of, and which of them are not calibrated."""
    notes = []
    for name, members in pools.items():
        raw = [one.name for one in members if one.monitor.card.calibration is None]
        all_of_them = ", ".join(one.name for one in members)
        told = f"{name} is the mean of the calibrated logits of {all_of_them}"
        notes.append(
            f"{told}; of {', '.join(raw)} the logit as it is, for the card has no calibration: fit it again."
            if raw
            else f"{told}."
        )
    return notes


def _calibrated(one: Named, logits: np.ndarray) -> np.ndarray:
    calibration = one.monitor.card.calibration
    return logits if calibration is None else calibration.of(logits)
