"""How far numbers moved, and which of many tests to believe."""
