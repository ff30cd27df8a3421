"""Rows that go through a model together, and which of their prompts are read at once."""
