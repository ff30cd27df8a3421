"""Chat templates as model makers wrote them, out of pinned pip packages.

They are downloaded by pip and read as text: nothing is installed, imported or kept in the repository.
"""

import ast
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import files, version
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_cache_dir

CACHE = "INSPECT_INFLUENCE_TEMPLATES"
"""Environment variable: folder to keep the downloads in, by default in the user's cache."""


class Package(NamedTuple):
    """Where templates lie."""

    name: str
    version: str
    folder: str
    """Inside the archive, without the first folder of a source distribution."""

    source: bool = False
    """Whether only the source distribution has them."""


PACKAGES = (
    Package("llama-cpp-python", "0.3.36", "vendor/llama.cpp/models/templates", source=True),
    Package("axolotl", "0.19.0", "axolotl/utils/chat_templates/templates"),
    Package("unsloth", "2026.10.9", "unsloth/chat_templates.py"),
)


class NoNetwork(RuntimeError):
    """A package could not be downloaded."""


def templates() -> dict[str, str]:
    """Every template: `package/name` -> its text. Equal texts are listed under each of their names.

    Raises:
        NoNetwork: A package is neither in the cache nor to be had.
    """
    found = {f"trl/{path.stem}": path.read_text(encoding="utf-8") for path in _installed()}
    for package in PACKAGES:
        for path, text in _members(_archive(package), package):
            if path.endswith(".py"):
                found |= {f"{package.name}/{name}": written for name, written in _strings(text)}
            else:
                found[f"{package.name}/{Path(path).stem}"] = text
    return found


def pinned() -> list[str]:
    """Packages with the versions that are read."""
    return [f"trl {version('trl')}", *(f"{p.name} {p.version}" for p in PACKAGES)]


def _installed() -> list[Path]:
    """TRL's own are read where they are installed, without those that it patches for training."""
    here = [Path(str(f.locate())) for f in files("trl") or [] if f.suffix == ".jinja"]
    return sorted(p for p in here if p.parent.name == "chat_templates" and not p.stem.endswith("_training"))


def _archive(package: Package) -> Path:
    folder = Path(os.environ.get(CACHE) or user_cache_dir("inspect-influence")) / "chat-templates"
    stem = f"{package.name.replace('-', '_')}-{package.version}"
    if there := sorted(folder.glob(f"{stem}*")):
        return there[0]
    folder.mkdir(parents=True, exist_ok=True)
    form = ["--no-binary", package.name] if package.source else ["--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    wanted = f"{package.name}=={package.version}"
    done = subprocess.run([*command, *form, wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoNetwork(f"pip cannot download {wanted}: {done.stderr.strip()[-300:]}")
    return sorted(folder.glob(f"{stem}*"))[0]


def _members(archive: Path, package: Package) -> Iterator[tuple[str, str]]:
    """Files of the package's folder, by path inside the archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as held:
            for name in sorted(held.namelist()):
                if _wanted(name, package.folder):
                    yield name, held.read(name).decode()
        return
    with tarfile.open(archive) as held:
        for member in sorted(held.getmembers(), key=lambda m: m.name):
            inside = member.name.partition("/")[2]
            if _wanted(inside, package.folder) and (read := held.extractfile(member)):
                yield inside, read.read().decode()


def _wanted(name: str, folder: str) -> bool:
    return name == folder or (name.startswith(f"{folder}/") and name.endswith(".jinja"))


def _strings(code: str) -> Iterator[tuple[str, str]]:
    """Templates that stand as strings in a module: `CHAT_TEMPLATES["name"] = (template, ...)`."""
    known: dict[str, str] = {}
    for node in ast.parse(code).body:
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            continue
        target = node.targets[0]
        if isinstance(target, ast.Name) and (text := _string(node.value, known)) is not None:
            known[target.id] = text
        elif (
            isinstance(target, ast.Subscript)
            and isinstance(node.value, ast.Tuple)
            and _is_entry(target)
            and (text := _string(node.value.elts[0], known)) is not None
        ):
            yield ast.literal_eval(target.slice), text


def _is_entry(target: ast.Subscript) -> bool:
    return (
        isinstance(target.value, ast.Name)
        and target.value.id == "CHAT_TEMPLATES"
        and isinstance(target.slice, ast.Constant)
    )


def _string(node: ast.expr, known: dict[str, str]) -> str | None:
    """Value of a string, of a name of one, or of several joined by `+`."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _string(node.left, known), _string(node.right, known)
        return None if left is None or right is None else left + right
    return None
