"""How commands end: a user's mistake is one line, and whoever stops reading the output is not told off."""

import os
import sys
from collections.abc import Callable

from scenarios.files.whole import write_error
from scenarios.mistakes import UserMistake


def exit_status(command: Callable[[], int]) -> int:
    """Run a command and give its exit status.

    A mistake of the user is printed on stderr, with status 1, and so is an output that cannot be written (a
    full disk). If nobody reads the output any more (`| head`), the command ends quietly.

    Args:
        command: Prints to stdout; gives the status if nothing stops it.
    """
    try:
        status = command()
        sys.stdout.flush()
    except BrokenPipeError:
        # else Python complains when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UserMistake as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is not None:
            raise
        print(write_error("the output", error), file=sys.stderr)
        return 1
    return status
