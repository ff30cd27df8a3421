"""Prompts of a batch, and which of them are read together."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from providers.local.kv_cache.prefixes import Found
from providers.local.sampling import SamplingSettings
from providers.local.watching import Watch

SHARED = 32
"""If so many tokens that are not kept yet stand at the beginning of several prompts of a batch, one of them
is read before the others; a pass of its own costs about as much."""

UNEVEN = 0.5
"""Prompts with less to read than this share of the longest go into another pass."""

SAVED = 256
"""They do so if that spares so many tokens of padding."""


class PromptRow(NamedTuple):
    """One prompt, and how it is continued."""

    prompt: Sequence[int]
    max_tokens: int
    seed: int
    adapter: str
    settings: SamplingSettings = SamplingSettings()
    over: Callable[[list[int]], bool] | None = None
    """Tells from the tokens so far that the row is over, asked after each."""

    watches: Sequence[Watch] = ()
    """Who reads along."""

    closing: Sequence[int] = ()
    """What the template writes after a reply, for those who read along."""


def once_each(rows: Sequence[PromptRow]) -> tuple[list[PromptRow], list[int]]:
    """Rows with different prompts or adapters, and for each row which of them it begins like.

    The epochs of a sample have one prompt, which then is read once.
    """
    places: dict[tuple[str, tuple[int, ...]], int] = {}
    first: list[PromptRow] = []
    for row in rows:
        key = (row.adapter, tuple(row.prompt))
        if key not in places:
            places[key] = len(first)
            first.append(row)
    return first, [places[row.adapter, tuple(row.prompt)] for row in rows]


def not_begun_by_others(
    first: Sequence[PromptRow], waiting: Sequence[int], kept: dict[int, Found]
) -> list[int]:
    """Those prompts whose new part does not begin as another's that is read now: the others wait for that."""
    now: list[int] = []
    before: PromptRow | None = None
    for place in sorted(waiting, key=lambda place: (first[place].adapter, list(first[place].prompt))):
        row = first[place]
        end = kept[place].length + SHARED
        if before is None or before.adapter != row.adapter or before.prompt[:end] != row.prompt[:end]:
            now.append(place)
        before = row
    return sorted(now)


def alike_long(lengths: dict[int, int]) -> list[list[int]]:
    """Places by how many tokens are to be read of them: as few passes as do not read much padding."""
    longest_first = sorted(lengths, key=lambda place: -lengths[place])
    passes: list[list[int]] = []
    for done, place in enumerate(longest_first):
        longest = lengths[passes[-1][0]] if passes else 0
        saved = (len(lengths) - done) * (longest - lengths[place])
        if not passes or (lengths[place] < UNEVEN * longest and saved >= SAVED):
            passes.append([place])
        else:
            passes[-1].append(place)
    return [sorted(places) for places in passes]


def equal_lengths(rows: Sequence[PromptRow]) -> list[list[int]]:
    """Places of the rows, those with prompts of one length together."""
    found: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        found.setdefault(len(row.prompt), []).append(place)
    return list(found.values())


def left_padded(
    rows: Sequence[PromptRow], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, shape (row, longest prompt)."""
    longest = max(len(r.prompt) for r in rows)
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, longest - len(row.prompt) :] = torch.tensor(row.prompt)
        mask[place, longest - len(row.prompt) :] = 1
    return ids.to(device), mask.to(device)
