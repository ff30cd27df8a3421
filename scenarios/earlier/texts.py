"""Texts of the earlier system as templates of ours."""

import re

from scenarios.templates import almost_placeholders


def our_template(text: str) -> str:
    """Their templates double a literal brace, ours do not.

    Raises:
        ValueError: A literal brace around a single word, which ours would take for a variable; or a brace
            around what is no variable of ours and is one of theirs.
    """
    single = text.replace("{{", "").replace("}}", "")
    if almost := almost_placeholders(single, ()):
        raise ValueError(f"{almost[0][0]}: a variable must be a word in small letters between braces")
    if word := re.search(r"\{(\{[a-z][a-z0-9_]*\})\}", text):
        raise ValueError(f"{word[0]}: literal braces around a single word are not supported")
    return text.replace("{{", "{").replace("}}", "}").strip()
