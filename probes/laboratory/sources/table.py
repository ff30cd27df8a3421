"""All sources, and the rows of their files."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from probes.conversations.labels import DataError
from probes.laboratory.rows import StakesRow, check_pairs
from probes.laboratory.sources.single_texts import aya_rows, medical_rows, mental_health_rows
from probes.laboratory.sources.source import Excluded, Source
from probes.laboratory.sources.tool_use import toolace_rows
from probes.laboratory.sources.transcripts import hh_rows, mts_rows
from probes.laboratory.sources.twins import deployment_rows, mask_rows
from scenarios.files.tables import read_table
from scenarios.stakes.factors import Shares, stable_split

_TEST = re.compile(r"test", re.IGNORECASE)

SOURCES = {
    source.name: source
    for source in (
        Source(
            "anthropic_hh",
            "hub: Anthropic/hh-rlhf (MIT), */train.jsonl.gz",
            ("chosen", "rejected"),
            hh_rows,
            notes="both transcripts of a comparison, as a pair; a system prompt of a general assistant",
        ),
        Source(
            "mts",
            "github: abachaa/MTS-Dialog (CC BY 4.0), Main-Dataset/*.csv",
            ("dialogue",),
            mts_rows,
            _TEST,
            "doctor as assistant, patient as user; the section of the record in the system prompt",
        ),
        Source(
            "mt",
            "hub: NickyNicky/medical_mtsamples",
            ("transcription",),
            medical_rows,
            notes="one text of the user; a transcription under several specialities is a pair",
        ),
        Source(
            "toolace",
            "hub: Team-ACE/ToolACE (Apache 2.0), data.json",
            ("system", "conversations"),
            toolace_rows,
            notes="functions become tools, bracketed calls tool calls, results tool messages",
        ),
        Source(
            "mental_health",
            "kaggle: Sentiment Analysis for Mental Health, Combined Data.csv",
            ("statement",),
            mental_health_rows,
            notes="one text of the user; texts that come again are a pair; status as a fact",
        ),
        Source(
            "aya_redteaming",
            "hub: CohereForAI/aya_redteaming (Apache 2.0), aya_eng|fra|hin|spa.jsonl",
            ("prompt", "language"),
            aya_rows,
            notes="one text of the user, in four languages",
        ),
        Source(
            "mask",
            "hub: cais/MASK, continuations, known_facts, statistics",
            ("user_prompt", "proposition"),
            mask_rows,
            notes="1: the prompt under pressure; 0: questions for the same belief; a proposition is a pair",
        ),
        Source(
            "deployment",
            "a table of one's own with columns high_stakes, low_stakes, deployment_context",
            (),
            deployment_rows,
            notes="twins with a label each; the deployment in the system prompt",
        ),
    )
}


def build_rows(
    source: Source, files: Sequence[Path], left_out: Counter[str], *, test: float = 0.5, seed: int = 0
) -> list[StakesRow]:
    """The conversations of a source's files, for development and test.

    Args:
        source: One of `SOURCES`.
        files: As they were published; see `scenarios/files/tables.py` for kinds.
        left_out: Counts rows of the files that make no conversation, by reason.
        test: Share of pairs that are for the test, where files do not tell.
        seed: Of that draw.

    Raises:
        DataError: No such file; it lacks a column of this source; a pair in two splits.
        TableError: A file cannot be read, or a cell holds something else than it should.
    """
    rows: list[StakesRow] = []
    for path in files:
        if not path.is_file():
            raise DataError(f"{path}: no such file; {source.name} is at {source.where}")
        rows += _file_rows(source, path, left_out, len(files) > 1, test, seed)
    check_pairs(rows)
    return rows


def _file_rows(
    source: Source, path: Path, left_out: Counter[str], several: bool, test: float, seed: int
) -> Iterator[StakesRow]:
    stem = path.name.partition(".")[0]
    prefix = f"{source.name}-{stem}" if several else source.name
    for number, row in enumerate(read_table(path)):
        if number == 0 and (missing := [name for name in source.needs if name not in row.cells]):
            there = ", ".join(row.cells)
            raise DataError(
                f"{row.where}: no column {missing[0]!r}, which files of {source.name} have; there are {there}"
            )
        try:
            made = list(source.rows(row))
        except Excluded as reason:
            left_out[str(reason)] += 1
            continue
        for one in made:
            pair = f"{source.name}-{one.pair}" if one.pair else f"{prefix}-{one.id}"
            if one.pair.isdecimal():  # a number of a row, which other files have too
                pair = f"{prefix}-{one.pair}"
            if source.test_files is not None:
                split = "test" if source.test_files.search(path.name) else "dev"
            else:
                split = "test" if stable_split(pair, Shares(0, test), seed) == "test" else "dev"
            facts = {**one.facts, "split": split, "source": source.name}
            if several:
                facts["file"] = stem
            yield StakesRow(
                id=f"{prefix}-{one.id}",
                pair=pair,
                messages=one.messages,
                tools=one.tools,
                label=one.label,
                facts=facts,
            )
