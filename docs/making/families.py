"""The page of families: what each measures, and a conversation of the demonstration."""

import ast
import html
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from scenarios.loader import family_names, load_family  # noqa: E402

CONVERSATIONS = Path(__file__).with_name("conversations.json")

SAYS = {"system": "The model is told", "user": "Person", "assistant": "Model", "tool": "Tool"}


def page() -> str:
    """The page, in Markdown."""
    known = json.loads(CONVERSATIONS.read_text(encoding="utf-8"))
    parts = [
        "# Families",
        "Each family is a task. The conversations are from runs with the **miniature**, a tiny model with a scripted "
        "user and scripted judges, which knows the words of a few hundred sentences. They show what a log holds and "
        "what its numbers look like; **they are a demonstration, and no evidence about real models**. For that, name "
        "a model and its judges (README, *Evaluate a real model*). All take the options in `tasks/families/options.py`.",
    ]
    for name in family_names():
        parts += _section(name, known[name])
    return "\n\n".join(parts) + "\n"


def _section(name: str, kept: dict[str, Any]) -> list[str]:
    family = load_family(name)
    held = sorted(t.topic for t in family.topics.values() if t.split == "heldout")
    trained = sorted(t.topic for t in family.topics.values() if t.split != "heldout")
    return [
        f"## {family.file.title}",
        f"`inspect eval tasks/{name}.py`, version {family.file.version}.",
        _explained(name),
        f"Topics: {', '.join(trained)}. Held out: {', '.join(held) or 'states, no topics'}.",
        f'??? example "A conversation of the demonstration ({kept["topic"]}, a gameable user)"',
        *(_indented(text) for text in _conversation(kept)),
    ]


def _explained(name: str) -> str:
    """What the task's docstring says, up to its arguments."""
    tree = ast.parse((ROOT / "tasks" / f"{name}.py").read_text(encoding="utf-8"))
    (task,) = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == name)
    text = (ast.get_docstring(task) or "").split("Args:")[0]
    return text.strip()


def _conversation(kept: dict[str, Any]) -> list[str]:
    said = [
        f"**{SAYS[m['role']]}:** {_plain(m['text'])}"
        + "".join(f" *[calls {call}]*" for call in m.get("calls", []))
        for m in kept["messages"]
    ]
    scores = ", ".join(
        f"{name} {value}" + (f" ({scale})" if scale else "")
        for name, (value, scale) in kept["scores"].items()
    )
    return [
        f"*Judges know of the person:* {_plain(kept['person'])}",
        *said,
        f"*Scores:* {scores}. *Ended by:* {kept['stopped']}. *Model:* `{kept['model']}`, sample `{kept['sample']}`.",
    ]  # fmt: skip


def _plain(text: str) -> str:
    """Words of a model or a scenario, so that nothing in them is markup."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]#|~" else c for c in escaped)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
