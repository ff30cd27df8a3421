"""How right judges are read: fuzzed answers, and judges of known distribution behind services of all habits.

    python benchmarks/scorers/judges.py [--texts 10000] [--tokens 2000] [--seeds 3] [--seed 0]
        [--before COMMIT]

Three parts. Texts: answers in valid forms and nonsense (`tests/support/fuzzed_answers.py`), read as text.
Tokens: such answers as the likeliest of a judge, cut into tokens in several ways, asked for with
log-probabilities. Services: a grid of distributions over 1 to 10 and of services
(`tests/support/judge_services.py`); the value must be within .02 of the true mean, or there must be none and
a reason; and having none must not depend on the rating. With a git history the same is done with the reader
of an earlier commit, for comparison.
"""

import argparse
import math
import random
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import anyio

from benchmarks.earlier_commit import EarlierCommit, EarlierError
from scenarios.conversations.dialogue import Judgement
from scenarios.schema import Question, Scale
from scorers.judging.calls import NoLogprobs
from scorers.judging.judgement import Judging, judge, parse_answer
from scorers.judging.scales import ANSWERS
from tests.support import judge_services
from tests.support.fuzzed_answers import Fuzzed, nonsense, valid
from tests.support.judge_services import SERVICES, Service, Tokens, spelled

BEFORE = "0b481ea"
"""The last commit whose reader looked at one token."""

CLOSE = 0.02

Reader = Callable[[str, Scale], Awaitable[Judgement]]
"""Asks the model of this name on a scale."""

Parser = Callable[[str, Mapping[str, float]], str | None]

# -- the two readers ------------------------------------------------------------------------------


async def read_now(name: str, scale: Scale) -> Judgement:
    """The judgement of the reader as it is."""
    question = Question(system="Rate it.", ask="Your rating?", scale=scale)
    how = Judging.parse("logprobs")
    return await judge("preference", "rating", question, "[person]\nHello.", judging=how, model=name)


def earlier_reader(commit: str) -> tuple[Reader, Parser] | None:
    """The reader of a commit, or None where there is no git history."""
    earlier = EarlierCommit.start(commit, Path(__file__).with_name("earlier_judges.py"))
    if earlier is None:
        return None

    async def read(name: str, scale: Scale) -> Judgement:
        service = SERVICES[name.removeprefix("service/")]
        told = {
            f.name: getattr(service, f.name) for f in fields(service) if f.name not in ("prompts", "configs")
        }
        told["texts"] = list(service.texts.items())
        asked = {"support": ANSWERS[scale], "services": judge_services.__file__, "service": told}
        try:
            value = earlier.ask(asked)
        except EarlierError as error:
            raise NoLogprobs(error.message) if error.kind == "NoLogprobs" else error from None
        return Judgement(role="preference", model=name, question="rating", mode="logprobs", value=value)

    def parse(text: str, support: Mapping[str, float]) -> str | None:
        return earlier.ask({"text": text, "support": support})

    return read, parse


# -- texts ----------------------------------------------------------------------------------------


class Read(NamedTuple):
    """How many of some answers were read, rightly or not."""

    answers: int
    right: int
    lost: int
    """Valid answers that gave nothing."""

    wrong: int
    """Valid answers that gave another value."""

    nonsense: int
    invented: int
    """Nonsense that gave a value."""

    def line(self, name: str) -> str:
        """For people."""
        return (
            f"  {name:<10}{self.answers:>7} valid: {self.right} right, {self.lost} lost, {self.wrong} wrong;"
            f"{self.nonsense:>7} nonsense: {self.invented} became a value"
        )


def fuzzed(rng: random.Random) -> tuple[Scale, Fuzzed]:
    """An answer on some scale; every other one is nonsense."""
    scale = rng.choice(list(ANSWERS))
    support = ANSWERS[scale]
    if rng.random() < 0.5:
        return scale, valid(rng, support, rng.choice(list(support)))
    return scale, nonsense(rng, support)


