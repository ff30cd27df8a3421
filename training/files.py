"""Reading and writing of files, from where it lives."""

from scenarios.files.strict_json import read_jsonl
from scenarios.files.whole import write_json, write_jsonl, write_text

__all__ = ["read_jsonl", "write_json", "write_jsonl", "write_text"]
