"""Templates: `{name}` is replaced by the variable of that name, once; any other brace stays as it is."""

import re
from collections.abc import Collection, Mapping

PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")

_ALMOST = re.compile(
    r"\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:(?:[.!\[]|:(?!\s))[^{}]*)?\}"  # {App}, { app }, {app.name}, {app:>9}
    r"|\{\s*([A-Za-z_][A-Za-z0-9_]*)\b(?!\s*:)(?=[^{}]*(?:\{|\Z))"  # {app, and no brace that ends it
)


def placeholders(template: str) -> set[str]:
    """Names that `template` asks for."""
    return set(PLACEHOLDER.findall(template))


def almost_placeholders(template: str, variables: Collection[str]) -> list[tuple[str, str]]:
    """What looks like a variable in braces and would stay as it stands.

    Args:
        template: A text.
        variables: Names that there are.

    Returns:
        (as it stands, name of the variable that is meant), the latter empty if there is none such.
    """
    found = []
    for match in _ALMOST.finditer(template):
        if not PLACEHOLDER.fullmatch(match[0]):
            name = (match[1] or match[2]).lower()
            found.append((match[0], name if name in variables else ""))
    return found


def fill(template: str, variables: Mapping[str, str]) -> str:
    """`template` with its variables replaced. What is put in is not searched again.

    Raises:
        ValueError: A variable has no value; the message lists the ones that there are.
    """
    if missing := placeholders(template) - set(variables):
        names = ", ".join("{" + name + "}" for name in sorted(missing))
        raise ValueError(f"no value for {names}; there are {sorted(variables)}")
    return PLACEHOLDER.sub(lambda m: variables[m[1]], template)


def resolve(variables: Mapping[str, str]) -> dict[str, str]:
    """Fill variables that refer to one another.

    Raises:
        ValueError: A variable refers to one that has no value, or to itself by a detour; the message
            starts with its name.
    """
    done: dict[str, str] = {}
    waiting = dict(variables)
    while waiting:
        ready = [name for name, text in waiting.items() if placeholders(text) <= done.keys()]
        if not ready:
            name, text = next(iter(waiting.items()))
            circular = sorted(placeholders(text) & waiting.keys())
            detail = f"refers in a circle to {circular}; " if circular else ""
            try:
                fill(text, done)
            except ValueError as error:
                raise ValueError(f"{name}: {detail}{error}") from None
        for name in ready:
            done[name] = fill(waiting.pop(name), done)
    return done
