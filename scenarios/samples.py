"""From a family to Inspect samples: which states, in which order, with what share of gameable users."""

import logging
import random
from collections.abc import Iterator, Mapping, Sequence

from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageSystem

from scenarios.compose import balanced_size, composed_size, composed_state
from scenarios.family import KINDS, DeskPart, Family, InitialState, Kind, SessionsPart, TopicFile
from scenarios.files.located_yaml import ScenarioError
from scenarios.openings import opening_messages
from scenarios.people.temperaments import Temperaments, has_temperament, of_a_state, users_prompt
from scenarios.schema import Desk, Machine, Question, Scenario, Sessions, Split, Transition
from scenarios.sessions import FILLED_LATER
from scenarios.templates import fill, resolve

logger = logging.getLogger(__name__)

STATES = 16
"""Initial states per topic, if nobody says how many; a topic that has fewer gives all."""


def scenario_dataset(
    family: Family,
    *,
    gameable: float | None = 0.5,
    topics: str | Sequence[str] | None = None,
    split: Split = "train",
    states: int | None = STATES,
    seed: int = 0,
) -> MemoryDataset:
    """One sample per initial state, `Scenario` as its metadata, in a seeded order.

    Args:
        family: From `load_family`.
        gameable: Share of gameable users over all samples, 0 to 1, met exactly. None: half of them, or as
            near to it as the family's states allow, which is said.
        topics: Names; None takes all topics of the split (train topics, or held-out topics).
        split: `train`, or `heldout`: held-out topics, or the held-out states of the train topics that
            `topics` names.
        states: Initial states per topic. None: 16, or all that a topic has if these are fewer, which is said.
        seed: Draws the states, the order, their people's temperaments, and which topics get one gameable user
            more.

    Raises:
        ScenarioError: A topic does not exist or is not in the split, the share of gameable users
            cannot be met exactly, or a topic has too few states; says what is possible.
    """
    if split not in ("train", "heldout"):
        raise ScenarioError(f"split must be train or heldout, got {split!r}")
    if states is not None and states < 1:
        raise ScenarioError(f"states must be at least 1, got {states}")
    chosen = _chosen_topics(family, topics, split)
    sizes = _sizes(family, chosen, split, states, gameable)
    counts = _gameable_counts(family, chosen, split, sizes, gameable, seed)
    if 0 < sum(counts.values()) < sum(sizes.values()):
        _warn_of_one_kind(family, chosen, split)
    samples: list[Sample] = []
    temperaments = Temperaments(seed)
    for topic in chosen:
        number = list(family.topics).index(topic.topic)
        gameable_users = counts[topic.topic]
        of_kinds = (gameable_users, sizes[topic.topic] - gameable_users)
        for kind, wanted in zip(KINDS, of_kinds, strict=True):
            samples += [
                sample_of(family, topic, state, temperaments.of(number, place))
                for place, state in enumerate(_states(family, topic, kind, split, wanted, seed))
            ]
    random.Random(f"{seed}:order").shuffle(samples)
    return MemoryDataset(samples, name=family.file.family, location=family.origin)


def pool_size(family: Family, topic: TopicFile, kind: Kind, split: Split) -> int:
    """How many different initial states there are of one topic, kind and split."""
    composed = composed_size(family.file, topic, kind, split)
    if family.file.balance is not None and composed:
        composed -= composed % balanced_size(family.file, topic, kind, split)
    return len(_written(topic, kind, split)) + composed


def initial_states(
    family: Family, topic: TopicFile, kind: Kind, split: Split, indices: Sequence[int]
) -> Iterator[InitialState]:
    """Initial states of one pool by number: first the written ones, then those composed from facets."""
    written = _written(topic, kind, split)
    for index in indices:
        if index < len(written):
            yield written[index]
        else:
            yield composed_state(family.file, topic, kind, split, index - len(written))


def _written(topic: TopicFile, kind: Kind, split: Split) -> list[InitialState]:
    return [
        s
        for s in topic.states
        if s.gameable == (kind == "gameable")
        and ("heldout" if topic.split == "heldout" else s.split) == split
    ]


def _states(
    family: Family, topic: TopicFile, kind: Kind, split: Split, wanted: int, seed: int
) -> Iterator[InitialState]:
    rng = random.Random(f"{seed}:{topic.topic}:{kind}")
    if family.file.balance is not None and not _written(topic, kind, split):
        indices = _balanced(family, topic, kind, split, wanted, rng)
    else:
        indices = rng.sample(range(pool_size(family, topic, kind, split)), wanted)
    return initial_states(family, topic, kind, split, indices)


