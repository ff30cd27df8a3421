"""What is done where one answer of a judge does not show the distribution: look again, or say so.

A "1" on a scale with a 10 that the answer did not go through may be either; of an answer that holds half of
the probability or more, more than the first token should be known, as it might begin 0.7 or "No idea"; and
a service that lists few alternatives may leave out answers.

1. The judge is asked to go on from the "1", if its service goes on with words that it is given. Whether it
   does is seen in what comes (what follows a "1" is no answer by itself, and makes one with it) and in the
   number of tokens of the prompt, which must be that of the first call and the "1": templates that put a
   reply differently, or leave the system prompt out, do not ask the same question again.
2. Otherwise the first question is asked again, several answers at once, until one takes the way that is to
   be known. Its alternatives are those of the first answer, as the prompt is the same; so this is not done
   after a thought, which would be another one. A chosen token is told with its probability even if it is
   none of the likeliest, so answers that were not listed are found too.
3. What is open then is decided by its neighbours: a "1" beside 2 and 3 and no 8 and 9 is a 1, one beside 8
   and 9 and no 2 and 3 a 10; answers that were not listed are as likely as the others make them. This
   assumes that ratings have one peak; the probability that was decided so is kept as `undecided`. Where the
   neighbours do not tell, there is no value. Below `MATTERS` it is left out.

Where a service shows no token for the end of an answer, a "1" that ended each time counts as a 1.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ContentReasoning,
    GenerateConfig,
    Model,
    ModelName,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.util import LimitExceededError

from scorers.judging.answer_logprobs import CERTAIN, Reading, read_answer
from scorers.judging.answer_tokens import steps_of
from scorers.judging.answers import parse_answer
from scorers.judging.calls import SAMPLES, Habits, NoLogprobs, ask, habits_of

MATTERS = 0.002
"""Less probability than this on a "1" or 10 moves no rating by .02."""

MAJORITY = 0.5
"""An answer with this probability must have been seen as a whole."""

LOOKS = 3
"""Times that the question is asked again, at most."""

UNLISTED = 0.02
"""From so much probability on that a service did not list, it is looked for."""

ANSWERS_AT_ONCE = 16
"""Answers asked for each time, where the service gives several to one prompt."""

EMPTY_LISTS = 20
"""So many answers in a row without a single token are not a judge that is always certain."""

NONE_NEAR = 0.02
"""Neighbours with less probability than this are none."""

CONTINUES = 0.1
"""A service that goes on from a "1" gives other numbers and words less probability than this."""


NO_ANSWER = ("content_filter", "model_length")

Shares = Mapping[str, float]
"""Answer -> share of the probability of a "1" that is this answer in the end; the rest is none."""


class Decided(NamedTuple):
    """Probabilities of the answers after all looks."""

    probabilities: Mapping[str, float]
    undecided: float = 0.0
    """Probability of a "1" that was decided by its neighbours, or that could not be decided."""

    problem: str | None = None
    """Why it could not, if that leaves no value."""

    unlisted: Mapping[str, float] = {}
    """Answers that a service with few alternatives did not list -> probability that they are taken to
    have."""


def reading_of(choice: ChatCompletionChoice, support: Mapping[str, float], model: Model) -> Reading:
    """What one answer of a judge shows.

    Raises:
        NoLogprobs: It came without log-probabilities, or with those of the chosen tokens alone.
    """
    text, found, habits = choice.message.text, choice.logprobs, habits_of(model)
    if found is None:
        raise NoLogprobs(
            f"The judge {model} returned no log-probabilities, so an expected rating cannot be read. "
            f"Name a judge that gives them, or {SAMPLES}."
        )
    if habits.empty_lists >= EMPTY_LISTS and ModelName(model).api != "google":
        raise NoLogprobs(
            f"The judge {model} returned log-probabilities of no token in {habits.empty_lists} answers in a "
            f"row, so an expected rating cannot be read. Name a judge that gives them, or {SAMPLES}."
        )
    reading = read_answer(found.content, support, text)
    if reading.alone is not None:
        raise NoLogprobs(
            f"The judge {model} returned no log-probabilities but those of the chosen tokens "
            f"({reading.alone:.2f}), none of the {habits.alternatives} alternatives that were asked for, so "
            f"an expected rating cannot be read. Name a judge that gives them, or {SAMPLES}."
        )
    habits.joins_digits |= reading.joins_digits
    parts = choice.message.content if isinstance(choice.message.content, list) else []
    return reading._replace(thought=reading.thought or any(isinstance(p, ContentReasoning) for p in parts))


async def decide(
    output: ModelOutput,
    model: Model,
    prompt: Sequence[ChatMessage],
    config: GenerateConfig,
    support: Mapping[str, float],
) -> Decided:
    """Look as often as it takes, and then say what is known.

    Args:
        output: The first answer.
        model: The judge.
        prompt: Its question.
        config: With which it was asked.
        support: Answer -> value.

    Raises:
        NoLogprobs: An answer came without log-probabilities, or with those of the chosen tokens alone.
    """
    habits, given = habits_of(model), output.choices[0].logprobs
    # tokens that are certain are left out by Inspect's google provider, so that none may be left
    habits.empty_lists = habits.empty_lists + 1 if given is not None and not given.content else 0
    reading = reading_of(output.choices[0], support, model)
    after = reading.after_one
    if not reading.thought:
        if after is None and _one_is_open(reading, habits) and habits.continues is not False:
            after = await _continued(output, reading, model, prompt, config, support)
        if _asks_for_more(reading, habits, after):
            reading, after = await _looked_again(reading, after, model, prompt, config, support)
    return _decided(reading, after, support, joins_digits=habits.joins_digits)


def _asks_for_more(reading: Reading, habits: Habits, after: Shares | None) -> bool:
    one_is_open = after is None and _one_is_open(reading, habits)
    return one_is_open or reading.unseen >= MAJORITY or reading.unlisted >= UNLISTED


def _one_is_open(reading: Reading, habits: Habits) -> bool:
    return not habits.joins_digits and (reading.unsplit_one >= MATTERS or reading.end_hidden)


async def _looked_again(
    reading: Reading,
    after: Shares | None,
    model: Model,
    prompt: Sequence[ChatMessage],
    config: GenerateConfig,
    support: Mapping[str, float],
) -> tuple[Reading, Shares | None]:
    """The reading of an answer that went where most of the probability lies, and what follows a "1"."""
    habits = habits_of(model)
    ended = reading.end_hidden
    for _ in range(LOOKS):
        output = await ask(model, prompt, config.model_copy(update={"num_choices": ANSWERS_AT_ONCE}))
        for choice in output.choices:
            if choice.stop_reason in NO_ANSWER or not choice.message.text.strip():
                continue
            other = reading_of(choice, support, model)
            after = after or other.after_one
            ended = ended or other.end_hidden
            reading = _together(reading, other)
        if not _asks_for_more(reading, habits, after):
            break
    # every "1" among them ended, though nothing shows how likely that was
    return reading, {"1": 1.0} if after is None and ended else after


def _together(reading: Reading, other: Reading) -> Reading:
    """What two answers to one prompt show of the same distribution."""
    if reading.unseen >= MAJORITY > other.unseen:
        reading, other = other, reading
    if other.lead_in != reading.lead_in or reading.unlisted < UNLISTED:
        return reading
    # a token that was chosen is told with its probability even if it is none of the likeliest
    known = {a for a, p in reading.probabilities.items() if p > 0}
    if known & {"1", "10"} or reading.unsplit_one:
        known |= {"1", "10"}
    new = {a: p for a, p in other.probabilities.items() if a not in known}
    one = 0.0 if "1" in known else other.unsplit_one
    return reading._replace(
        probabilities=reading.probabilities | new,
        unsplit_one=reading.unsplit_one + one,
        unlisted=max(0.0, reading.unlisted - sum(new.values()) - one),
    )


# -- going on from a "1" ---------------------------------------------------------------------------


async def _continued(
    first: ModelOutput,
    reading: Reading,
    model: Model,
    prompt: Sequence[ChatMessage],
    config: GenerateConfig,
    support: Mapping[str, float],
) -> Shares | None:
    """What follows a "1"; None if the service does not go on with words that it is given."""
    habits = habits_of(model)
    begun = ChatMessageAssistant(content=f"{reading.lead_in.lstrip()}1")
    several = config.model_copy(update={"num_choices": ANSWERS_AT_ONCE})
    try:
        output = await ask(model, [*prompt, begun], several)
    except LimitExceededError:
        raise
    except Exception:  # a service that wants no words of the assistant at the end says so as it likes
        habits.continues = False
        return None
    same = _is_the_first_and(reading.lead_in_tokens + 1, first.usage, output.usage)
    shares = _after_one(output.choices, begun.text, support) if same else None
    habits.continues = shares is not None
    return shares


def _is_the_first_and(tokens: int, first: ModelUsage | None, second: ModelUsage | None) -> bool:
    """Whether the second prompt is the first one and so many tokens, as far as the service counts prompts."""
    if first is None or second is None:
        return True
    more = _prompt_tokens(second) - _prompt_tokens(first)
    return 0 <= more <= tokens + 1


def _prompt_tokens(usage: ModelUsage) -> int:
    return usage.input_tokens + (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)


def _after_one(
    choices: Sequence[ChatCompletionChoice], begun: str, support: Mapping[str, float]
) -> Shares | None:
    """What follows the "1" in which `begun` ends; None if what came does not go on from it."""
    if not choices or any(c.stop_reason in NO_ANSWER for c in choices):
        return None
    texts = [c.message.text for c in choices]
    if sum(not _goes_on(begun, text, support) for text in texts) > CONTINUES * len(texts):
        return None
    first = next((c.logprobs.content[0] for c in choices if c.logprobs and c.logprobs.content), None)
    if first is None:  # nothing follows, or what is certain and left out
        zero = sum(text.startswith("0") for text in texts) / len(texts)
        return {"10": zero, "1": 1.0 - zero}
    step = steps_of([first])[0]
    if not step.others and step.probability < CERTAIN:
        return None
    shares = {"1": 0.0, "10": 0.0}
    other = 0.0
    for piece, probability in {**step.others, step.piece: step.probability}.items():
        answer = parse_answer(begun + piece, support)
        if answer is None and not re.search(r"\w", piece):
            answer = "1"
        if answer in shares:
            shares[answer] += probability
        else:
            other += probability
    if other > CONTINUES:
        return None
    shares["1"] += max(0.0, 1.0 - other - sum(shares.values()))
    return shares


def _goes_on(begun: str, text: str, support: Mapping[str, float]) -> bool:
    """Whether a text goes on from the words before it, and is no answer by itself."""
    if not text.strip():
        return True
    return parse_answer(text, support) is None and parse_answer(begun + text, support) is not None


# -- what is known then ---------------------------------------------------------------------------


def _decided(
    reading: Reading, after: Shares | None, support: Mapping[str, float], *, joins_digits: bool
) -> Decided:
    probabilities = dict(reading.probabilities)
    one = reading.unsplit_one
    if reading.end_hidden and after is not None:
        one += probabilities.pop("1", 0.0)
    if not one:
        return _with_unlisted(Decided(probabilities), reading, support)
    if joins_digits:
        after = {"1": 1.0}
    undecided = 0.0
    if after is None:
        undecided, after = one, _as_its_neighbours(one, probabilities)
    if after is None:
        if one < MATTERS:
            return _with_unlisted(Decided(probabilities), reading, support)
        return Decided(
            probabilities,
            one,
            f"{one:.2f} of the judge's probability is on a 1 that may begin a 10, and nothing shows which; "
            f"name another judge, or {SAMPLES}",
        )
    for answer, share in after.items():
        if answer in support:
            probabilities[answer] = probabilities.get(answer, 0.0) + one * share
    return _with_unlisted(
        Decided(probabilities, undecided if undecided >= MATTERS else 0.0), reading, support
    )


def _as_its_neighbours(one: float, probabilities: Mapping[str, float]) -> Shares | None:
    """The end of the scale where the neighbours outweigh the "1", or, where it is the peak, all the
    others."""
    low, high = (sum(probabilities.get(a, 0.0) for a in near) for near in (("2", "3"), ("8", "9")))
    others = list(probabilities.values())
    enough = 0.5 * sum(others) if one >= max(others, default=0.0) else one
    if low >= enough > 0 and high <= NONE_NEAR:
        return {"1": 1.0}
    if high >= enough > 0 and low <= NONE_NEAR:
        return {"10": 1.0}
    return None


def _with_unlisted(found: Decided, reading: Reading, support: Mapping[str, float]) -> Decided:
    """The answers, with those that a service did not list as likely as the listed ones make them.

    The logarithm of the probability is taken to be a parabola over the scale, as it is for a normal
    distribution; no answer gets more than the least likely that was listed, and all of them not more than was
    not listed.
    """
    listed = {a: p for a, p in found.probabilities.items() if p >= MATTERS}
    missing = [a for a in support if found.probabilities.get(a, 0.0) <= 0.0]
    numbers = all(a.isdecimal() for a in support)
    if reading.unlisted < MATTERS or not missing or len(listed) < 3 or not numbers:
        return found
    places, weights = [support[a] for a in listed], list(listed.values())
    curve = np.polynomial.Polynomial.fit(places, np.log(weights), 2, w=np.sqrt(weights))
    guessed = {a: min(reading.least_listed, math.exp(min(0.0, float(curve(support[a]))))) for a in missing}
    scale = reading.unlisted / max(sum(guessed.values()), reading.unlisted)
    return found._replace(unlisted={a: p * scale for a, p in guessed.items()})
