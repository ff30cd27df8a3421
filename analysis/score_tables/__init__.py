"""What `analysis/table.py` prints."""
