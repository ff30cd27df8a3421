"""Writes new initial states for a family: by a model, or offline from the family's facets.

    python scenarios/generate.py --family therapy --topic smoking --n 500 --model openai/gpt-4.1 --out states
    python scenarios/generate.py --family therapy --topic all --n 20 --out states.yaml        # offline

The output is a family of its own that any task plays: `-T scenario=states` (a folder) or
`-T scenario=states.yaml`; it has the new states and no others, unless `--keep-own true` lays them
beside the family's own. An output that ends in .jsonl has one state per line, with its topic. States
are added to what the output holds already. Beside it lie `<out>.card.md` and `<out>.card.json`.

Every state is checked: its form, its length, gaps left in it, words that give the kind of user away,
its language (needs py3langid), and near-duplicates among the new states, those in the output and the
family's own of the topic. What is rejected is counted by reason and replaced in further rounds.

Every answer is kept in `<out>.partial.jsonl` at once: a run that was stopped goes on with the same
command. Exit status: 0 done, 1 fewer states than asked for, 2 wrong options, 130 stopped.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from inspect_ai.model import GenerateConfig, Model, ResponseSchema, get_model
from inspect_ai.util import JSONSchema
from rich.text import Text
from tqdm import tqdm

from scenarios.commands.command_line import read_settings
from scenarios.commands.exits import exit_status
from scenarios.compose import composed_size, composed_state
from scenarios.family import KINDS, Family, InitialState
from scenarios.files.located_yaml import ScenarioError
from scenarios.generation.answers import state_from, states_in, unreadable
from scenarios.generation.calls import Answer, WorkingFile, answers_to
from scenarios.generation.card import PoolTally, RunRecord, card_paths, write_card
from scenarios.generation.checks import Checks, Rejected, runs_of
from scenarios.generation.files import Written, check_form, family_hash, read_states, write_states
from scenarios.generation.prompt import (
    Pool,
    Request,
    generation_prompt,
    given_variables,
    instructions,
    literal_state,
    needed_variables,
    opening_shapes,
    prompt_hash,
    request_states,
)
from scenarios.generation.settings import GenerateSettings
from scenarios.loader import load_family
from scenarios.samples import initial_states, pool_size


class Collector:
    """Checks candidates of one pool in turn, gives those that pass their ids, and counts the others."""

    def __init__(self, pool: Pool, wanted: int, start: int, checks: Checks, family: Family) -> None:
        self.pool = pool
        self.accepted: list[InitialState] = []
        self.tally = PoolTally(topic=pool.topic.topic, kind=pool.kind, split=pool.split, wanted=wanted)
        self.calls = 0
        self._wanted = wanted
        self._start = start
        self._checks = checks
        self._runs = [runs_of(text) for text in instructions(family, pool)]

    @property
    def missing(self) -> int:
        """States still wanted."""
        return self._wanted - len(self.accepted)

    @property
    def next_id(self) -> str:
        """Id of the next state that passes."""
        return f"{self.pool.prefix}{self._start + len(self.accepted):04d}"

    def take(self, candidate: InitialState | Rejected) -> None:
        """Keep a candidate if it passes and is still wanted."""
        if not self.missing:
            self.reject(Rejected("not needed", "more than was asked for"))
        elif isinstance(candidate, Rejected):
            self.reject(candidate)
        elif found := self._checks.rejection(self.pool.topic, candidate, self._runs):
            self.reject(found)
        else:
            self._checks.know(candidate)
            self.accepted.append(candidate)
            self.tally.passed += 1

    def reject(self, rejected: Rejected, times: int = 1) -> None:
        """Count what is not taken."""
        self.tally.rejected[rejected.reason] = self.tally.rejected.get(rejected.reason, 0) + times
        self.tally.examples.setdefault(rejected.reason, rejected.detail)

    def take_answer(self, request: Request, answer: Answer) -> None:
        """Take every state of a model's answer; those that it did not give are counted too."""
        found = states_in(answer.text)
        if not found:
            self.reject(unreadable(answer.text, answer.stopped), request.asked)
            return
        for item in found:
            self.take(state_from(item, request, self.next_id))
        if (lacking := request.asked - len(found)) > 0:
            self.reject(Rejected("not given", f"{len(found)} of {request.asked} ({answer.stopped})"), lacking)


