"""Says rows in another style, or masks the words that tell most: controls for monitors of stakes.

    python probes/restyle.py --data rows.jsonl --how restyled --out restyled.jsonl
    python probes/restyle.py --data rows.jsonl --how restyled --style "a radio message" \\
        --model openai/gpt-4.1 --out restyled.jsonl
    python probes/restyle.py --data rows.jsonl --how masked --out masked.jsonl
    python probes/evaluate.py --monitors monitors --changed rows=restyled rows=masked \\
        --data activations/rows activations/restyled activations/masked

Rows keep id, pair, label and split. Without a model a style is a rule of `scenarios/stakes/restyling.yaml`;
those of its split `test` are held out: by default one of them is drawn for each pair. The words to mask are
fitted on the rows of split train (or on --train), so that all others are masked without being looked at.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from probes.conversations.labels import DataError
from probes.laboratory.rows import SPLITS, StakesRow, read_rows, write_rows
from scenarios.commands.command_line import read_settings
from scenarios.commands.exits import exit_status
from scenarios.files.whole import refuse_other_than_jsonl, write_json
from scenarios.schema import Frozen


class RestyleSettings(Frozen):
    """All options."""

    data: Path = Field(title="what", description="file of rows")
    how: Literal["restyled", "masked"] = Field(title="what", description="restyled or masked")
    out: Path = Field(title="what", description="file for the changed rows")
    split: str | None = Field(None, title="what", description="only rows of this split, e.g. test")
    seed: int = Field(0, ge=0, title="what", description="of everything that is drawn")

    style: str | None = Field(
        None,
        title="restyled",
        description="name of a rule, or with a model any style in words; held-out rules if not given",
    )
    model: str | None = Field(
        None, title="restyled", description="that says the rows in other words, e.g. openai/gpt-4.1"
    )
    logs: Path = Field(Path("logs/restyle"), title="restyled", description="folder for the model's log")

    train: Path | None = Field(
        None,
        title="masked",
        description="file of rows on which the words are fitted; split train of data if not given",
    )
    words: int = Field(100, ge=1, title="masked", description="words to mask")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.model is not None and (self.how != "restyled" or self.style is None):
            raise ValueError("a model restyles: with --how restyled and --style, in words")
        if self.split is not None and self.split not in SPLITS:
            raise ValueError(f"split {self.split!r} is none of {', '.join(SPLITS)}")
        refuse_other_than_jsonl(self.out)
        return self


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(
        lambda: _run(read_settings(RestyleSettings, arguments, __doc__ or "")),
        kept="nothing was written; what a model has said is in its cache",
        mistakes=(ValueError,),
    )


def _run(settings: RestyleSettings) -> int:
    from probes.laboratory.restyling import words_changed  # --help and mistakes need not wait for it

    everything = read_rows(settings.data, Counter())
    rows = [row for row in everything if settings.split in (None, row.split)]
    if not rows:
        raise DataError(
            f"{settings.data}: no row" + (f" of split {settings.split}" if settings.split else "s")
        )
    changed, notes = (
        _masked(settings, everything, rows) if settings.how == "masked" else _restyled(settings, rows)
    )
    before = {row.id: row for row in rows}
    shares = [words_changed(before[row.id], row) for row in changed]
    write_rows(settings.out, changed)
    print(
        f"{len(changed)} rows in {settings.out}: {100 * float(np.mean(shares)):.0f} % of their words are "
        f"others in the mean; {sum(share == 0 for share in shares)} rows are as they were"
    )
    for note in notes:
        print(note)
    return 0


def _restyled(settings: RestyleSettings, rows: Sequence[StakesRow]) -> tuple[list[StakesRow], list[str]]:
    from probes.laboratory.restyling import read_restyling, restyled_row

    if settings.model is not None:
        from probes.laboratory.rewriting import rewritten

        made = rewritten(rows, settings.style or "", settings.model, settings.logs)
        left_out = [f"left out: {count} {reason}" for reason, count in made.left_out.items()]
        return made.rows, [*left_out, f"log: {made.log}"]
    styles = read_restyling()
    names = [settings.style] if settings.style else styles.of_split("test")
    order = np.random.default_rng(settings.seed).integers(len(names), size=len({row.pair for row in rows}))
    # both sides of a pair in one style, which so tells nothing of the label
    of_pair = dict(zip(dict.fromkeys(row.pair for row in rows), order.tolist(), strict=True))
    changed = [
        restyled_row(row, (name := names[of_pair[row.pair]]), styles.rule(name), settings.seed)
        for row in rows
    ]
    other = {row.facts["language"] for row in rows if "language" in row.facts} - {"English", "en"}
    notes = (
        [f"phrases are English; of {', '.join(sorted(other))} case and marks alone change"] if other else []
    )
    return changed, notes


def _masked(
    settings: RestyleSettings, everything: Sequence[StakesRow], rows: Sequence[StakesRow]
) -> tuple[list[StakesRow], list[str]]:
    from analysis.ranking import auroc
    from probes.laboratory.restyling import masked_row, read_restyling, telling_words

    source = list(everything) if settings.train is None else read_rows(settings.train, Counter())
    train = [row for row in source if row.split == "train"] if any(row.split for row in source) else source
    if settings.train is None and len(train) == len(source):
        raise DataError(
            f"{settings.data}: the rows have no split, so words fitted on them would be their own; name "
            "other rows with --train"
        )
    mask = telling_words(train, settings.words, settings.seed)
    changed = [masked_row(row, mask.words, read_restyling().mask) for row in rows]
    words = [{"word": word, "logit": weight} for word, weight in zip(mask.words, mask.weights, strict=True)]
    listing = settings.out.with_name(f"{settings.out.name}.words.json")
    write_json(listing, words)
    known = {row.pair for row in train} if settings.train is None else set[str]()
    notes = [f"{len(words)} words, fitted on {mask.n_rows} rows: {listing}"]
    labelled = [n for n, row in enumerate(rows) if row.label is not None and row.pair not in known]
    labels = np.array([rows[n].label for n in labelled], dtype=np.float64)
    if 0 < labels.sum() < len(labels):
        pairs = [rows[n].pair for n in labelled]
        ends = [
            auroc(labels, mask.pipeline.decision_function([of[n].text for n in labelled]), pairs)
            for of in (rows, changed)
        ]
        told = [f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in ends]
        notes.append(f"the same bag of words ranks these rows with AUROC {told[0]}, masked with {told[1]}")
    return changed, notes


if __name__ == "__main__":
    sys.exit(main())
