"""The one reader of Inspect logs: which there are, what is in them, which conversation is used from where."""
