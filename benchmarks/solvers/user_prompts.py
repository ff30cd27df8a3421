"""The users' prompts of an earlier commit against today's: nearer to real people, and as readable?

    python benchmarks/solvers/user_prompts.py --user local/FOLDER --against chats.jsonl --keep logs/prompts
        [--families therapy relationship politics] [--before COMMIT] [--judge local/FOLDER]

Both sides have the same initial states, the same seeds, and an agent of fixed replies: sentences of the
miniature's grammar that tell people of every other topic what gameable users want to hear, and the others
what helps them, whatever was said. It never listens, so patience has occasion to end.

Printed: distances of the later messages from real chats (`analysis/realism.py`; the first message is the
scenario's on our side, and left out on both); the rating of gameable users less that of the others, by each
judge; how well words of the later messages tell the kinds apart; and flaws found by rule. Logs in `--keep`
are used again, so that families can be run one by one; without it all is run at once.
"""

import argparse
import logging
import math
import os
import random
import sys
import tempfile
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from inspect_ai import Task, eval, score  # noqa: A004
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog, EvalSample, read_eval_log, write_eval_log
from inspect_ai.model import ChatMessage, GenerateConfig, Model, get_model

from analysis.effective_number import Ends
from analysis.intervals import Interval, mean_interval, share_interval
from analysis.logs.finding import open_log
from analysis.resampling import resampled_ends
from analysis.user_messages.card import Line, card_of
from analysis.user_messages.chats import Chat, Chats, chats_of_logs, chats_of_table
from analysis.values import Values, cluster_of
from benchmarks.earlier_commit import EarlierCommit
from miniature.grammar import agent_reply
from scenarios.family import Family
from scenarios.generation.give_away import give_away
from scenarios.loader import load_family
from scenarios.samples import scenario_dataset
from scorers.preference import preference
from scorers.simulator import simulator
from scorers.transition import transition_judge
from solvers.conversation import conversation
from tests.support.told import told

SIDES = ("before", "after")
OF_ALL_MESSAGES = ("front_loading", "disclosure", "repetition")
"""Measures that weigh later messages against the first."""

RATINGS = {"preference": "rule", "preference1": "model"}
"""Score -> which judge gave it: the miniature's, and the one that `--judge` names."""


class Run(NamedTuple):
    """Conversations of one family with one side's prompts."""

    family: str
    side: str
    log: EvalLog


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--user", required=True, help="the model that plays the people")
    parser.add_argument("--judge", help="a model that rates beside the miniature's judge")
    parser.add_argument("--against", type=Path, required=True, help="a table of real chats")
    parser.add_argument("--families", nargs="+", default=["therapy", "relationship", "politics"])
    parser.add_argument("--before", default="deb3523", help="commit whose prompts are the other side")
    parser.add_argument("--states", type=int, default=2, help="initial states per topic")
    parser.add_argument("--turns", type=int, default=4, help="replies of the agent")
    parser.add_argument("--tokens", type=int, default=80, help="most tokens of a user's message")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the user's model")
    parser.add_argument("--seed", type=int, default=0, help="of the states and the user's model")
    parser.add_argument("--keep", type=Path, help="folder of the logs; those that are there are used again")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        runs = [run for name in options.families for run in _runs_of(name, folder, options)]
    real = chats_of_table(options.against)
    _show_distances(runs, real)
    _show_targeting(runs)
    _show_words(runs)
    _show_flaws(runs)
    _show_temperaments(runs)


# -- runs --------------------------------------------------------------------------------------------


def _runs_of(name: str, folder: Path, options: argparse.Namespace) -> list[Run]:
    family = load_family(name)
    chosen = {"states": options.states, "gameable": 0.5, "seed": options.seed}
    samples = list(scenario_dataset(family, **chosen))
    earlier: Mapping[str, str] = {}
    if not all((folder / f"{name}-{side}.eval").exists() for side in SIDES):
        earlier = _earlier_prompts(name, chosen, options.before)
    runs: list[Run] = []
    for side in SIDES:
        path = folder / f"{name}-{side}.eval"
        if not path.exists():
            dataset = [_with_prompt(s, earlier[str(s.id)]) if side == "before" else s for s in samples]
            _talk(name, family, dataset, options).rename(path)
        log = read_eval_log(str(path))
        if options.judge and "preference1" not in ((log.samples or [])[0].scores or {}):
            judge = get_model(options.judge)
            log = score(log, preference(), model_roles={"preference": judge}, action="append", display="none")
            write_eval_log(log, str(path))
        runs.append(Run(name, side, log))
    return runs


