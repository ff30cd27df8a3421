"""The offline world: a tiny therapist language model, a scripted user and scripted judges."""