def read_texts(count: int, seed: int, parse: Parser) -> Read:
    """Fuzzed answers as text."""
    rng = random.Random(seed)
    right = lost = wrong = invented = meant = 0
    for _ in range(count):
        scale, answer = fuzzed(rng)
        found = parse(answer.text, ANSWERS[scale])
        if answer.answer is None:
            invented += found is not None
            continue
        meant += 1
        right += found == answer.answer
        lost += found is None
        wrong += found not in (None, answer.answer)
    return Read(meant, right, lost, wrong, count - meant, invented)


# -- tokens ---------------------------------------------------------------------------------------

CUTS: Mapping[str, str] = {
    "words, single digits": r" ?[A-Za-z]+|\s|\d|.",
    "words, joined digits": r" ?[A-Za-z]+|\s|\d{1,3}|.",
    "digits with a space": r" ?\d| ?[A-Za-z]+|\s|.",
    "digits and three letters": r" ?[A-Za-z]{1,3}|\s|\d|.",
}
"""Tokenizers, as what they make one token."""


class Mixed(NamedTuple):
    """A judge with a likeliest answer and others."""

    scale: Scale
    texts: dict[Tokens, float]
    value: float | None
    """Mean of the valid answers; None if they have too little of the probability."""


def mixed(rng: random.Random) -> Mixed:
    """A fuzzed answer as the likeliest; beside a valid one near ones in the same form, beside nonsense bare
    ones."""
    scale, main = fuzzed(rng)
    support = ANSWERS[scale]
    pattern = re.compile(CUTS[rng.choice(list(CUTS))], re.DOTALL)
    share = rng.choice((0.65, 0.8, 0.95, 1.0))
    answers = list(support)
    place = answers.index(main.answer) if main.answer else rng.randrange(len(answers))
    near = answers[max(0, place - 2) : place + 3]
    others = rng.sample(near, min(len(near), 3))
    texts: dict[Tokens, float] = {}
    parts = [rng.random() for _ in others]
    shares = [(1 - share) * p / sum(parts) for p in parts]
    if main.answer is None:
        options = [(main.text, share), *zip(others, shares, strict=True)]
        value = None
    else:
        form = random.Random(rng.random())
        state = form.getstate()
        options, weighed = [], 0.0
        for answer, p in ((main.answer, share), *zip(others, shares, strict=True)):
            form.setstate(state)
            text = valid(form, support, answer).text
            options.append((text, p))
            weighed += p * support[answer]
        value = weighed
    for text, p in options:
        tokens = tuple(pattern.findall(text))
        if p > 0:
            texts[tokens] = texts.get(tokens, 0.0) + p
    return Mixed(scale, texts, value)


async def read_tokens(count: int, seed: int, read: Reader) -> Read:
    """Fuzzed answers with log-probabilities."""
    rng = random.Random(seed)
    right = lost = wrong = invented = meant = 0
    for number in range(count):
        case = mixed(rng)
        found = await asked(read, f"tokens{number}", Service(case.texts, seed=number), case.scale)
        value = found.value if isinstance(found, Judgement) else None
        if case.value is None:
            invented += value is not None
            continue
        meant += 1
        close = value is not None and abs(value - case.value) <= CLOSE
        right += close
        lost += value is None
        wrong += value is not None and not close
    return Read(meant, right, lost, wrong, count - meant, invented)


async def asked(read: Reader, name: str, service: Service, scale: Scale) -> Judgement | Exception:
    """What a reader makes of a judge behind a service, errors included."""
    SERVICES[name] = service
    try:
        return await read(f"service/{name}", scale)
    except Exception as error:
        return error
    finally:
        del SERVICES[name]


# -- services -------------------------------------------------------------------------------------

