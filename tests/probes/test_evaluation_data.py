"""Rows of evaluation sets: how long their conversations are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from probes.evaluation.evaluation_data import length_bins, read_set
from tests.support.evaluated_rows import LABELS, LOGITS, stored


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=40), st.sets(st.integers(1, 2000), max_size=6))
def test_every_conversation_is_in_one_length_bin(lengths, edges):
    bins = length_bins(np.array(lengths), sorted(edges))
    assert np.stack(list(bins.values())).sum(axis=0).tolist() == [1] * len(lengths)
    for name, inside in bins.items():
        low, _, high = name.rstrip("+").partition("-")
        assert all(int(low) <= n <= int(high or 10**9) for n in np.array(lengths)[inside])


def test_length_counts_what_was_cut_off(tmp_path):
    stored(tmp_path, "mt", LABELS, LOGITS, lengths=[5, 5, 5, 5])
    table_file = tmp_path / "datasets" / "mt.jsonl"
    table_file.write_text(table_file.read_text().replace('"truncated":0', '"truncated":7'))
    assert read_set(f"{tmp_path}/mt").lengths.tolist() == [12] * 4
