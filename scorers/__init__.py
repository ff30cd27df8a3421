"""The judges and their metrics. Imports `scenarios` alone."""
