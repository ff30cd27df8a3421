"""Names that other people gave, in pages of Markdown and in terminals."""

import pytest
from jinja2 import Environment

from scenarios.files.shown_text import Markdown, in_markdown, one_line


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("quit_smoking", "quit_smoking"),
        ("Rent & mould (2)", "Rent & mould (2)"),
        ("auroc\n| evil | 1 |", r"auroc \| evil \| 1 \|"),
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ("`; rm`", "'; rm'"),
        ("[here](javascript:x)", r"[here]\(javascript:x)"),
        ("a\u2028b\x1b[31mc\u202ed", "a b [31mc d"),
    ],
)
def test_a_name_makes_no_row_tag_code_or_link(name: str, shown: str):
    page = Environment(finalize=in_markdown).from_string("{{ name }}")
    assert page.render(name=name) == shown


def test_what_is_markdown_already_and_numbers_stay():
    page = Environment(finalize=in_markdown).from_string("{{ page }} {{ number }}")
    assert page.render(page=Markdown("a:\n- `b`|c"), number=1.5) == "a:\n- `b`|c 1.5"


def test_a_terminal_gets_no_codes():
    assert one_line("\x1b]0;owned\x07to\r\npic\u202e") == "]0;owned to pic"
