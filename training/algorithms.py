"""The algorithms, in one table: what each learns from, and where it is.

A new one is a module of `training/trainers/` and an entry here, by which selection, plan, mixing and the
checks before a run go.
"""

import difflib
from collections.abc import Mapping
from typing import Literal, NamedTuple

LearnsFrom = Literal["best", "labels", "pairs", "groups"]
"""`best`: rows with label true; `labels`: rows with either label; `pairs`: a best and a worst reply to one
prompt; `groups`: conversations of one initial state with their rewards, without labels."""


class TrainingAlgorithm(NamedTuple):
    """An algorithm as the loop sees it."""

    learns_from: LearnsFrom

    module: str
    """In `training/trainers/`. Its `train(job, rows)` fine-tunes, saves, and returns a `Trained`."""

    configuration: str
    """TRL's class of options, with its module in TRL."""


ALGORITHMS: Mapping[str, TrainingAlgorithm] = {
    "ei": TrainingAlgorithm("best", "sft", "sft_config.SFTConfig"),
    "kto": TrainingAlgorithm("labels", "kto", "kto_config.KTOConfig"),
    "dpo": TrainingAlgorithm("pairs", "dpo", "dpo_config.DPOConfig"),
    "grpo": TrainingAlgorithm("groups", "grpo", "grpo_config.GRPOConfig"),
    "grpo_online": TrainingAlgorithm("groups", "online", "grpo_config.GRPOConfig"),
}
"""By the name that `--algorithm` takes."""


def known_algorithm(name: str) -> str:
    """The name, if there is such an algorithm.

    Raises:
        ValueError: There is none; names the nearest.
    """
    if name not in ALGORITHMS:
        near = difflib.get_close_matches(name, ALGORITHMS, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(ALGORITHMS)}"
        raise ValueError(f"no algorithm {name!r}; {advice}")
    return name