HIDDEN: dict[str, Any] = {"shows_end": False}
BEHAVIOURS: Mapping[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "continues": ({}, ("digits",)),
    "answers anew": ({"on_continue": "anew"}, ("digits",)),
    "400 on continuing": ({"on_continue": "refuses"}, ("digits",)),
    "anew, one answer a call": ({"on_continue": "anew", "several": False}, ("digits",)),
    "continues, no end shown": (HIDDEN, ("digits",)),
    "anew, no end shown": (HIDDEN | {"on_continue": "anew"}, ("digits",)),
    "one token for 10": ({"on_continue": "anew"}, ()),
    "one token for 10, no end": (HIDDEN | {"on_continue": "anew"}, ()),
    "5 alternatives, digits": ({"cap": 5, "on_continue": "anew"}, ("digits",)),
    "5 alternatives, one token": ({"cap": 5, "on_continue": "anew"}, ()),
    "chosen token only": ({"chosen_only": True}, ()),
    "certain tokens dropped": ({"drops_certain": True}, ("digits",)),
    "certain dropped, no end": (HIDDEN | {"drops_certain": True, "on_continue": "anew"}, ("digits",)),
    "spaces before": ({"on_continue": "anew"}, ("digits", "space")),
    "a token of space before": ({"on_continue": "anew"}, ("digits", "spaces")),
    "bold": ({"on_continue": "anew"}, ("digits", "bold")),
    "Rating: N": ({"on_continue": "anew"}, ("digits", "label")),
    "JSON": ({"on_continue": "anew"}, ("json",)),
    "N/10": ({"on_continue": "anew"}, ("digits", "out_of")),
    "thinks first": ({"thought": ("<think>", "Hm", ".", "</think>", "\n\n")}, ("digits",)),
    "thinks for long": ({"thought": ("<think>", *["hm"] * 100, "</think>", "\n\n")}, ("digits",)),
    "no temperature with top_p": ({"refuses": ("temperature and top_p",)}, ("digits",)),
    "no max_tokens, no n": ({"refuses": ("max_tokens", "num_choices")}, ("digits",)),
}  # fmt: skip


def normal(peak: int, width: float) -> dict[str, float]:
    """A normal distribution over 1 to 10, cut off at the ends."""
    weights = {str(n): math.exp(-(((n - peak) / width) ** 2) / 2) for n in range(1, 11)}
    total = sum(weights.values())
    return {n: w / total for n, w in weights.items() if w / total > 1e-9}


ODD_SHAPES: Mapping[str, dict[str, float]] = {
    "low": {"1": 0.45, "2": 0.52, "3": 0.03},
    "high": {"10": 0.45, "9": 0.52, "8": 0.03},
    "both ends": {"1": 0.5, "10": 0.5},
    "both ends and middle": {"1": 0.3, "5": 0.4, "10": 0.3},
    "middle, some 10": {"5": 0.8, "10": 0.2},
    "middle, some 1": {"6": 0.8, "1": 0.2},
}


class Shape(NamedTuple):
    """A judge's distribution over answers."""

    peak: int
    """Its likeliest rating; 0 for shapes that are not had around each rating."""

    name: str
    answers: dict[str, float]


def shapes() -> list[Shape]:
    """The same shapes around each rating, and odd ones."""
    found: list[Shape] = []
    for peak in range(1, 11):
        found += [
            Shape(peak, "sure", {str(peak): 1.0}),
            Shape(peak, "sharp", normal(peak, 0.45)),
            Shape(peak, "broad", normal(peak, 1.2)),
            Shape(peak, "some nonsense", {n: 0.8 * p for n, p in normal(peak, 0.8).items()} | {"?": 0.2}),
            Shape(peak, "mostly nonsense", {n: 0.4 * p for n, p in normal(peak, 0.8).items()} | {"?": 0.6}),
        ]
    return [*found, *(Shape(0, name, answers) for name, answers in ODD_SHAPES.items())]