def generate(settings: GenerateSettings, model: Model | None = None) -> RunRecord:
    """Generate states and write them with their card.

    Args:
        settings: What to generate.
        model: Asked instead of the one that `settings.model` names.

    Raises:
        ScenarioError: Something cannot be used, or a call failed for good.
    """
    check_form(settings.out)
    family = load_family(settings.family, settings.variant)
    pools = _pools(family, settings)
    there = read_states(settings.out)
    checks = _checks(family, settings)
    if model is None and settings.model is not None:
        model = _model(settings.model)
    work = _working_file(family, settings, pools, there)
    starts: dict[str, int] = work.begun["starts"]
    before = [w for w in there if not _is_new(w, pools, starts)]
    _know(checks, family, pools, before, own=model is not None)
    collectors = [Collector(pool, settings.n, starts[pool.name], checks, family) for pool in pools]
    if model is None:
        rounds = _compose(settings, family, collectors)
    else:
        rounds = asyncio.run(_ask(settings, family, collectors, model, work))
    new = [Written(c.pool.topic.topic, state) for c in collectors for state in c.accepted]
    if new:
        write_states(settings.out, family, [*before, *new], keep_own=settings.keep_own)
    record = RunRecord(
        family=family.file.family,
        date=work.begun["date"],
        model=str(model) if model else None,
        seed=settings.seed,
        prompt_hash=prompt_hash() if model else None,
        temperature=settings.temperature if model else None,
        per_call=settings.per_call if model else None,
        rounds=rounds,
        calls=sum(c.calls for c in collectors),
        similarity=settings.similarity,
        language=settings.language,
        starts=starts,
        pools=[c.tally for c in collectors],
    )
    write_card(settings.out, family, [*before, *new], record)
    # last: until here the same command would do the same again
    work.path.unlink()
    return record


def _model(name: str) -> Model:
    try:
        return get_model(name)
    except Exception as error:  # each provider has its own for a missing key or package
        told = " ".join(Text.from_markup(str(error)).plain.split())
        raise ScenarioError(f"model: {name} cannot be used: {told}") from error


def _pools(family: Family, settings: GenerateSettings) -> list[Pool]:
    names = settings.topic
    if names == ["all"]:
        names = [n for n, t in family.topics.items() if t.split == settings.split]
    if unknown := [n for n in names if n not in family.topics]:
        there = sorted(family.topics)
        raise ScenarioError(f"topic: no topics {unknown} in {family.origin}; there are {there}, or all")
    if settings.split == "train" and (held := [n for n in names if family.topics[n].split == "heldout"]):
        raise ScenarioError(f"topic: {held} are held out; ask with --split heldout")
    if not names or len(set(names)) < len(names):
        raise ScenarioError(f"topic: name each topic once, of {sorted(family.topics)}; got {names}")
    kinds = KINDS if settings.kind == "both" else (settings.kind,)
    return [Pool(family.topics[name], kind, settings.split) for name in names for kind in kinds]


def _checks(family: Family, settings: GenerateSettings) -> Checks:
    return Checks(
        family,
        shapes=opening_shapes(family),
        words=settings.words,
        never=generation_prompt().never,
        language=settings.language,
        limit=settings.similarity,
    )


def _working_file(
    family: Family, settings: GenerateSettings, pools: Sequence[Pool], there: Sequence[Written]
) -> WorkingFile:
    """The run's working file: it remembers where numbering began, so that a repeated end doubles nothing."""
    own = [state for topic in family.topics.values() for state in topic.states]
    taken = [state.id for state in [*own, *(w.state for w in there)]]
    run = settings.identity | {"family_hash": family_hash(family), "prompt_hash": prompt_hash()}
    starts = {pool.name: 1 + max((_state_number(i, pool) for i in taken), default=-1) for pool in pools}
    begun = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "starts": starts}
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    return WorkingFile(settings.out.with_name(f"{settings.out.name}.partial.jsonl"), run, begun)


def _state_number(identifier: str, pool: Pool) -> int:
    """Number of a new state of `pool`; -1 if it is none."""
    number = identifier.removeprefix(pool.prefix)
    return int(number) if number != identifier and number.isdecimal() else -1


def _is_new(written: Written, pools: Sequence[Pool], starts: dict[str, int]) -> bool:
    """This run has written it already, and was killed before its end."""
    return any(_state_number(written.state.id, pool) >= starts[pool.name] for pool in pools)


