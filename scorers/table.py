"""The numbers of one or more logs as a table: `python scorers/table.py LOG_OR_FOLDER... [--by topic]`.

Everything comes from the logs' sample summaries; of several logs each gets its own table.
"""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from inspect_ai.log import (
    EvalLog,
    EvalSample,
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample_summaries,
    read_eval_log_samples,
)

from scenarios.dialogue import Dialogue
from scenarios.schema import Scale
from scorers.intervals import Interval
from scorers.metrics import Values
from scorers.scales import LEFT_OUT, scales_in

TITLES = {
    "preference": "rating",
    "influence": "harm",
    "simulator": "user flaws",
    "stay": "replies",
}


class Row(NamedTuple):
    """One sample in one epoch, as far as the table needs it."""

    state: str
    group: str
    gameable: bool
    scores: dict[str, float]
    """NaN if unscored."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table for each log."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("logs", nargs="+", help=".eval files, or folders with them")
    parser.add_argument("--by", choices=["topic"], help="a table for each topic as well")
    parser.add_argument("--last", action="store_true", help="of each folder the newest log alone")
    options = parser.parse_args(arguments)
    paths = list(_paths(options.logs, last=options.last))
    if not paths:
        print(f"no .eval logs in {', '.join(options.logs)}", file=sys.stderr)
        return 1
    for path in paths:
        print("\n".join(describe(path, by=options.by)))
    return 0


def _paths(sources: Sequence[str], *, last: bool) -> Iterator[str]:
    for source in sources:
        if Path(source).is_file():
            yield source
        else:
            found = sorted(info.name for info in list_eval_logs(source))  # names begin with the time
            yield from found[-1:] if last else found


def describe(path: str, by: str | None = None) -> list[str]:
    """The lines of a log's table."""
    header = read_eval_log(path, header_only=True)
    scales = scales_in(path)
    rows = list(_rows(path))
    lines = ["", _title(header, len(rows))]
    lines += _table(rows, scales)
    if by is not None:
        for group in sorted({r.group for r in rows}):
            lines += ["", f"  {group}", *_table([r for r in rows if r.group == group], scales)]
    lines += ["", *_notes(path, header)]
    return lines


def _title(header: EvalLog, samples: int) -> str:
    return f"{header.eval.task} | {header.eval.model} | {samples} conversations | {header.status}"


def _rows(path: str) -> Iterator[Row]:
    for summary in read_eval_log_sample_summaries(path):
        facts = summary.metadata
        scores = {}
        for name, score in (summary.scores or {}).items():
            if isinstance(score.value, int | float):
                scores[name] = float(score.value)
            elif isinstance(score.value, Mapping):
                numbers = {k: v for k, v in score.value.items() if isinstance(v, int | float | None)}
                scores |= {f"{name}.{k}": math.nan if v is None else float(v) for k, v in numbers.items()}
        yield Row(
            state=str(facts.get("initial_state", summary.id)),
            group=str(facts.get("topic", "-")),
            gameable=bool(facts.get("gameable", False)),
            scores=scores,
        )


def _table(rows: Sequence[Row], scales: dict[str, Scale]) -> list[str]:
    names = list(dict.fromkeys(n for r in rows for n in r.scores))
    wide = max([12, *(len(_shown_name(n, names)) + 2 for n in names)])
    columns = f"{'scale':<8}{'gameable users':<24}{'other users':<24}{'difference':<26}scored / unscored"
    head = " " * (wide + 2) + columns
    lines = [head]
    for name in names:
        scale = scales.get(name)
        found = [[r for r in rows if r.gameable is flag] for flag in (True, False)]
        both = [_values(group, name, scale) for group in found]
        cells = [_cell(v.interval()) if v.values else "-" for v in both]
        cells.append(_cell(both[0].minus(both[1]), signed=True) if all(v.values for v in both) else "-")
        counts = ", ".join(
            f"{len(v.values)} / {len(group) - len(v.values)}" for v, group in zip(both, found, strict=True)
        )
        title = _shown_name(name, names)
        lines.append(f"  {title:<{wide}}{scale or '':<8}{cells[0]:<24}{cells[1]:<24}{cells[2]:<26}{counts}")
    return lines


def _shown_name(name: str, names: Sequence[str]) -> str:
    """The title of a score, unless another score has that name."""
    title = TITLES.get(name, name)
    return name if title in names else title


def _values(rows: Sequence[Row], name: str, scale: Scale | None) -> Values:
    scored = [(r.scores[name], r.state) for r in rows if not math.isnan(r.scores.get(name, math.nan))]
    return Values([v for v, _ in scored], [c for _, c in scored], scale)


def _cell(found: Interval, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    if math.isnan(found.low):
        return f"{found.mean:{sign}.2f}"
    return f"{found.mean:{sign}.2f} [{found.low:{sign}.2f}, {found.high:{sign}.2f}]"


def _notes(path: str, header: EvalLog) -> Iterator[str]:
    stops: Counter[str] = Counter()
    flaws: Counter[str] = Counter()
    said = errors = vetoed = read = imitating = 0
    cast: set[tuple[str, str]] = set()
    for sample in read_eval_log_samples(path, all_samples_required=False, exclude_fields=LEFT_OUT):
        dialogue = _dialogue(sample)
        errors += sample.error is not None
        stops[dialogue.stopped or "unfinished"] += 1
        flaws.update(flaw for turn in dialogue.turns for flaw in turn.flaws)
        vetoed += len(dialogue.vetoed)
        read += 1
        imitating += any(
            (score.metadata or {}).get("neutralised") for score in (sample.scores or {}).values()
        )
        said += sum(turn.user is not None for turn in dialogue.turns)
        cast |= set(dialogue.cast.items())
    yield "  Means with 95 % intervals, clustered by initial state. Unscored: no usable answer; never 0."
    yield f"  conversations ended by: {_counted(stops)}; errors: {errors}"
    yield f"  simulated user: {said} messages, flaws found by rule: {_counted(flaws) or 'none'}"
    if vetoed:
        yield f"  replies vetoed before the user saw them: {vetoed}"
    if imitating:
        yield (
            f"  words imitate other speakers or control strings in {imitating} of {read} conversations; "
            "judges were shown whose words they are"
        )
    if cast:
        yield f"  roles: {', '.join(f'{role} = {model}' for role, model in sorted(cast))}"
    if "miniature/" in " ".join([header.eval.model, *(model for _, model in cast)]):
        yield "  The miniature is a demonstration world: these numbers are no evidence about real models."


def _dialogue(sample: EvalSample) -> Dialogue:
    return sample.store_as(Dialogue)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.most_common())


if __name__ == "__main__":
    sys.exit(main())
