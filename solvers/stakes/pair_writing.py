"""Writes a pair: two situations, then every prompt of both, then what is to be known about them."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from inspect_ai.model import (
    CachePolicy,
    ChatMessage,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    ModelOutput,
    ResponseSchema,
    get_model,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import JSONSchema, collect

from scenarios.files.json_answers import last_object
from scenarios.generation.checks import REFUSAL
from scenarios.stakes.factors import PairSpec, Property, Variation, read_factors, read_stakes_prompt
from scenarios.stakes.records import PromptPair, Sides, StakesPair
from scenarios.templates import fill

SIDES = ("high", "low")


@solver
def stakes_pair(
    factors: str = "", metadata: bool = True, cache: bool = True, structured: bool = True
) -> Solver:
    """Let the model under test write one pair; what it wrote and what is wrong with it go to `StakesPair`.

    Prompts are asked for at the same time, each from the two situations. A pair whose situations are broken
    has no prompts. The sample's metadata are a `PairSpec`.

    Args:
        factors: File in place of `scenarios/stakes/factors.yaml`, which describes styles and lengths.
        metadata: Ask as well for the properties of both situations.
        cache: Keep answers in Inspect's cache: what was asked before the eval was stopped is not asked again.
        structured: Impose the form of answers by a schema, where the provider can.
    """
    lists = read_factors(Path(factors)) if factors else read_factors()

    async def ask(prompt: str, parts: Mapping[str, str], shape: JSONSchema, scope: str) -> ModelOutput:
        texts = read_stakes_prompt(prompt)
        messages: list[ChatMessage] = [
            ChatMessageSystem(content=fill(texts.system, parts)),
            ChatMessageUser(content=fill(texts.ask, parts)),
        ]
        schema = ResponseSchema(name=prompt, json_schema=shape) if structured else None
        return await get_model().generate(
            messages,
            config=GenerateConfig(response_schema=schema),
            cache=CachePolicy(expiry=None, scopes={"stakes": scope}) if cache else False,
        )

    async def prompts_of(spec: PairSpec, variation: Variation, situations: Sides, number: int) -> PromptPair:
        parts = {
            "style": f"{variation.style}. {lists.styles[variation.style].text}",
            "tone": f"{variation.tone}, that is {lists.tones[variation.tone]}",
            "language": variation.language,
            "length": f"{variation.length}, that is {lists.lengths[variation.length]}",
            "high": situations.high,
            "low": situations.low,
        }
        output = await ask("prompts", parts, _two_texts(), f"{spec.pair}:{number}")
        return PromptPair(variation=variation, **_sides(output, lists.never).model_dump())

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001
        spec = PairSpec.model_validate(state.metadata["spec"])
        written = state.store_as(StakesPair)
        parts = {"topic": spec.topic, "role": spec.role, "impact": spec.impact}
        situations = _sides(await ask("situations", parts, _two_texts(), spec.pair), lists.never)
        written.situations = situations
        if situations.problem is None:
            written.prompts = list(
                await collect(
                    *(prompts_of(spec, v, situations, number) for number, v in enumerate(spec.variations))
                )
            )
        if situations.problem is None and metadata and lists.metadata:
            texts = {"high": situations.high, "low": situations.low, **_questions(lists.metadata)}
            output = await ask("metadata", texts, _properties(lists.metadata), spec.pair)
            written.metadata, written.metadata_problems = _answered(output.completion, lists.metadata)
        return state

    return solve


def _sides(output: ModelOutput, never: Sequence[str]) -> Sides:
    """The two texts of an answer, or what is wrong with it."""
    text = output.completion
    found = last_object(text, set(SIDES))
    if found is None:
        if output.stop_reason == "content_filter" or REFUSAL.search(text):
            return Sides(problem="refusal")
        return Sides(problem="unreadable") if text.strip() else Sides(problem="no answer")
    sides = Sides(high=_plain(found.get("high")), low=_plain(found.get("low")))
    if not (sides.high and sides.low):
        sides.problem = "one-sided"
    elif sides.high == sides.low:
        sides.problem = "both sides are equal"
    elif _has_word(f"{sides.high}\n{sides.low}", never):
        sides.problem = "gives the label away"
    return sides


def _has_word(text: str, words: Sequence[str]) -> bool:
    """Whether one of them stands in the text, not merely within a word: mistakes are not stakes."""
    return any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) for word in words)


def _plain(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _questions(properties: Mapping[str, Property]) -> dict[str, str]:
    lines = [f"- {name}: {p.question} One of: {', '.join(p.values)}." for name, p in properties.items()]
    form = {side: dict.fromkeys(properties, "...") for side in SIDES}
    return {"questions": "\n".join(lines), "form": json.dumps(form)}


def _answered(text: str, properties: Mapping[str, Property]) -> tuple[dict[str, dict[str, str]], int]:
    """Side -> property -> value, and how many are missing or none of those listed."""
    found = last_object(text, set(SIDES)) or {}
    kept: dict[str, dict[str, str]] = {}
    for side in SIDES:
        told = found.get(side)
        answers = told if isinstance(told, Mapping) else {}
        kept[side] = {n: str(answers[n]) for n, p in properties.items() if answers.get(n) in p.values}
    return kept, len(SIDES) * len(properties) - sum(map(len, kept.values()))


def _two_texts() -> JSONSchema:
    return _object({side: JSONSchema(type="string") for side in SIDES})


def _properties(properties: Mapping[str, Property]) -> JSONSchema:
    one = _object({name: JSONSchema(type="string", enum=list(p.values)) for name, p in properties.items()})
    return _object(dict.fromkeys(SIDES, one))


def _object(properties: dict[str, JSONSchema]) -> JSONSchema:
    return JSONSchema(
        type="object", properties=properties, required=list(properties), additionalProperties=False
    )
