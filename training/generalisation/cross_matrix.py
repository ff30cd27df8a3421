"""The cross matrix: what each checkpoint does in each family, as rows, as a table and as a picture."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from analysis.comparing.contrasts import MEASURES, USERS, Groups, change, mean_of
from analysis.intervals import Interval
from scenarios.files.whole import whole_file

BASE = "base"
"""Name of the untrained model among the checkpoints."""

Row = dict[str, Any]
"""checkpoint, family, users; for `rating` and `harm` the mean, its `_low` and `_high`, its `_n` and
`_unscored`, and `_change`, `_change_low`, `_change_high` from the base (null for the base); log."""

TITLES = {"harm": "Harmful influence", "rating": "Rating that the user would give"}


class Measured(NamedTuple):
    """One checkpoint in one family."""

    checkpoint: str
    family: str
    groups: Groups
    log: str


def rows_of(measured: Sequence[Measured]) -> list[Row]:
    """One row for each checkpoint, family and kind of user; what was not scored is null."""
    bases = {m.family: m.groups for m in measured if m.checkpoint == BASE}
    return [_matrix_row(m, users, bases.get(m.family)) for m in measured for users in USERS]


def _matrix_row(measured: Measured, users: str, base: Groups | None) -> Row:
    row: Row = {"checkpoint": measured.checkpoint, "family": measured.family, "users": users}
    for measure in MEASURES:
        group = measured.groups[measure, users]
        moved = None
        if base is not None and measured.checkpoint != BASE:
            moved = change(group, base[measure, users])
        row |= fields(measure, mean_of(group)) | fields(f"{measure}_change", moved)
        row |= {f"{measure}_n": len(group.values.values), f"{measure}_unscored": group.unscored}
    return row | {"log": measured.log}


def fields(name: str, interval: Interval | None) -> dict[str, float | None]:
    """An interval as `name`, `name_low`, `name_high`; null where it is not known."""
    values = (None, None, None) if interval is None else (interval.mean, interval.low, interval.high)
    names = (name, f"{name}_low", f"{name}_high")
    return {n: None if v is None or math.isnan(v) else v for n, v in zip(names, values, strict=True)}


def told(row: Mapping[str, Any], name: str, *, signed: bool = False) -> str:
    """A number of a row with its interval, or a dash."""
    mean, low, high = (row[name + end] for end in ("", "_low", "_high"))
    if mean is None:
        return "-"
    form = "+z.2f" if signed else "z.2f"  # z: no -0.00
    return f"{mean:{form}}" + ("" if low is None else f" [{low:{form}}, {high:{form}}]")


def table_lines(rows: Sequence[Row]) -> list[str]:
    """The matrix for the terminal: the base's numbers, and what the checkpoints changed."""
    families, checkpoints = _ordered(rows, "family"), _ordered(rows, "checkpoint")
    found = {(r["checkpoint"], r["family"], r["users"]): r for r in rows}
    wide = max(12, *(len(f) + 2 for f in families))
    lines: list[str] = []
    for measure in TITLES:
        for users in USERS:
            lines += ["", f"{measure}, {users} users"]
            heads = [c if c == BASE else f"{c}, change" for c in checkpoints]
            lines.append(" " * (wide + 2) + "".join(f"{h:<26}" for h in heads) + "scored / unscored")
            for family in families:
                members = [found.get((c, family, users)) for c in checkpoints]
                cells = [_cell(row, measure) for row in members]
                counts = ", ".join(_counts(row, measure) for row in members)
                lines.append(f"  {family:<{wide}}" + "".join(f"{c:<26}" for c in cells) + counts)
    return lines


def _cell(row: Row | None, measure: str) -> str:
    if row is None:
        return "not run"
    return told(row, measure) if row["checkpoint"] == BASE else told(row, f"{measure}_change", signed=True)


def _counts(row: Row | None, measure: str) -> str:
    return "-" if row is None else f"{row[f'{measure}_n']} / {row[f'{measure}_unscored']}"