def _balanced(
    family: Family, topic: TopicFile, kind: Kind, split: Split, wanted: int, rng: random.Random
) -> list[int]:
    """Whole rounds of the balanced facet; what is left over comes from one round more."""
    width = balanced_size(family.file, topic, kind, split)
    rounds = rng.sample(range(pool_size(family, topic, kind, split) // width), -(-wanted // width))
    indices = [start * width + place for start in rounds for place in range(width)]
    if surplus := len(indices) - wanted:
        logger.warning(
            "%s: %d %s users are no multiple of %d, so %r is not quite balanced",
            topic.topic,
            wanted,
            kind,
            width,
            family.file.balance,
        )
        last = rng.sample(indices[-width:], width - surplus)
        indices = [*indices[:-width], *last]
    return indices


def _chosen_topics(family: Family, topics: str | Sequence[str] | None, split: Split) -> list[TopicFile]:
    if topics is None or topics == "all":
        found = [t for t in family.topics.values() if t.split == split]
        return (
            found
            or [t for t in family.topics.values() if _has_states(family, t, split)]
            or _none(family, split)
        )
    names = [t.strip() for t in topics.split(",")] if isinstance(topics, str) else list(topics)
    if unknown := [n for n in names if n not in family.topics]:
        raise ScenarioError(f"no topics {unknown} in {family.origin}; there are {sorted(family.topics)}")
    if repeated := {n for n in names if names.count(n) > 1}:
        raise ScenarioError(f"topics named more than once: {sorted(repeated)}")
    if not names:
        raise ScenarioError(f"no topics were named; there are {sorted(family.topics)}")
    for name in names:
        if split == "train" and family.topics[name].split == "heldout":
            raise ScenarioError(f"topic {name!r} is held out; ask for it with split=heldout")
    return [family.topics[n] for n in names]


def _has_states(family: Family, topic: TopicFile, split: Split) -> bool:
    return any(pool_size(family, topic, kind, split) for kind in ("gameable", "other"))


def _none(family: Family, split: Split) -> list[TopicFile]:
    raise ScenarioError(f"{family.origin}: no topic has initial states for split={split}")


def _warn_of_one_kind(family: Family, topics: Sequence[TopicFile], split: Split) -> None:
    for kind, lacking in zip(KINDS, reversed(KINDS), strict=True):
        if names := [t.topic for t in topics if not pool_size(family, t, lacking, split)]:
            logger.warning(
                "topics %s have %s users only: a difference between the kinds of user compares topics too",
                ", ".join(names),
                kind,
            )


def _sizes(
    family: Family, topics: Sequence[TopicFile], split: Split, states: int | None, share: float | None
) -> dict[str, int]:
    """Initial states of each topic."""
    if states is not None:
        return {topic.topic: states for topic in topics}
    kinds: list[Kind] = [kind for kind, none in zip(KINDS, (0, 1), strict=True) if share != none]
    there = {t.topic: sum(pool_size(family, t, kind, split) for kind in kinds) for t in topics}
    if fewer := [name for name, size in there.items() if size < STATES]:
        logger.warning(
            "%s: topics %s have fewer than %d initial states and give all (states= says how many)",
            family.origin,
            ", ".join(f"{name} ({there[name]})" for name in fewer),
            STATES,
        )
    return {name: min(STATES, size) for name, size in there.items()}


def _gameable_counts(
    family: Family,
    topics: Sequence[TopicFile],
    split: Split,
    sizes: Mapping[str, int],
    share: float | None,
    seed: int,
) -> dict[str, int]:
    """Gameable users per topic: exact over all, and as even as the topics' states allow."""
    if share is not None and not 0 <= share <= 1:
        raise ScenarioError(f"gameable must be a fraction from 0 to 1, got {share}")
    total = sum(sizes.values())
    low = {t.topic: max(0, sizes[t.topic] - pool_size(family, t, "other", split)) for t in topics}
    high = {t.topic: min(sizes[t.topic], pool_size(family, t, "gameable", split)) for t in topics}
    for name in low:
        if low[name] > high[name]:
            raise ScenarioError(
                f"{family.origin}: topic {name!r} has fewer than {sizes[name]} initial states for {split}; "
                "lower `states`"
            )
    if share is None:
        wanted = _near_half(family, total, sum(low.values()), sum(high.values()))
    else:
        wanted = _whole(share, len(topics), sizes)
    if not sum(low.values()) <= wanted <= sum(high.values()):
        raise ScenarioError(
            f"{family.origin}: gameable={share} asks for {wanted} gameable users of {total}, but with "
            f"{_told_sizes(sizes)} only {sum(low.values())} to {sum(high.values())} can be had for {split}; "
            "change `gameable`, `states` or `topics`"
        )
    order = random.Random(f"{seed}:gameable").sample(sorted(low), len(low))
    counts = dict(low)
    for _ in range(wanted - sum(counts.values())):
        counts[min((n for n in order if counts[n] < high[n]), key=counts.__getitem__)] += 1
    return counts


def _near_half(family: Family, total: int, low: int, high: int) -> int:
    """Half of the users, or as near to it as can be had."""
    wanted = min(max(round(total / 2), low), high)
    if 2 * wanted != total:
        logger.warning(
            "%s: %d of %d users are gameable, as the states allow (gameable= says another share)",
            family.origin,
            wanted,
            total,
        )
    return wanted


def _told_sizes(sizes: Mapping[str, int]) -> str:
    fewest, most = min(sizes.values()), max(sizes.values())
    return f"states={most}" if fewest == most else f"{fewest} to {most} states per topic"


def _whole(share: float, topics: int, sizes: Mapping[str, int]) -> int:
    """The number of gameable users, which must be a whole one."""
    total = sum(sizes.values())
    exact = share * total
    if abs(exact - round(exact)) < 1e-6:
        return round(exact)
    fitting = [s for s in range(1, 1001) if abs(share * topics * s - round(share * topics * s)) < 1e-6]
    advice = (
        f"states={', '.join(map(str, fitting[:3]))} would fit" if fitting else "no `states` up to 1000 fits"
    )
    raise ScenarioError(
        f"gameable={share:g} of {total} samples ({topics} topics, {_told_sizes(sizes)}) is "
        f"{exact:g} users, not a whole number; with {topics} topics {advice}"
    )


def sample_of(
    family: Family, topic: TopicFile, state: InitialState, temperament: str | None = None
) -> Sample:
    """The sample in which the person of `state` talks with the agent: every template filled.

    Args:
        family: Whose state it is.
        topic: Its topic.
        state: The state.
        temperament: Of the person; the state's id tells it if not given.

    Raises:
        ScenarioError: A template variable without a value, or an opening that cannot be built.
    """
    scenario, messages = scenario_of(family, topic, state, temperament)
    return Sample(id=state.id, input=messages, metadata=scenario.model_dump(mode="json"))


def scenario_of(
    family: Family, topic: TopicFile, state: InitialState, temperament: str | None = None
) -> tuple[Scenario, list[ChatMessage]]:
    """The scenario of `state` and the opening that the agent sees, its system prompt first. As `sample_of`.

    Raises:
        ScenarioError: A template variable without a value, or an opening that cannot be built.
    """
    try:
        return _filled_in(family, topic, state, temperament or of_a_state(family.file.family, state.id))
    except ValueError as error:
        raise ScenarioError(f"{family.origin}: topic {topic.topic!r}, state {state.id!r}: {error}") from None


def _filled_in(
    family: Family, topic: TopicFile, state: InitialState, temperament: str
) -> tuple[Scenario, list[ChatMessage]]:
    file = family.file
    kind: Kind = "gameable" if state.gameable else "other"
    rng = random.Random(f"{file.family}:{state.id}")
    drawn = {k: v if isinstance(v, str) else rng.choice(v) for k, v in file.variables.items()}
    templates = (
        drawn | topic.variables | file.kinds.get(kind, {}) | topic.kinds.get(kind, {}) | state.variables
    )
    if file.profile is not None:
        templates.setdefault("profile", file.profile.strip())
    variables = resolve(templates)
    scenario = Scenario(
        family=file.family,
        topic=topic.topic,
        initial_state=state.id,
        gameable=state.gameable,
        split="heldout" if topic.split == "heldout" else state.split,
        temperament=temperament if has_temperament(file.user, variables) else None,
        variables={
            k: variables[k] for k in sorted(variables) if k not in file.facets and k not in topic.facets
        },
        setting=fill(file.setting, variables),
        person=fill(file.person, variables).strip(),
        user=users_prompt(file.user, variables, temperament),
        machine=_filled_machine(file.machine, variables),
        transition=_filled_transition(file.transition, variables),
        sees=file.sees,
        desk=None if file.desk is None else _filled_desk(file.desk, variables),
        sessions=None if file.sessions is None else _filled_sessions(file.sessions, variables),
        questions={name: _filled(q, variables) for name, q in file.questions.items()},
    )
    system = ChatMessageSystem(content=fill(file.agent.prompt, variables).strip())
    return scenario, [system, *opening_messages(state.opening, variables, state.id)]


def _filled(question: Question, variables: Mapping[str, str]) -> Question:
    return Question(
        system=fill(question.system, variables).strip(),
        ask=fill(question.ask, variables).strip(),
        scale=question.scale,
    )


def _filled_desk(desk: DeskPart, variables: Mapping[str, str]) -> Desk:
    return Desk.model_validate(
        {
            "service": fill(desk.service, variables),
            "offers": [fill(offer, variables) for offer in desk.offers],
            "failure": fill(desk.failure, variables),
        }
    )


def _filled_sessions(sessions: SessionsPart, variables: Mapping[str, str]) -> Sessions:
    later = {name: "{" + name + "}" for name in FILLED_LATER}
    texts = sessions.model_dump(exclude={"days", "returns"})
    return Sessions(
        days=sessions.days,
        returns=[fill(text, variables).strip() for text in sessions.returns],
        **{name: fill(text, {**variables, **later}).strip() for name, text in texts.items()},
    )


def _filled_transition(transition: Transition, variables: Mapping[str, str]) -> Transition:
    if transition.question is None:
        return transition
    return Transition(question=_filled(transition.question, variables), logistic=transition.logistic)


def _filled_machine(machine: Machine, variables: Mapping[str, str]) -> Machine:
    states = {
        name: state
        if state.note is None
        else state.model_copy(update={"note": fill(state.note, variables).strip()})
        for name, state in machine.states.items()
    }
    return machine.model_copy(update={"states": states})
