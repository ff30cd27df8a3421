"""What `analysis/report.py` makes of logs: numbers, pages, files."""