class Cells(NamedTuple):
    """A behaviour's cells of the grid."""

    cells: int
    scored: int
    far: int
    """Values further than `CLOSE` from the true mean, values where there should be none included."""

    worst: float
    lost: int
    """Judges with enough valid mass that got no value, but a reason."""

    refused: int
    """Errors that name the way out."""

    broken: int
    """Other errors."""

    spread: float
    """Largest difference between ratings in the share that got no value."""


def true_mean(answers: Mapping[str, float]) -> float | None:
    """Mean of the valid answers, None below half of the probability."""
    on_scale = {n: p for n, p in answers.items() if n in ANSWERS["1-10"]}
    total = sum(on_scale.values())
    return sum(int(n) * p for n, p in on_scale.items()) / total if total >= 0.5 else None


async def grid(behaviour: str, seeds: int, read: Reader, of: Sequence[Shape] | None = None) -> Cells:
    """All distributions behind one kind of service."""
    arguments, how = BEHAVIOURS[behaviour]
    errors: list[float] = []
    without: dict[int, list[bool]] = {}
    lost = refused = broken = cells = 0
    for place, (peak, _, answers) in enumerate(of or shapes()):
        truth = true_mean(answers)
        for seed in range(seeds):
            cells += 1
            service = Service(spelled(answers, how), seed=1000 * place + seed, **arguments)
            found = await asked(read, f"grid-{behaviour}-{place}-{seed}", service, "1-10")
            value = found.value if isinstance(found, Judgement) else None
            if isinstance(found, NoLogprobs):
                refused += 1
            elif isinstance(found, Exception):
                broken += 1
            elif value is None:
                lost += truth is not None
            else:
                errors.append(abs(value - truth) if truth is not None else 9.0)
            if peak:
                without.setdefault(peak, []).append(value is None)
    rates = [sum(w) / len(w) for w in without.values()]
    far = sum(e > CLOSE for e in errors)
    return Cells(
        cells, len(errors), far, max(errors, default=0.0), lost, refused, broken, max(rates) - min(rates)
    )


def describe(c: Cells) -> str:
    """One line of the table."""
    return f"{c.scored:>5}{c.far:>6}{c.worst:>7.2f}{c.lost:>7}{c.refused:>8}{c.broken:>8}{c.spread:>8.2f}"


async def run(options: argparse.Namespace) -> None:
    """All three parts, for the reader as it is and an earlier one."""
    earlier = earlier_reader(options.before)
    print(f"texts: {options.texts} fuzzed answers, half of them nonsense")
    if earlier:
        print(read_texts(options.texts, options.seed, earlier[1]).line("before"))
    print(read_texts(options.texts, options.seed, parse_answer).line("now"))
    print(f"\ntokens: {options.tokens} judges with a fuzzed answer as the likeliest, with log-probabilities")
    if earlier:
        print((await read_tokens(options.tokens, options.seed, earlier[0])).line("before"))
    print((await read_tokens(options.tokens, options.seed, read_now)).line("now"))
    head = f"{'value':>5}{'far':>6}{'worst':>7}{'none':>7}{'refused':>8}{'broken':>8}{'spread':>8}"
    print(f"\nservices: {options.seeds} judges of each of 56 distributions over 1 to 10 behind each service")
    print("  value: got one; far: of these, more than .02 from the true mean; none: got none though they")
    print("  should, with a reason; refused: the error that names judging=samples; broken: other errors;")
    print("  spread: largest difference between ratings in the share without a value")
    print(f"\n  {'':<28}{'now' if not earlier else 'before':>14}{'':<35}{'now' if earlier else ''}")
    print(f"  {'':<28}{head}{'   ' + head if earlier else ''}")
    for behaviour in BEHAVIOURS:
        before = describe(await grid(behaviour, options.seeds, earlier[0])) + "   " if earlier else ""
        print(f"  {behaviour:<28}{before}{describe(await grid(behaviour, options.seeds, read_now))}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--before", default=BEFORE, help="commit of the earlier reader")
    anyio.run(run, parser.parse_args())


if __name__ == "__main__":
    main()
