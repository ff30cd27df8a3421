"""Options of scorers, as `-S name=value` gives them."""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from scenarios.mistakes import UserMistake

P = ParamSpec("P")
R = TypeVar("R")


def known_options(make: Callable[P, R]) -> Callable[P, R]:
    """Tell an option that a scorer does not have in a line, with the nearest one. Stands below `@scorer`.

    Raises:
        UserMistake: When the scorer is made with a name that `make` does not take.
    """
    names = list(inspect.signature(make).parameters)

    @functools.wraps(make)
    def checked(*arguments: P.args, **options: P.kwargs) -> R:
        for name in options:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                there = f"there are {', '.join(names)}" if names else "it takes none"
                advice = f"did you mean {near[0]!r}?" if near else there
                raise UserMistake(f"-S {name}: {make.__name__} has no such option; {advice}")
        return make(*arguments, **options)

    return checked
