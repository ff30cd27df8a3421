"""What can be wrong with a chat template, or with what it is given."""


class ChatTemplateError(ValueError):
    """The chat template is missing, refuses what it is given, or writes what cannot be read back."""


class NotTextError(ValueError):
    """A message holds something that a chat template cannot be given as text."""
