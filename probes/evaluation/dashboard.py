"""All conversations of some data sets on one HTML file: filter, search, colour tokens, move the threshold.

The file needs nothing else and asks nobody. What is said in conversations is packed (gzip, base64) and
reaches the page as text alone. If it were larger than allowed, the middles of long conversations are left
out, and counted.
"""

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from markupsafe import Markup
from pydantic import Field

from probes.activations.whole_files import write_whole
from probes.evaluation.beside.foreign_scores import read_foreign
from probes.evaluation.evaluation_data import EvaluationSet, read_sets
from probes.evaluation.pages.token_colours import (
    STEPS,
    MarkedMessage,
    Scale,
    colour_names,
    marked_messages,
    page_environment,
    scale_of,
)
from probes.evaluation.pages.token_texts import read_tokenizer
from probes.evaluation.scored import Named, check_monitors, read_monitors, score_monitors
from scenarios.schema import Frozen

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATE, SCRIPT = "dashboard.html.jinja", "dashboard.js"
SHORTEST = 80
"""Characters of a conversation that are always on the page."""

LENGTHS = 48
"""Code of the character that stands for a piece of no letters."""

LONGEST_PIECE = 60
MEGABYTE = 1_000_000


class DashboardSettings(Frozen):
    """All options of the dashboard."""

    monitors: list[Path] = Field(
        min_length=1, title="what", description="folders of monitors; tokens have the colours of the first"
    )
    data: list[str] = Field(
        min_length=1, title="what", description="captured data sets, <store>/<name>[:fact=value]"
    )
    beside: list[Path] = Field(
        [], title="what", description="monitors to choose as well, as of probes/evaluate.py"
    )
    rows: int = Field(
        5000, ge=1, title="what", description="conversations at most, drawn by the seed, and told"
    )
    seed: int = Field(0, ge=0, title="what", description="of the draw")
    tokenizer: Path | None = Field(
        None, title="what", description="folder with the model's tokenizer, if the model is not there"
    )
    megabytes: float = Field(
        5.0,
        gt=0,
        title="result",
        description="size of the file at most; long conversations are shown in part",
    )
    out: Path = Field(Path("dashboard.html"), title="result", description="HTML file")


class Written(NamedTuple):
    """What became of the page."""

    out: Path
    rows: int
    size: int
    """Bytes."""

    cut: int
    """Conversations of which the middle is not on the page."""


class _Row(NamedTuple):
    """A conversation with its tokens' colours."""

    number: int
    """Of its data set."""

    place: int
    """In it."""

    messages: list[MarkedMessage]


def write_dashboard(settings: DashboardSettings) -> Written:
    """Score, colour and write.

    Raises:
        MonitorError, StoreError, DataError, LogError: What is named cannot be read, or does not fit.
        ValueError: Activations that are not finite; a tokenizer that is not there; too small a page.
    """
    monitors = read_monitors(settings.monitors)
    sets = read_sets(settings.data)
    check_monitors(monitors, sets)
    beside = read_foreign(settings.beside, sets)
    tokenizer = read_tokenizer(sets[0].spec, settings.tokenizer)
    counts = [len(data.rows) for data in sets]
    chosen = _drawn(counts, settings.rows, settings.seed)
    sets = [data._replace(rows=[data.rows[i] for i in own]) for data, own in zip(sets, chosen, strict=True)]
    logits = [(one.name, one.logits, _threshold(named)) for one, named in _scored(monitors, sets)]
    logits += [
        (one.name, [own[taken] for own, taken in zip(one.logits, chosen, strict=True)], None)
        for one in beside
    ]
    first = monitors[0]
    scale, rows = _coloured(first, sets, tokenizer)
    columns = _columns(sets, logits)
    columns["of"] = sum(counts)
    columns["scale"] = [scale.middle - scale.full, scale.middle, scale.middle + scale.full]
    about = f"{first.name} and {len(logits) - 1} more" if len(logits) > 1 else first.name
    page, cut = _small_enough(columns, rows, about, first, settings.megabytes)
    write_whole(settings.out, page)
    return Written(settings.out, len(rows), len(page.encode()), cut)


def _drawn(counts: Sequence[int], most: int, seed: int) -> list[list[int]]:
    """For each set the places of its rows that are shown, as large a share of each as of all."""
    total = sum(counts)
    kept = np.sort(np.random.default_rng(seed).permutation(total)[:most])
    starts = np.cumsum([0, *counts])
    return [(kept[(kept >= a) & (kept < b)] - a).tolist() for a, b in pairwise(starts)]


def _scored(monitors: Sequence[Named], sets: Sequence[EvaluationSet]) -> list[tuple[Any, Named]]:
    return list(zip(score_monitors(monitors, sets), monitors, strict=True))


def _threshold(named: Named) -> float | None:
    saved = named.monitor.card.threshold
    return None if saved is None else saved.logit


