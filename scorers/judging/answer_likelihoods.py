"""The likelihood of every answer on a scale, as a whole reply, for judges that run here.

A small model, or one that was trained to talk, begins with prose whatever it is asked for; what it would have
said is then seen in no first token. Here each valid answer is put behind the prompt with the end of the turn
and weighed, which is one pass over the prompt and no generation. The number is the expected value among these
answers; their probability together is kept beside it, and may be as little as it is.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelName, ModelOutput

from scenarios.mistakes import UserMistake

MODE = "likelihood"
"""Name of the way of judging."""


class NoLikelihoods(UserMistake):
    """The judge's provider weighs no given answers. The message says what to do."""


async def weigh_answers(model: Model, prompt: list[ChatMessage], support: Mapping[str, float]) -> ModelOutput:
    """The likeliest answer; `shares_of` reads how likely each one is.

    Args:
        model: The judge, a `local/` one.
        prompt: The messages.
        support: The answers.

    Raises:
        NoLikelihoods: The judge's provider cannot weigh.
    """
    check_weighs(model)
    asked = GenerateConfig(extra_body={"completions": list(support), "ended": True})
    return await model.generate(prompt, config=asked)


def check_weighs(model: Model | ModelName) -> None:
    """Tell of a judge that cannot weigh answers, before anybody speaks if its name is known by then.

    Raises:
        NoLikelihoods: It is no `local/` model.
    """
    provider = model.api if isinstance(model, ModelName) else ModelName(model).api
    if provider != "local":
        raise NoLikelihoods(
            f"judging={MODE}: the judge {model} is asked through {provider}/, and only local/ models weigh "
            "given answers; choose judging=logprobs or judging=samples:<k>, or a local/ judge"
        )


class Shares(NamedTuple):
    """What is read from the weighed answers."""

    of: dict[str, float]
    """Answer -> its probability among the answers; together 1."""

    mass: float
    """Probability that the judge's reply is one of them and nothing else, 0 to 1."""


def shares_of(output: ModelOutput) -> Shares:
    """What `weigh_answers` found, taken from logarithms: no answer is too unlikely to be compared."""
    found = {one["text"]: one["logprob"] for one in (output.metadata or {})["completions"]}
    likeliest = max(found.values())
    weights = {answer: math.exp(logprob - likeliest) for answer, logprob in found.items()}
    total = math.fsum(weights.values())
    shares = {answer: weight / total for answer, weight in weights.items()}
    return Shares(shares, min(1.0, total * math.exp(likeliest)))
