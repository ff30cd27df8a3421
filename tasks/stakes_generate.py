"""Pairs of prompts with much and with little at stake, written by a model: training data for monitors.

inspect eval tasks/stakes_generate.py -T pairs=300 --model openai/gpt-4.1
python probes/corpus.py logs/... --out stakes.jsonl

An eval that was stopped is taken up with `inspect eval-retry LOG`: pairs that are in the log are not written
again, and answers to the others come from Inspect's cache as far as they were given. Cost is in the log.
"""

from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig

from scenarios.files.given_paths import where_meant
from scenarios.stakes.factors import Factors, PairSpec, Shares, draw_pairs, read_factors
from scorers.families.stakes_pairs import usable_prompts
from solvers.stakes.pair_writing import stakes_pair


@task
def stakes_generate(
    pairs: int = 300,
    styles: int = 3,
    dev: float = 0.1,
    test: float = 0.2,
    heldout_styles: str | list[str] | None = None,
    factors: str = "",
    metadata: bool = True,
    cache: bool = True,
    structured: bool = True,
    temperature: float = 1.0,
    seed: int = 0,
) -> Task:
    """The model under test writes both situations of a pair, and both prompts in several styles.

    Args:
        pairs: Situations, each told with much and with little at stake.
        styles: Per pair; tone, language and length are drawn for each.
        dev: Share of pairs for development.
        test: Share of pairs for the test. What is left is for training.
        heldout_styles: Styles that only test pairs are written in, comma separated; those that the lists mark
            if not given, `none` for none.
        factors: A YAML file in place of `scenarios/stakes/factors.yaml`.
        metadata: Ask for harm, bearer, horizon and reversibility of each situation: one call more per pair.
        cache: Keep answers in Inspect's cache.
        structured: Impose the answers' form by a schema; `false` for providers that refuse one.
        temperature: Of the model.
        seed: Draws pairs, splits and variations.
    """
    path = where_meant(Path(factors)).absolute() if factors else None
    lists = read_factors(path) if path else read_factors()
    specs = draw_pairs(
        lists,
        pairs=pairs,
        styles=styles,
        shares=Shares(dev, test),
        heldout_styles=_names(heldout_styles),
        seed=seed,
    )
    return Task(
        dataset=MemoryDataset([_sample(spec) for spec in specs], name="stakes pairs"),
        solver=stakes_pair(str(path or ""), metadata, cache, structured),
        scorer=usable_prompts(),
        config=GenerateConfig(temperature=temperature),
        tags=["stakes"],
        metadata={"heldout_styles": sorted(_heldout_named(lists, _names(heldout_styles)))},
    )


def _names(given: str | list[str] | None) -> list[str] | None:
    if given is None:
        return None
    names = given.split(",") if isinstance(given, str) else given
    return [name.strip() for name in names if name.strip() not in ("", "none")]


def _heldout_named(lists: Factors, names: list[str] | None) -> list[str]:
    return names if names is not None else [name for name, style in lists.styles.items() if style.heldout]


def _sample(spec: PairSpec) -> Sample:
    return Sample(
        id=spec.pair,
        input=f"{spec.topic}; {spec.role}; {spec.impact}",
        metadata={"initial_state": spec.pair, "spec": spec.model_dump(mode="json")},
    )
