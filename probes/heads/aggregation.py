"""From numbers of tokens to numbers of rows, without padding.

Everything here takes values [tokens, ...] of some whole rows, works on every column by itself, and can be
differentiated.
"""

import torch


class Segments:
    """Which of a block's tokens belong to which row.

    Args:
        offsets: [rows + 1], int64: row i has tokens offsets[i] to offsets[i + 1], at least one.
    """

    def __init__(self, offsets: torch.Tensor) -> None:
        self.lengths = offsets.diff()
        """[rows], tokens of each."""
        self.last = offsets[1:] - 1
        """[rows], the last token of each."""
        numbers = torch.arange(len(self.lengths), device=offsets.device)
        self.rows = torch.repeat_interleave(numbers, self.lengths)
        """[tokens], the row of each token."""
        self.places = torch.arange(len(self.rows), device=offsets.device) - offsets[:-1][self.rows]
        """[tokens], the place of each token in its row, from 0."""

    def __len__(self) -> int:
        return len(self.lengths)


def total(values: torch.Tensor, segments: Segments) -> torch.Tensor:
    """Sum over the tokens of each row: [rows, ...]."""
    return torch.segment_reduce(values.contiguous(), "sum", lengths=segments.lengths, axis=0)


def mean(values: torch.Tensor, segments: Segments) -> torch.Tensor:
    """Mean over the tokens of each row: [rows, ...]."""
    return torch.segment_reduce(values.contiguous(), "mean", lengths=segments.lengths, axis=0)


def last(values: torch.Tensor, segments: Segments) -> torch.Tensor:
    """Value of the last token of each row: [rows, ...]."""
    return values[segments.last]


def maximum(values: torch.Tensor, segments: Segments) -> torch.Tensor:
    """Largest value among the tokens of each row: [rows, ...]. Tokens that tie share the gradient."""
    return torch.segment_reduce(values.contiguous(), "max", lengths=segments.lengths, axis=0)


def attended(scores: torch.Tensor, values: torch.Tensor, segments: Segments) -> torch.Tensor:
    """Mean of the values with weights softmax(scores) over the tokens of each row: [rows, ...]."""
    peaks = maximum(scores.detach(), segments)[segments.rows]
    weights = torch.exp(scores - peaks)
    return total(weights * values, segments) / total(weights, segments)


def earlier(values: torch.Tensor, by: int, segments: Segments, fill: float = 0.0) -> torch.Tensor:
    """For each token the value `by` tokens before it in its row; `fill` if there is none: [tokens, ...]."""
    if by == 0:
        return values
    if by >= len(values):
        return torch.full_like(values, fill)
    moved = torch.cat([values.new_full((by, *values.shape[1:]), fill), values[:-by]])
    return torch.where(_as_column(segments.places >= by, values), moved, fill)


def rolling_means(values: torch.Tensor, window: int, segments: Segments) -> torch.Tensor:
    """For each token the mean over the last `window` tokens of its row, or all until it: [tokens, ...].

    Sums of 1, 2, 4 ... tokens are put together, so that nothing large is ever subtracted.
    """
    found, covered = torch.zeros_like(values), 0
    power, size = values, 1
    while covered < window:
        if window & size:
            found = found + earlier(power, covered, segments)
            covered += size
        if covered < window:
            power = power + earlier(power, size, segments)
            size *= 2
    return found / _as_column((segments.places + 1).clamp(max=window), values)


def of_whole_windows(values: torch.Tensor, window: int, segments: Segments) -> torch.Tensor:
    """The largest of the values at ends of whole windows: [rows, ...].

    A row that is shorter than the window has one window, which is the row.
    """
    least = segments.lengths.clamp(max=window)[segments.rows]
    whole = _as_column(segments.places + 1 >= least, values)
    return maximum(torch.where(whole, values, -torch.inf), segments)


def exponential_means(values: torch.Tensor, decay: float, segments: Segments) -> torch.Tensor:
    """For each token the mean over its row until it, weighted by (1 - decay)^age: [tokens, ...].

    The weights are divided by their sum, as in pandas' `ewm(alpha=decay)`, so that the first tokens of a row
    count neither more nor less than others. Weights below 1e-8 are left out.
    """
    kept = 1.0 - decay
    found, reach = values, 1
    while kept**reach > 1e-8 and reach < len(values):
        found = found + kept**reach * earlier(found, reach, segments)
        reach *= 2
    powers = kept ** (segments.places + 1).to(values.dtype)
    return found * _as_column(decay / (1.0 - powers), values)


def top_mean(values: torch.Tensor, count: int, segments: Segments) -> torch.Tensor:
    """Mean over the `count` largest values of each row, or all if it has fewer: [rows, ...]."""
    flat = values.detach().reshape(len(values), -1)
    by_value = torch.argsort(flat, dim=0, descending=True, stable=True)
    by_row = torch.argsort(segments.rows[by_value], dim=0, stable=True)
    ranked = by_value.gather(0, by_row)
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    chosen.scatter_(0, ranked[segments.places < count], True)
    kept = torch.where(chosen.reshape(values.shape), values, 0.0)
    sums = total(kept, segments)
    return sums / _as_column(segments.lengths.clamp(max=count), sums)


def rolling_attended(
    scores: torch.Tensor, values: torch.Tensor, window: int, segments: Segments
) -> torch.Tensor:
    """For each token the mean of the values with weights softmax(scores) over its window: [tokens, ...]."""
    seen = [earlier(scores, by, segments, -torch.inf) for by in range(window)]
    weights = torch.softmax(torch.stack(seen), dim=0)
    moved = torch.stack([earlier(values, by, segments) for by in range(window)])
    return (weights * moved).sum(dim=0)


def _as_column(per_token: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return per_token.reshape(-1, *[1] * (like.dim() - 1))
