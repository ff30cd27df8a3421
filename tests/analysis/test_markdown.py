"""Tables of pages in Markdown."""

from analysis.reporting.markdown import interval, table


def test_tables_are_aligned_and_names_cannot_break_them():
    told = table(["", "mt"], [["a|b", "1"], ["long name", "0.5 [0.4, 0.6]"]])
    lines = told.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2].startswith("| a\\|b ")
    assert interval(None, None, None) == "-"
    assert interval(0.5, None, None) == "0.500"
