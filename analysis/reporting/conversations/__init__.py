"""Conversations one by one: their words, their ratings, and the files that a page loads them from."""