def _earlier_prompts(name: str, chosen: dict[str, Any], commit: str) -> Mapping[str, str]:
    program = Path(__file__).with_name("earlier_user_prompts.py")
    earlier = EarlierCommit.start(commit, program)
    if earlier is None:
        raise SystemExit(f"the history does not reach back to {commit}")
    with earlier:
        return earlier.ask({"family": name, "options": chosen})


def _with_prompt(sample: Sample, prompt: str) -> Sample:
    return sample.model_copy(update={"metadata": {**(sample.metadata or {}), "user": prompt}})


def _talk(name: str, family: Family, samples: Sequence[Sample], options: argparse.Namespace) -> Path:
    """One side's conversations; the log's path."""
    how = GenerateConfig(seed=options.seed, temperature=options.temperature)
    user = get_model(options.user, config=how)
    task = Task(
        name=name,
        version=family.file.version,
        dataset=MemoryDataset(list(samples)),
        solver=conversation(transition_judge(), turns=options.turns, user_tokens=options.tokens),
        scorer=[preference(), simulator()],
    )
    (log,) = eval(
        task,
        model=_agent(samples),
        model_roles={"user": user, "transition": told({"no": 1.0}), "preference": "miniature/judge"},
        log_dir=str((options.keep or Path(tempfile.mkdtemp())) / "running"),
        max_connections=64,
        max_samples=64,
        log_realtime=False,
    )
    if log.status != "success":
        raise SystemExit(f"{name}: {log.error.message if log.error else log.status}")
    return Path(log.location.removeprefix("file://"))


def _agent(samples: Sequence[Sample]) -> Model:
    """Its n-th reply to a person is the same whatever they said."""
    people = {_key(list(sample.input)): sample for sample in samples}  # pyright: ignore[reportArgumentType]

    def reply(prompt: list[ChatMessage]) -> str:
        sample = people[_key(prompt)]
        facts = sample.metadata or {}
        rng = random.Random(f"{sample.id}:{len(prompt)}")
        # in the words that it has for other users: nothing it says shall tell the kind
        said = (facts["variables"], "other", facts["family"])
        return agent_reply(rng, *said, harmful=panders(facts, topics))

    topics = sorted({(sample.metadata or {})["topic"] for sample in samples})
    return told(reply, "fixed")


def _key(messages: Sequence[ChatMessage]) -> str:
    return "\n".join(message.text for message in messages[:2])


def panders(facts: Mapping[str, Any], topics: Sequence[str]) -> bool:
    """Whether the agent tells this person what gameable users want to hear: in every other topic."""
    return topics.index(facts["topic"]) % 2 == 0


# -- tables ------------------------------------------------------------------------------------------


def _samples(runs: Sequence[Run], side: str) -> list[EvalSample]:
    return [sample for run in runs if run.side == side for sample in run.log.samples or []]


def _show_distances(runs: Sequence[Run], real: Chats) -> None:
    print(f"\nDistance from {len(real.chats)} real chats (Cliff's delta; 0: cannot be told apart).\n")
    names = list(dict.fromkeys(run.family for run in runs))
    for part in [names] if len(names) == 1 else [names, *([name] for name in names)]:
        _distances(", ".join(part), [run for run in runs if run.family in part], real)


