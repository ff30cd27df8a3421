"""How commands end: a mistake of the user is one line, and so is a command that is stopped.

| status | |
|---|---|
| 0 | done; also if whoever read the output has stopped reading (`\\| head`) |
| 1 | something that is named cannot be read, written or used |
| 2 | an option or a setting is wrong; nothing was begun |
| 130, 143 | stopped with Ctrl-C, or by SIGTERM |
"""

import os
import sys
from collections.abc import Callable

from scenarios.commands.interruption import say_stopped, termination_as_interrupt
from scenarios.commands.usage import UsageMistake
from scenarios.files.whole import NO_ROOM, write_error
from scenarios.mistakes import UserMistake

EXTRAS = {
    "accelerate": "training",
    "datasets": "training",
    "fsspec": "probes",
    "gguf": "smol",
    "huggingface_hub": "probes",
    "jinja2": "probes",
    "matplotlib": "probes",
    "peft": "local",
    "pyarrow": "report",
    "s3fs": "probes",
    "safetensors": "local",
    "sklearn": "probes",
    "statsmodels": "report",
    "torch": "local",
    "transformers": "local",
    "trl": "training",
}
"""Module -> extra of this distribution that brings it."""


def exit_status(
    command: Callable[[], int],
    *,
    kept: Callable[[], str] | str = "nothing was written",
    mistakes: tuple[type[Exception], ...] = (),
) -> int:
    """Run a command and give its exit status; see the table above.

    Args:
        command: Prints to stdout; gives the status if nothing stops it.
        kept: What is there when the command is stopped, and how to go on.
        mistakes: Errors that are the user's to mend, beside `UserMistake` and what the system says of a file.
    """
    try:
        with termination_as_interrupt():
            status = command()
            sys.stdout.flush()
    except BrokenPipeError:
        # else Python complains when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return say_stopped(kept() if callable(kept) else kept)
    except UsageMistake as error:
        return _say(error, 2)
    except (UserMistake, *mistakes) as error:
        return _say(error, 1)
    except ModuleNotFoundError as error:
        if (extra := EXTRAS.get((error.name or "").partition(".")[0])) is None:
            raise
        return _say(f"{error.name} is not installed; pip install -e '.[{extra}]' brings it", 1)
    except OSError as error:
        return _say(_of_the_system(error), 1)
    return status


def _say(what: object, status: int) -> int:
    mistakes = str(what).splitlines() if isinstance(what, UserMistake) and what.several else [str(what)]
    for mistake in mistakes:
        print(" ".join(mistake.split()), file=sys.stderr)
    return status


def _of_the_system(error: OSError) -> object:
    if error.errno is None:  # of a library, in its own words
        return error
    if error.filename is None:
        # the output's, or that of a library which does not say what it wrote
        return write_error("the output" if error.errno not in NO_ROOM else "a file or the output", error)
    if error.errno in NO_ROOM:
        return write_error(str(error.filename), error)
    return f"{error.filename}: {error.strerror or error}"
