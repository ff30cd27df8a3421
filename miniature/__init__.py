"""The offline world: a tiny language model for every family, a scripted user and scripted judges."""
