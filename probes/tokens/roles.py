"""Whose message a token belongs to."""

ROLES = ("none", "system", "user", "assistant", "tool")
"""Codes of `Tokens.role`; `none`: a token that belongs to no message (BOS, a generation prompt)."""
