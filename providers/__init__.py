"""Inspect model providers. Imports nothing of ours."""
