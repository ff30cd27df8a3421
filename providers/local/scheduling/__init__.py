"""Who goes through a model, and when: one thread for each copy of the weights."""
