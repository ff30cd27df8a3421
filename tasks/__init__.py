"""One thin file per family: dataset, solver, scorers."""