def _coloured(
    first: Named, sets: Sequence[EvaluationSet], tokenizer: "PreTrainedTokenizerBase"
) -> tuple[Scale, list[_Row]]:
    card = first.monitor.card
    tables = []
    for data in sets:
        activations = data.activations(card.layers)
        tables.append((activations, first.monitor.score(activations, tokens=True).token_logits or []))
    scale = scale_of([scores for _, of in tables for scores in of], _threshold(first))
    rows = [
        _Row(
            number,
            place,
            marked_messages(
                tokenizer,
                activations.token_ids(place),
                activations.message(place),
                activations.role(place),
                scores[place],
                scale,
            ),
        )
        for number, (activations, scores) in enumerate(tables)
        for place in range(len(scores))
    ]
    return scale, rows


def _columns(
    sets: Sequence[EvaluationSet],
    logits: Sequence[tuple[str, list[np.ndarray], float | None]],
) -> dict[str, Any]:
    """Everything but texts, by column."""
    every = [row for data in sets for row in data.rows]
    facts: dict[str, dict[str, Any]] = {}
    for name in sorted({fact for row in every for fact in row.facts}):
        values = sorted({row.facts[name] for row in every if name in row.facts})
        places = {value: number for number, value in enumerate(values)}
        facts[name] = {"values": values, "of": [places.get(row.facts.get(name, ""), -1) for row in every]}
    return {
        "sets": [data.name for data in sets],
        "set": [number for number, data in enumerate(sets) for _ in data.rows],
        "id": [row.id for row in every],
        "label": [None if math.isnan(v) else v for data in sets for v in data.labels.tolist()],
        "tokens": [row.n_tokens for row in every],
        "cut": [row.truncated for row in every],
        "facts": facts,
        "monitors": [
            {
                "name": name,
                "threshold": threshold,
                "scores": [_rounded(v) for own in of for v in own.tolist()],
            }
            for name, of, threshold in logits
        ],
    }


def _rounded(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


def _small_enough(
    columns: dict[str, Any], rows: Sequence[_Row], about: str, first: Named, megabytes: float
) -> tuple[str, int]:
    """The page with as much of the long conversations as there is room for."""
    most_bytes = megabytes * MEGABYTE
    lengths = [sum(len(piece.text) for m in row.messages for piece in m.pieces) for row in rows]
    longest = max(lengths, default=0)
    page = _page(columns, [_texts(row.messages, longest) for row in rows], about, first)
    if len(page.encode()) <= most_bytes:
        return page, 0
    low, high = SHORTEST, longest
    page = _page(columns, [_texts(row.messages, low) for row in rows], about, first)
    if len(page.encode()) > most_bytes:
        raise ValueError(
            f"--megabytes {megabytes:g}: {len(rows)} conversations need "
            f"{math.ceil(len(page.encode()) / MEGABYTE * 1000) / 1000:g}; show fewer with --rows"
        )
    while high - low > max(20, low // 20):
        middle = (low + high) // 2
        tried = _page(columns, [_texts(row.messages, middle) for row in rows], about, first)
        if len(tried.encode()) <= most_bytes:
            low, page = middle, tried
        else:
            high = middle
    return page, sum(length > low for length in lengths)


def _texts(messages: Sequence[MarkedMessage], most: int) -> list[list[Any]]:
    """Role, text, and a character for the length and the colour of each piece; a number alone is what lacks.

    Args:
        messages: Of a conversation.
        most: Letters; of a longer one so many of its beginning and end together.
    """
    total = sum(len(piece.text) for message in messages for piece in message.pieces)
    found: list[list[Any]] = []
    seen = lacking = 0
    for message in messages:
        texts, lengths, steps = list[str](), list[str](), list[str]()
        for piece in message.pieces:
            seen += len(piece.text)
            if total > most and most / 2 < seen <= total - most / 2:
                lacking += 1
                continue
            if lacking:
                _put(found, message, texts, lengths, steps)
                texts, lengths, steps = [], [], []
                found.append([lacking])
                lacking = 0
            for part in _short(piece.text):
                texts.append(part)
                lengths.append(chr(LENGTHS + _utf16(part)))
                steps.append(chr(97 + STEPS + piece.step))
        _put(found, message, texts, lengths, steps)
    if lacking:
        found.append([lacking])
    return found


def _put(
    found: list[list[Any]], message: MarkedMessage, texts: list[str], lengths: list[str], steps: list[str]
) -> None:
    if texts:
        role = message.role if message.number >= 0 else ""
        found.append([role, "".join(texts), "".join(lengths), "".join(steps)])


def _short(text: str) -> list[str]:
    return [text[i : i + LONGEST_PIECE // 2] for i in range(0, len(text), LONGEST_PIECE // 2)]


def _utf16(text: str) -> int:
    """Length as a page's script counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _page(columns: dict[str, Any], texts: list[Any], about: str, first: Named) -> str:
    packed = json.dumps(columns | {"texts": texts}, ensure_ascii=False, separators=(",", ":"))
    data = base64.b64encode(gzip.compress(packed.encode("utf-8", "replace"), 9, mtime=0)).decode()
    script = (Path(__file__).parent / "pages" / SCRIPT).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = page_environment()
    # of the suite, and under the hash that the page's policy names
    environment.globals["script"] = Markup(script)
    return environment.get_template(TEMPLATE).render(
        about=about, card=first.monitor.card, name=first.name, data=data, digest=digest, **colour_names()
    )
