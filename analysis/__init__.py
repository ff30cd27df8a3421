"""Numbers from any logs: intervals, ranking, agreement, scales; imports `scenarios` alone."""