def _ordered(rows: Iterable[Row], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def draw_matrix(rows: Sequence[Row], out: Path, *, title: str, note: str | None = None) -> None:
    """Draw the matrix as heat maps: the base's means, and the change from them with its interval.

    Changes whose interval leaves out 0 are bold.

    Args:
        rows: Of `rows_of`.
        out: PNG file, written whole or not at all.
        title: What was run.
        note: A line at the foot.
    """
    from matplotlib.figure import Figure

    families, checkpoints = _ordered(rows, "family"), _ordered(rows, "checkpoint")
    columns = [(users, checkpoint) for users in USERS for checkpoint in checkpoints]
    wide = max(11.0, 2.6 + 1.28 * len(columns))
    tall = 2 * (0.46 * len(families) + 1.3) + 1.3
    figure = Figure(figsize=(wide, tall), dpi=150, facecolor="white")
    grid = figure.add_gridspec(
        len(TITLES),
        1,
        left=1.35 / wide,
        right=1 - 0.2 / wide,
        top=1 - 1.75 / tall,
        bottom=0.5 / tall,
        hspace=1.4 / (0.46 * len(families)),
    )
    found = {(r["users"], r["checkpoint"], r["family"]): r for r in rows}
    for place, measure in enumerate(TITLES):
        panel = figure.add_subplot(grid[place])
        cells = [[found.get((*column, family)) for column in columns] for family in families]
        _draw_panel(panel, measure, cells, families, columns)
    figure.text(0.2 / wide, 1 - 0.42 / tall, title, fontsize=15, fontweight="bold", color="#222222")
    subtitle = (
        "base: mean; checkpoints: change from the base, 95 % intervals by initial state; bold: without 0"
    )
    figure.text(0.2 / wide, 1 - 0.72 / tall, subtitle, fontsize=10.5, color="#5b5b5b")
    if note:
        figure.text(0.2 / wide, 0.15 / tall, note, fontsize=10, color="#8c2d04", style="italic")
    with whole_file(out) as unfinished:
        figure.savefig(unfinished, format="png", dpi=150)


def _draw_panel(
    panel: Any,
    measure: str,
    cells: Sequence[Sequence[Row | None]],
    families: Sequence[str],
    columns: Sequence[tuple[str, str]],
) -> None:
    """One heat map; blue is less, orange more, grey the base or not known."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, TwoSlopeNorm

    shown = [[None if c is None else c[f"{measure}_change"] for c in line] for line in cells]
    known = [abs(v) for line in shown for v in line if v is not None]
    most = max([*known, 0.5 if measure == "harm" else 2.0])
    blue_to_orange = colormaps["PuOr"](range(255, -1, -1))
    colours = ListedColormap(blue_to_orange[28:228])  # the ends are too dark for text
    panel.set_facecolor("#f0f0f0")
    values = [[math.nan if v is None else v for v in line] for line in shown]
    panel.imshow(values, cmap=colours, norm=TwoSlopeNorm(0.0, -most, most), aspect="auto")
    panel.set_title(TITLES[measure], loc="left", fontsize=12.5, color="#222222", pad=42)
    panel.set_yticks(range(len(families)), families, fontsize=10.5)
    panel.set_xticks(range(len(columns)), [checkpoint for _, checkpoint in columns], fontsize=9.5)
    panel.xaxis.tick_top()
    panel.tick_params(length=0, colors="#444444")
    panel.spines[:].set_visible(False)
    panel.set_xticks([x - 0.5 for x in range(1, len(columns))], minor=True)
    panel.set_yticks([y - 0.5 for y in range(1, len(families))], minor=True)
    panel.grid(which="minor", color="white", linewidth=2)
    panel.tick_params(which="minor", length=0)
    each = len(columns) // len(USERS)
    for number, users in enumerate(USERS):
        middle = number * each + (each - 1) / 2
        panel.annotate(
            f"{users} users", (middle, -0.5), (0, 19), textcoords="offset points", ha="center", fontsize=10.5
        )
        if number:
            panel.axvline(number * each - 0.5, color="white", linewidth=8)
    for y, line in enumerate(cells):
        for x, row in enumerate(line):
            _write_cell(panel, x, y, measure, row)


def _write_cell(panel: Any, x: int, y: int, measure: str, row: Row | None) -> None:
    text = _cell(row, measure)
    mean, _, interval = text.partition(" ")
    certain = False
    if row is not None and row["checkpoint"] != BASE and row[f"{measure}_change_low"] is not None:
        certain = row[f"{measure}_change_low"] > 0 or row[f"{measure}_change_high"] < 0
    weight = "bold" if certain else "normal"
    if interval.startswith("["):
        panel.text(
            x, y - 0.16, mean, ha="center", va="center", fontsize=10.5, fontweight=weight, color="#1a1a1a"
        )
        panel.text(x, y + 0.24, interval, ha="center", va="center", fontsize=7.5, color="#1a1a1a")
    else:
        panel.text(x, y, text, ha="center", va="center", fontsize=9, color="#777777")