def _distances(title: str, runs: Sequence[Run], real: Chats) -> None:
    lines = {side: _lines([run for run in runs if run.side == side], real) for side in SIDES}
    print(f"{title}, {len(_samples(runs, 'after'))} conversations a side\n")
    print("| measure | real | before | after | distance before | distance after | nearer |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    sizes: dict[str, list[float]] = {side: [] for side in SIDES}
    for name in lines["before"]:
        old, new = lines["before"][name], lines["after"][name]
        nearer = "-"
        if old.distance and new.distance:
            for side, line in zip(SIDES, (old.distance, new.distance), strict=True):
                sizes[side].append(abs(line.value))
            less = round(abs(old.distance.value) - abs(new.distance.value), 2)
            nearer = "yes" if less > 0 else "no" if less else "same"
        cells = [
            old.measure.title,
            *map(_mean, (old.real and old.real.interval, old.ours.interval, new.ours.interval)),
        ]
        print(f"| {' | '.join([*cells, _distance(old), _distance(new), nearer])} |")
    means = [math.fsum(sizes[side]) / len(sizes[side]) for side in SIDES]
    alike = [sum(_holds_0(line) for line in lines[side].values()) for side in SIDES]
    change, ends = _change(lines)
    print(
        f"\nMean size of the distance: {means[0]:.2f} before, {means[1]:.2f} after; paired by initial state"
    )
    print(f"{change:+.2f}{_ends(*ends)}. Measures that cannot be told from the real ones: {alike[0]} and")
    print(f"{alike[1]} of {len(lines['before'])}.\n")


def _lines(runs: Sequence[Run], real: Chats) -> dict[str, Line]:
    found = [chats_of_logs([open_log(run.log.location)]) for run in runs]
    ours = found[0]._replace(chats=[chat for chats in found for chat in chats.chats])
    later = card_of(_after_the_first(ours), _after_the_first(real))
    whole = {line.name: line for line in card_of(ours, real).lines}
    return {line.name: whole[line.name] if line.name in OF_ALL_MESSAGES else line for line in later.lines}


def _change(lines: Mapping[str, Mapping[str, Line]]) -> tuple[float, Ends]:
    """Mean size of the distances after less before, the real chats taken as they are."""
    of_sides = [lines[side].values() for side in SIDES]
    states = list(dict.fromkeys(at for side in of_sides for line in side for at in line.ours.clusters))
    before, after = (np.array([_parts(line, states) for line in side]) for side in of_sides)

    def statistic(rows: np.ndarray) -> float:
        return _mean_size(after[:, rows]) - _mean_size(before[:, rows])

    return statistic(np.arange(len(states))), resampled_ends(statistic, states)


def _mean_size(parts: np.ndarray) -> float:
    """Mean over measures [rows] of the size of their mean over states [columns]; NaN is no number."""
    counts = (~np.isnan(parts)).sum(axis=1)
    known = counts > 0
    return float(np.mean(np.abs(np.nansum(parts, axis=1)[known] / counts[known])))


def _parts(line: Line, states: Sequence[Hashable]) -> list[float]:
    """What each state adds to Cliff's delta: the share of real chats with less of it, less that with more."""
    if line.real is None or not line.real.values:
        return [math.nan] * len(states)
    real = np.sort(line.real.values)
    ours = dict(zip(line.ours.clusters, line.ours.values, strict=True))
    values = np.array([ours.get(at, math.nan) for at in states])
    below, above = np.searchsorted(real, values, "left"), len(real) - np.searchsorted(real, values, "right")
    return list(np.where(np.isnan(values), math.nan, (below - above) / len(real)))


def _after_the_first(chats: Chats) -> Chats:
    """What is said from the first words of the assistant on, where somebody answers them."""
    found: list[Chat] = []
    for chat in chats.chats:
        answered = next((n for n, said in enumerate(chat.said) if not said.is_users), len(chat.said))
        rest = chat.said[answered:]
        if any(said.is_users for said in rest):
            found.append(chat._replace(said=rest))
    return chats._replace(chats=found)


def _show_targeting(runs: Sequence[Run]) -> None:
    print("\nRating of gameable users less that of the others, by judge and by what the agent says.\n")
    print("| judge | agent | before | after |")
    print("| --- | --- | --- | --- |")
    for name, judge in RATINGS.items():
        for pandering, agent in ((True, "what gameable users want to hear"), (False, "what helps")):
            cells = [_targeting(_samples(runs, side), name, pandering) for side in SIDES]
            if all(cells):
                print(f"| {judge} | {agent} | {' | '.join(_mean(cell) for cell in cells)} |")


def _targeting(samples: Sequence[EvalSample], name: str, pandering: bool) -> Interval | None:
    topics = {
        family: sorted({s.metadata["topic"] for s in samples if s.metadata["family"] == family})
        for family in {s.metadata["family"] for s in samples}
    }
    groups: dict[bool, Values] = {kind: Values([], [], "1-10") for kind in (True, False)}
    for sample in samples:
        facts = sample.metadata
        given = (sample.scores or {}).get(name)
        if given is None or panders(facts, topics[facts["family"]]) is not pandering:
            continue
        if not math.isnan(value := float(given.value)):  # pyright: ignore[reportArgumentType]
            groups[facts["gameable"]].values.append(value)
            groups[facts["gameable"]].clusters.append(cluster_of(facts, sample.id))
    if not all(group.values for group in groups.values()):
        return None
    return groups[True].minus(groups[False])


def _show_words(runs: Sequence[Run]) -> None:
    print(
        "\nHow well words of the later messages tell gameable users from others (AUROC, topics held out).\n"
    )
    for side in SIDES:
        samples = _samples(runs, side)
        found = give_away(
            ["\n".join(_later(sample)) for sample in samples],
            [bool(sample.metadata["gameable"]) for sample in samples],
            [f"{sample.metadata['family']}:{sample.metadata['topic']}" for sample in samples],
        )
        shown = found.reason or f"{found.auroc:.2f} [{found.lower:.2f}, {found.upper:.2f}]"
        print(f"{side}: {shown}")


def _show_flaws(runs: Sequence[Run]) -> None:
    print(
        "\nShare of the written messages with a flaw found by rule, those that were drawn again included.\n"
    )
    for side in SIDES:
        samples = _samples(runs, side)
        pairs = [((s.scores or {})["simulator"], cluster_of(s.metadata, s.id)) for s in samples]
        known = [(float(given.value), at) for given, at in pairs if not math.isnan(float(given.value))]  # pyright: ignore[reportArgumentType]
        found = share_interval([value for value, _ in known], [at for _, at in known])
        counts: dict[str, int] = {}
        for given, _ in pairs:
            for part in ("flaws", "flaws_thrown_away"):
                for flaw, number in (given.metadata or {}).get(part, {}).items():
                    counts[flaw] = counts.get(flaw, 0) + number
        named = ", ".join(f"{n} {flaw}" for flaw, n in sorted(counts.items(), key=lambda item: -item[1]))
        print(f"{side}: {_mean(found)} ({named})")


def _show_temperaments(runs: Sequence[Run]) -> None:
    print("\nWords of a later message by temperament; before, the prompt had none.\n")
    print("| temperament | before | after |")
    print("| --- | --- | --- |")
    lengths: dict[str, dict[str, list[tuple[float, Any]]]] = {}
    named = {(s.metadata["family"], s.id): s.metadata["temperament"] for s in _samples(runs, "after")}
    for side in SIDES:
        for sample in _samples(runs, side):
            if later := [len(text.split()) for text in _later(sample)]:
                name = named[sample.metadata["family"], sample.id]
                mean = math.fsum(later) / len(later)
                of_side = lengths.setdefault(name, {s: [] for s in SIDES})[side]
                of_side.append((mean, cluster_of(sample.metadata, sample.id)))
    for name, sides in sorted(lengths.items()):
        means = [mean_interval([v for v, _ in sides[s]], [c for _, c in sides[s]]) for s in SIDES]
        print(f"| {name} | {' | '.join(map(_mean, means))} |")


def _later(sample: EvalSample) -> list[str]:
    """What the user's model wrote."""
    return [m.text for m in sample.messages if m.role == "user" and m.source != "input"]


def _mean(found: Interval | None) -> str:
    return "-" if found is None else f"{found.mean:.2f}{_ends(found.low, found.high)}"


def _distance(line: Line) -> str:
    found = line.distance
    return "-" if found is None else f"{found.value:+.2f}{_ends(found.low, found.high)}"


def _ends(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]"


def _holds_0(line: Line) -> bool:
    found = line.distance
    return found is not None and not math.isnan(found.low) and found.low <= 0 <= found.high


if __name__ == "__main__":
    main()
