"""The formats of the earlier systems: their environments, and the conversations that they stored."""
