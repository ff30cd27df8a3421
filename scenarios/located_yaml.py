"""Where it was."""

from scenarios.files.located_yaml import *  # noqa: F403
