"""A model that is asked whether much is at stake in a conversation: a monitor to compare with those that read
activations.

    inspect eval tasks/stakes.py -T data=rows.jsonl --model local/Qwen/Qwen3-4B
    inspect score LOG --scorer scorers/prompted_monitor.py -S template=single_word \\
        --model-role monitor=openai/gpt-4.1-mini

Three methods. `likelihood`: which of two answers is likelier, of a `local/` model from one pass over the
prompt, of a service from the alternatives beside the first token in which they differ. `answer`: the answer
that the model writes. `reasoned`: a thought and a number after it. What is no answer is unscored, with the
reason.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from inspect_ai.model import (
    CachePolicy,
    ChatMessage,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelName,
    ModelOutput,
    get_model,
    model_roles,
)
from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState

from analysis.compute import ModelSize, completions_flops, generation_flops
from scenarios.commands.scorer_options import known_options
from scenarios.conversations.text import ended
from scenarios.files.given_paths import where_meant
from scenarios.mistakes import UserMistake
from scenarios.stakes.monitor_templates import (
    LikelihoodTemplate,
    MonitorTemplate,
    ReasonedTemplate,
    read_monitor_templates,
    template_named,
)
from scorers.judging.calls import ALTERNATIVES, ANSWER_TOKENS, ask, together
from scorers.judging.transcript import show_given
from scorers.prompted.measures import monitor_cost, monitor_quality
from scorers.prompted.reading import (
    MonitorReading,
    first_differing,
    tokens_used,
    weighed,
    written_answer,
    written_score,
)

Method = Literal["likelihood", "answer", "reasoned"]

REASONS = {"refusal": "refusal", "no_response": "no_response", "too long": "grader_failed"}
"""Problem -> the reason as Inspect calls it; others are `invalid_response_format`."""

COMPLETION_PREFIX_TOKENS = 32
"""Room for what both answers begin with."""


@scorer(metrics=[monitor_quality(), monitor_cost()])
@known_options
def prompted_monitor(
    method: str = "likelihood",
    template: str = "default",
    templates: str = "",
    samples: int = 1,
    cache: bool = True,
    size: dict[str, Any] | None = None,
) -> Scorer:
    """Probability that much is at stake, 0 to 1, as the asked model has it.

    The model is the role `monitor`; without one, the model under test. The metadata have the logit of the two
    likelihoods, the probability that lies on them, the cost of the calls, and why there is no score.

    Args:
        method: likelihood, answer or reasoned.
        template: Name of a template of this method (`answer` takes those of `likelihood`).
        templates: A YAML file of one's own in place of `scenarios/stakes/monitors.yaml`.
        samples: Answers that are sampled, of which the mean counts; of no effect on likelihoods.
        cache: Keep answers in Inspect's cache.
        size: body, head, layers and width of a model that is not `local/`, for its FLOPs; see
            `analysis/compute.py`.
    """
    chosen = _template(method, template, templates)
    if samples < 1:
        raise UserMistake(f"samples={samples}: at least 1")
    given_size = _size(size)

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        model = get_model(role="monitor") if "monitor" in model_roles() else get_model()
        prompt = monitor_prompt(state, chosen)
        local = ModelName(model).api == "local"
        try:
            if method == "likelihood":
                assert isinstance(chosen, LikelihoodTemplate)
                output = await _weigh(model, prompt, chosen, cache, local=local)
                reading = weighed(output) if local else first_differing(output, chosen.answers)
                outputs = [output]
            else:
                outputs = await together(
                    model.generate(
                        list(prompt),
                        config=_sampling(samples),
                        cache=CachePolicy(expiry=None, scopes={"sample": str(number)}) if cache else False,
                    )
                    for number in range(samples)
                )
                reading = _mean([_answer_in(output, chosen) for output in outputs])
        except Exception as error:
            if not _refuses_roles(error):
                raise
            return _unscored("chat template", str(error), {"model": str(model), "method": method})
        return _score(reading, outputs, model, method, template, given_size)

    return score


def monitor_prompt(state: TaskState, template: MonitorTemplate) -> list[ChatMessage]:
    """What the model is asked about the conversation of a sample."""
    if template.shown == "turns":
        return [*state.messages, ChatMessageUser(content=template.after)]
    shown = ended(show_given(state.messages, state.metadata.get("tools")).text)
    asked = "\n\n".join(part for part in (template.before, shown, template.after) if part)
    system: list[ChatMessage] = [ChatMessageSystem(content=template.system)] if template.system else []
    return [*system, ChatMessageUser(content=asked)]


def _template(method: str, name: str, templates: str) -> LikelihoodTemplate | ReasonedTemplate:
    """The template of this name.

    Raises:
        UserMistake: No such method or template.
        ScenarioError: The file cannot be used; names file, line and field.
    """
    if method not in get_args(Method):
        raise UserMistake(f"method={method}: one of {', '.join(get_args(Method))}")
    known = read_monitor_templates(where_meant(Path(templates)) if templates else None)
    if method == "reasoned":
        return known.reasoned[template_named(name, known.reasoned)]
    return known.likelihood[template_named(name, known.likelihood)]


def _size(given: Mapping[str, Any] | None) -> ModelSize | None:
    if given is None:
        return None
    if unknown := set(given) - set(ModelSize._fields):
        raise UserMistake(f"size: no {', '.join(sorted(unknown))}; it has {', '.join(ModelSize._fields)}")
    try:
        return ModelSize(**{name: int(float(value)) for name, value in given.items()})
    except (TypeError, ValueError):
        raise UserMistake(f"size: whole numbers for {', '.join(ModelSize._fields)}, body at least") from None


async def _weigh(
    model: Model, prompt: list[ChatMessage], template: LikelihoodTemplate, cache: bool, *, local: bool
) -> ModelOutput:
    answers = [template.answers.high, template.answers.low]
    if not local:
        return await ask(
            model,
            prompt,
            GenerateConfig(
                max_tokens=max(ANSWER_TOKENS, COMPLETION_PREFIX_TOKENS),
                temperature=1.0,
                top_p=1.0,
                logprobs=True,
                top_logprobs=ALTERNATIVES,
            ),
        )
    policy = CachePolicy(expiry=None) if cache else False
    return await model.generate(
        prompt, config=GenerateConfig(extra_body={"completions": answers}), cache=policy
    )


def _sampling(samples: int) -> GenerateConfig:
    return GenerateConfig(temperature=0.0 if samples == 1 else 1.0)


def _answer_in(output: ModelOutput, template: LikelihoodTemplate | ReasonedTemplate) -> MonitorReading:
    if isinstance(template, ReasonedTemplate):
        return written_score(output, template.scale)
    return written_answer(output, template.answers)


def _mean(readings: list[MonitorReading]) -> MonitorReading:
    """Of those that say something; the commonest problem if none does."""
    said = [r.probability for r in readings if r.probability is not None]
    problems = [r.problem for r in readings if r.probability is None]
    if said:
        return MonitorReading(probability=sum(said) / len(said), invalid=len(problems))
    return MonitorReading(problem=max(problems, key=problems.count), invalid=len(problems))


_ROLES = re.compile(
    r"chat template|roles? must alternate|conversation roles|(?:unknown|unsupported|invalid) role", re.I
)


def _refuses_roles(error: Exception) -> bool:
    """Whether a chat template, here or at a service, has no place for these roles in this order."""
    # the class is that of `providers/`, which scorers do not import
    here = type(error).__name__ == "ChatTemplateError"
    return here or (getattr(error, "status_code", None) == 400 and bool(_ROLES.search(str(error))))


def _score(
    reading: MonitorReading,
    outputs: list[ModelOutput],
    model: Model,
    method: str,
    template: str,
    size: ModelSize | None,
) -> Score:
    cost = dict(tokens_used(outputs))
    if (flops := _flops(outputs, size)) is not None:
        cost["flops"] = flops
    metadata: dict[str, Any] = {
        "scale": "0-1",
        "over": "conversation",
        "detects": "high stakes",
        "model": str(model),
        "method": method,
        "template": template,
        "logit": reading.logit,
        "mass": reading.mass,
        "bounded": reading.bounded,
        "cost": cost,
        "invalid_answers": reading.invalid,
    }
    wrote = outputs[0].completion if outputs[0].choices else ""
    if reading.probability is None:
        return _unscored(reading.problem or "unreadable", wrote, metadata)
    return Score(value=reading.probability, explanation=wrote or None, metadata=metadata)


def _unscored(problem: str, wrote: str, metadata: dict[str, Any]) -> Score:
    return Score.unscored(
        reason=REASONS.get(problem, "invalid_response_format"),
        explanation=f"{problem}: {wrote[:200]}" if wrote else problem,
        metadata=metadata | {"problem": problem},
    )


def _flops(outputs: list[ModelOutput], size: ModelSize | None) -> float | None:
    """Of all calls; None where the size of the model or the number of tokens is not known."""
    total = 0.0
    for output in outputs:
        told = output.metadata or {}
        own = ModelSize(**told["size"]) if "size" in told else size
        if own is None or output.usage is None:
            return None
        if "completions" in told:
            completions = [one["tokens"] for one in told["completions"]]
            passes = told["prompt_passes"]
            total += completions_flops(own, output.usage.input_tokens, completions, prompt_passes=passes)
        else:
            total += generation_flops(own, output.usage.input_tokens, output.usage.output_tokens)
    return total
