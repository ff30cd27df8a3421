"""The page of error messages: each with its remedy, as the source has it, under the commands that can say it."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

FOLDERS = (
    "scenarios",
    "solvers",
    "scorers",
    "tasks",
    "analysis",
    "providers",
    "miniature",
    "training",
    "probes",
)

BEYOND = 4
"""Said by more commands than this, a message stands under the folder that it is from."""

REMEDY = re.compile(
    r"did you mean|there (?:is|are)\b|must\b|give\b|say\b|use\b|pass\b|install|pip |name\b|choose|write\b|remove|"
    r"lower|raise|run\b|ask\b|set\b|add\b|want|needs?\b|only\b|another|instead|again|first\b|take",
    re.IGNORECASE,
)
"""What a message that tells the way out has in it."""


class Message(NamedTuple):
    """One message of the source."""

    text: str
    """What varies stands as the name that the source has for it, in braces."""

    file: str


def page() -> str:
    """The page, in Markdown."""
    found = list(messages())
    saying = commands()
    groups: dict[str, set[str]] = defaultdict(set)
    for one in found:
        who = sorted(c for c, files in saying.items() if one.file in files)
        if 0 < len(who) <= BEYOND:
            for command in who:
                groups[f"`{command}`"].add(one.text)
        else:
            groups[f"Anything that uses `{one.file.split('/')[0]}/`"].add(one.text)
    parts = [
        "# Troubleshooting",
        "What a command refuses, it tells in one line: what, where, and the way out. These are the lines, made "
        f"from the source ({len({m.text for m in found})} of them); search this page for the words that you see. "
        "What stands in braces is what varies. A traceback is a fault of the suite: please report it.",
    ]
    for title in sorted(groups, key=lambda t: (t.startswith("Any"), t)):
        parts += [f"## {title}", "\n".join(f"* {_code(text)}" for text in sorted(groups[title]))]
    return "\n\n".join(parts) + "\n"


def messages() -> Iterator[Message]:
    """Every message of an error of ours that names a remedy."""
    kinds = _kinds()
    for path, tree in _trees().items():
        for node in ast.walk(tree):
            call = node.exc if isinstance(node, ast.Raise) else node
            if not isinstance(call, ast.Call) or not call.args:
                continue
            name = _name(call.func)
            if (
                name in kinds
                or name in ("error", "refuse")
                or (name.endswith("Error") and name[:-5] in kinds)
            ):
                text = _text(call.args[-1] if name == "error" else call.args[0])
                if text and REMEDY.search(text):
                    yield Message(text, path)


def commands() -> dict[str, set[str]]:
    """Command, or task or scorer that Inspect is given -> the files that it loads, at once or later."""
    trees = _trees()
    loads = {path: set(_imports(tree)) & set(trees) for path, tree in trees.items()}

    def reached(start: str) -> set[str]:
        seen, todo = {start}, [start]
        while todo:
            new = loads[todo.pop()] - seen
            seen |= new
            todo += new
        return seen

    starts = [
        path for path in trees
        if path.count("/") == 1 and ('__name__ == "__main__"' in (ROOT / path).read_text() or path.startswith("tasks/"))
    ]  # fmt: skip
    return {start: reached(start) for start in starts}


@cache
def _trees() -> dict[str, ast.Module]:
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
    }


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            place = node.module.replace(".", "/")
            yield f"{place}.py"
            yield from (f"{place}/{alias.name}.py" for alias in node.names)


@cache
def _kinds() -> set[str]:
    """Names of the classes of errors that are printed in one line."""
    kinds = {"UserMistake", "PrerequisiteError"}
    classes = [n for tree in _trees().values() for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    while new := {c.name for c in classes if {_name(b) for b in c.bases} & kinds} - kinds:
        kinds |= new
    return kinds


def _name(node: ast.AST) -> str:
    return str(getattr(node, "id", None) or getattr(node, "attr", None) or "")


def _text(node: ast.AST) -> str:
    """A string of the source, with expressions in braces; empty if it is made elsewhere."""
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return f"{{{_short(node.value)}}}"
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.IfExp):
        return _text(node.body)
    return ""


def _short(node: ast.AST) -> str:
    """The last name of an expression."""
    names = [_name(n) for n in ast.walk(node) if isinstance(n, ast.Name | ast.Attribute)]
    return next(
        (n for n in names if n and n not in ("str", "len", "sorted", "list", "join", "repr")), "value"
    )


def _code(text: str) -> str:
    line = " ".join(text.split())
    ticks = "``" if "`" in line else "`"
    space = " " if "`" in line else ""
    return f"{ticks}{space}{line}{space}{ticks}"
