"""How figures of the suite look."""
