"""The files that the conversation browser of a report loads: scripts, as pages on a disk may load no other.

conversations/<log>-<part>.js     the words of some conversations, loaded when one of them is opened
conversations/<log>-list.js       a line for each conversation of a log, loaded when the log is chosen
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = "conversations"
PART = 50
"""Conversations in one file."""


class BrowserFiles:
    """Writes the words of a log's conversations, some to a file.

    Args:
        folder: Of the report, which nobody reads yet; has a folder `conversations`.
        number: Of the log.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._folder, self._number = folder, number
        self._held: list[str] = []
        self._added = 0

    def add(self, conversation: dict[str, Any]) -> int:
        """Take a conversation; its place in the log, from 0."""
        self._held.append(as_script_value(conversation))
        self._added += 1
        if len(self._held) == PART:
            self._write()
        return self._added - 1

    def close(self) -> None:
        """Write what is left."""
        if self._held:
            self._write()

    def _write(self) -> None:
        part = (self._added - 1) // PART
        lines = ",\n".join(self._held)
        name = f"{self._number}-{part}.js"
        text = f'loaded("{self._number}-{part}", [\n{lines}\n]);\n'
        (self._folder / FOLDER / name).write_text(text, encoding="utf-8")
        self._held.clear()


def write_list(folder: Path, number: int, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write the lines of a log's conversations.

    Args:
        folder: Of the report.
        number: Of the log.
        names: Of the scores, in the order in which each row has them.
        rows: What the browser shows and filters by.
    """
    lines = ",\n".join(map(as_script_value, rows))
    told = f'{{"names":{as_script_value(list(names))},"rows":[\n{lines}\n]}}'
    (folder / FOLDER / f"{number}-list.js").write_text(
        f'loaded("{number}-list", {told});\n', encoding="utf-8"
    )


def as_script_value(value: Any) -> str:
    """JSON that is the same value as JavaScript, and that no reader of HTML takes for a tag."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # U+2028 and U+2029 end lines in older JavaScript; half a character cannot be written
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