def _know(
    checks: Checks, family: Family, pools: Sequence[Pool], before: Sequence[Written], *, own: bool
) -> None:
    """Make known what new states must differ from: what is in the output, and the family's own states."""
    for written in before:
        topic = family.topics.get(written.topic)
        state = written.state
        checks.know(literal_state(family, topic, state, state.variables) if topic else state)
    topics = {pool.topic.topic: pool.topic for pool in pools} if own else {}
    for topic in topics.values():
        for kind in KINDS:
            fields = needed_variables(family, topic, kind)
            for split in ("train", "heldout"):
                size = pool_size(family, topic, kind, split)
                for state in initial_states(family, topic, kind, split, range(size)):
                    checks.know(literal_state(family, topic, state, fields))


async def _ask(
    settings: GenerateSettings,
    family: Family,
    collectors: Sequence[Collector],
    model: Model,
    work: WorkingFile,
) -> int:
    """Ask in rounds until nothing is missing or the rounds are used up; returns the rounds made."""
    if work.resumed:
        print(f"goes on with {len(work)} answers from {work.path}", file=sys.stderr)
    key = f"{settings.seed}:{sorted(work.begun['starts'].items())}"
    schema = ResponseSchema(name="initial_states", json_schema=JSONSchema(type="object"))
    config = GenerateConfig(
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        max_connections=settings.max_connections,
        response_schema=schema if settings.structured else None,
    )
    for number in range(1 + settings.extra_rounds):
        requests = [r for c in collectors for r in _requests(settings, family, c, key)]
        if not requests:
            return number
        title = f"round {number + 1}"
        answers = await answers_to(requests, model, work, config=config, scope=key, title=title)
        by_pool = {c.pool.name: c for c in collectors}
        for request, answer in zip(requests, answers, strict=True):
            by_pool[request.pool.name].take_answer(request, answer)
    return 1 + settings.extra_rounds


def _requests(
    settings: GenerateSettings, family: Family, collector: Collector, key: str
) -> Iterator[Request]:
    """Calls for what is missing, numbered on from those made before."""
    missing = collector.missing
    while missing > 0:
        asked = min(settings.per_call, missing)
        yield request_states(family, collector.pool, collector.calls, asked, settings.words, key)
        collector.calls += 1
        missing -= asked


def _compose(settings: GenerateSettings, family: Family, collectors: Sequence[Collector]) -> int:
    """Take states composed from facets in a seeded order until nothing is missing or there are no more."""
    with tqdm(total=settings.n * len(collectors), desc="composing", unit="state", leave=False) as bar:
        for collector in collectors:
            topic, kind, split = collector.pool
            keep = {*needed_variables(family, topic, kind), *given_variables(family, topic, kind)}
            order = list(range(composed_size(family.file, topic, kind, split)))
            random.Random(f"{settings.seed}:{collector.pool.name}").shuffle(order)
            for index in order:
                if not collector.missing:
                    break
                state = composed_state(family.file, topic, kind, split, index)
                renamed = state.model_copy(update={"id": collector.next_id})
                collector.take(literal_state(family, topic, renamed, sorted(keep)))
                bar.update(sum(len(c.accepted) for c in collectors) - bar.n)
    return 0


def report(settings: GenerateSettings, record: RunRecord) -> list[str]:
    """What a run did, in a few lines."""
    lines = [pool.line() for pool in record.pools]
    total = sum((Counter(pool.rejected) for pool in record.pools), Counter[str]())
    passed = sum(pool.passed for pool in record.pools)
    if passed:
        lines.append(f"{passed} states are now in {settings.out}; its card is {card_paths(settings.out)[0]}")
    if (lacking := sum(pool.wanted for pool in record.pools) - passed) > 0:
        reasons = (
            ", ".join(f"{reason} {n}" for reason, n in total.most_common()) or "there are no more facets"
        )
        advice = "" if passed else "; try another --seed, model or wider bounds"
        lines.append(f"{lacking} states are lacking after {record.calls} calls: {reasons}{advice}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`; 1 if fewer states passed than wanted."""
    settings: GenerateSettings | None = None

    def run() -> int:
        nonlocal settings
        settings = read_settings(GenerateSettings, arguments, __doc__ or "")
        record = generate(settings)
        print("\n".join(report(settings, record)))
        return int(any(pool.passed < pool.wanted for pool in record.pools))

    def kept() -> str:
        if settings is None:
            return "nothing was begun"
        return f"answers are kept in {settings.out}.partial.jsonl: the same command goes on"

    return exit_status(run, kept=kept)


if __name__ == "__main__":
    sys.exit(main())
