"""What stops a run."""

from scenarios.mistakes import UserMistake


class RunError(UserMistake):
    """The run cannot go on. The message says what is wrong and what to do."""
