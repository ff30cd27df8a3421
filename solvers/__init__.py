"""The conversation: the role-played user, states and transitions. Imports `scenarios` alone."""
