"""What is wrong with a command line or a file of settings, as against the files that they name."""

from scenarios.files.located_yaml import ScenarioError


class UsageMistake(ScenarioError):
    """An option or a setting that does not exist, is missing or cannot be used: exit status 2, not 1."""
