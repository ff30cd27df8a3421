"""Fits a judge to labels in logs, and says how good it is on topics that it did not see."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis.agreement import estimate, spearman
from analysis.logs.finding import find_logs
from analysis.logs.samples import SpokenRecord, records_of
from analysis.logs.scores import numbers_in
from analysis.ranking import auroc, auroc_within
from analysis.reporting.conversations.spoken import text_of
from providers.encoder.encoding import EncoderError
from providers.encoder.saved import Head

PENALTY = 100.0
"""Of ridge regression on standardised features, in rows."""

MIDDLE = 5.5
"""From this label on, of 1 to 10, a reply is of the upper class where a ranking needs two."""


class LabelledReplies(NamedTuple):
    """The last replies of conversations, with what somebody labelled them."""

    texts: list[str]
    labels: dict[str, np.ndarray]
    """Label -> [reply]; NaN where there is none."""

    topics: list[str]
    logs: list[str]

    def drawn(self, count: int, seed: int) -> "LabelledReplies":
        """So many of them at random, or all if there are fewer; in their order."""
        if count >= len(self.texts):
            return self
        rows = sorted(np.random.default_rng(seed).choice(len(self.texts), count, replace=False).tolist())
        return LabelledReplies(
            [self.texts[r] for r in rows],
            {name: values[rows] for name, values in self.labels.items()},
            [self.topics[r] for r in rows],
            [self.logs[r] for r in rows],
        )


def read_replies(sources: Sequence[Path], labels: Sequence[str]) -> LabelledReplies:
    """The last reply of each conversation of the logs.

    Raises:
        LogError: A log cannot be read.
        EncoderError: A label that no conversation has, or that is not on a scale of 1 to 10.
    """
    texts, topics, logs = list[str](), list[str](), list[str]()
    values: dict[str, list[float]] = {name: [] for name in labels}
    for log in find_logs(sources):
        for record in records_of(log, SpokenRecord):
            if (text := _last_reply(record)) is None or record.invalidated:
                continue
            found = {v.name: v for v in numbers_in(record.scores).numbers}
            for name in labels:
                if name in found and found[name].scale != "1-10":
                    raise EncoderError(f"{log.name}: {name} is on {found[name].scale}; labels are on 1-10")
                values[name].append(found[name].value if name in found else np.nan)
            texts.append(text)
            topics.append(str(record.metadata.get("topic", record.id)))
            logs.append(log.name)
    arrays = {name: np.array(of, dtype=np.float64) for name, of in values.items()}
    for name, of in arrays.items():
        if not np.isfinite(of).any():
            raise EncoderError(f"no conversation has a score {name}")
    return LabelledReplies(texts, arrays, topics, logs)


def _last_reply(record: SpokenRecord) -> str | None:
    said: Iterator[dict[str, Any]] = (m for m in reversed(record.messages) if m.get("role") == "assistant")
    texts = (text_of(message, record.attachments) for message in said)
    return next((text for text in texts if text), None)


def fit_head(label: str, vectors: np.ndarray, labels: np.ndarray, topics: Sequence[str]) -> Head:
    """A head of all rows; its spread is that of topics which it did not see.

    Args:
        label: Its name.
        vectors: [reply, width].
        labels: [reply], without NaN.
        topics: Of each reply.

    Raises:
        EncoderError: Fewer than two topics.
    """
    weights, bias = _ridge(vectors, labels)
    unseen = unseen_predictions(vectors, labels, topics)
    spread = float(np.sqrt(np.mean((labels - unseen) ** 2)))
    return Head(label=label, weights=weights.tolist(), bias=bias, spread=max(spread, 1e-3))


def unseen_predictions(vectors: np.ndarray, labels: np.ndarray, topics: Sequence[str]) -> np.ndarray:
    """[reply], each by a head that saw none of its topic. Raises EncoderError with fewer than two topics."""
    of = np.array(topics)
    if len(set(topics)) < 2:
        raise EncoderError("labels of one topic cannot show what holds on others; give logs with several")
    found = np.empty(len(labels))
    for topic in sorted(set(topics)):
        weights, bias = _ridge(vectors[of != topic], labels[of != topic])
        found[of == topic] = vectors[of == topic] @ weights + bias
    return found


def _ridge(vectors: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and bias for the vectors as they are, of a regression on standardised ones."""
    mean, width = vectors.mean(axis=0), vectors.std(axis=0) + 1e-9
    x, y = ((vectors - mean) / width).astype(np.float64), labels - labels.mean()
    weights = np.linalg.solve(x.T @ x + PENALTY * np.eye(x.shape[1]), x.T @ y) / width
    return weights, float(labels.mean() - mean @ weights)


def validity(name: str, predicted: np.ndarray, labels: np.ndarray, rows: LabelledReplies) -> str:
    """One line: rank correlation and AUROC over all replies, and AUROC among replies of the same log.

    The second counts where logs are rounds of a training, which drifts: between rounds anything that drifts
    looks like a judge.

    Args:
        name: What is judged.
        predicted: [reply].
        labels: [reply]; where either is NaN the reply is left out and counted.
        rows: The replies.
    """
    there = np.isfinite(predicted) & np.isfinite(labels)
    kept = np.flatnonzero(there)
    x, y = predicted[kept], labels[kept]
    topics = [rows.topics[n] for n in kept]
    logs = np.array([rows.logs[n] for n in kept])
    rank = estimate(spearman(x, y), np.array([x, y]), topics, undefined="equal")
    upper = (y > MIDDLE).astype(float)
    cells = [f"rank correlation {_cell(rank.value, rank.low, rank.high)}"]
    try:
        cells.append("AUROC " + _cell(*auroc(upper, x, topics)))
        cells.append("within a log " + _cell(*auroc_within(upper, x, topics, [logs == n for n in set(logs)])))
    except ValueError as error:
        cells.append(f"no AUROC: {error}")
    return (
        f"{name}: " + ", ".join(cells) + f" ({len(kept)} replies, {len(there) - len(kept)} without a number)"
    )


def _cell(value: float | None, low: float | None, high: float | None) -> str:
    shown = ["-" if number is None or np.isnan(number) else f"{number:.2f}" for number in (value, low, high)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"
