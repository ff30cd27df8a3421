"""Activations on disk, keyed by what they are of. List, verify, delete, push and pull:

    python probes/store.py list ROOT
    python probes/store.py verify ROOT [KEY]
    python probes/store.py delete ROOT KEY [--layers 4 8 | --damaged]
    python probes/store.py push ROOT s3://bucket/folder [--endpoint-url URL]
    python probes/store.py pull ROOT s3://bucket/folder [--endpoint-url URL]

Credentials for a remote come from the environment or from fsspec's own configuration, never from here.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from probes.capture_spec import CaptureSpec
from probes.entry import Entry
from probes.files import StoreError, write_whole
from probes.mapped import Activations
from probes.remote import pull, push
from probes.shards import CapturedRow, collect, writing
from probes.stored_sets import (
    Dataset,
    DatasetCard,
    DatasetRow,
    dataset_names,
    label_array,
    read_dataset,
    save_dataset,
)

__all__ = [
    "Activations",
    "CaptureSpec",
    "CapturedRow",
    "Dataset",
    "DatasetCard",
    "DatasetRow",
    "Entry",
    "Store",
    "StoreError",
    "open_dataset",
    "save_dataset",
]

SPEC = "spec.json"


class Store:
    """A folder of entries, one per capture spec.

    Args:
        root: Made when something is first written.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def entry(self, spec: CaptureSpec) -> Entry:
        """Creates or opens the entry of a spec; what killed writers left behind is removed.

        Raises:
            StoreError: The folder holds another spec, or cannot be written.
        """
        folder = self.root / spec.key
        if not (folder / SPEC).exists():
            write_whole(folder / SPEC, spec.model_dump_json(indent=1) + "\n")
        stored = _read_spec(folder)
        if differing := stored.differences(spec):
            raise StoreError(f"{folder / SPEC} is of another capture: {differing}; delete that folder")
        collect(folder)
        return Entry(folder, stored)

    def entries(self) -> list[Entry]:
        """All entries, by key.

        Raises:
            StoreError: A spec cannot be read.
        """
        return [Entry(path.parent, _read_spec(path.parent)) for path in sorted(self.root.glob(f"*/{SPEC}"))]

    def keyed(self, key: str) -> Entry:
        """The entry with this key.

        Raises:
            StoreError: There is none; names those that exist.
        """
        folder = self.root / key
        if not (folder / SPEC).is_file() or folder.parent != self.root:
            keys = ", ".join(p.parent.name for p in sorted(self.root.glob(f"*/{SPEC}"))) or "none"
            raise StoreError(f"{self.root} has no entry {key!r}; it has: {keys}")
        return Entry(folder, _read_spec(folder))

    def delete(self, key: str, layers: Sequence[int] | None = None) -> None:
        """Remove an entry, or some of its layers.

        Raises:
            StoreError: No such entry or layer, or another process is writing to it.
        """
        entry = self.keyed(key)
        if layers is not None:
            entry.delete_layers(layers)
            return
        with writing(entry.folder, alone=True) as alone:
            if not alone:
                raise StoreError(f"{entry.folder}: another process is writing to it just now")
            # without its spec a folder that could not be removed wholly is no entry any more
            (entry.folder / SPEC).unlink()
            shutil.rmtree(entry.folder)

    def verify(self, key: str | None = None) -> list[str]:
        """Everything that is wrong with an entry, or with all entries and data sets; reads every file."""
        if key is not None:
            return self.keyed(key).verify()
        found = [what for entry in self.entries() for what in entry.verify()]
        for name in dataset_names(self.root):
            try:
                rows, card = read_dataset(self.root, name)
                keys = [row.key for row in rows]
                if not self.keyed(card.spec).layers_of(keys):
                    found.append(f"data set {name}: no layer is stored for all of its {len(set(keys))} rows")
            except StoreError as error:
                found.append(f"data set {name}: {error}")
        return found


def open_dataset(root: Path | str, name: str, layers: Sequence[int] | None = None) -> Dataset:
    """A captured data set: activations, labels, groups, facts and ids in the same order.

    Args:
        root: Of the store.
        name: Of the data set.
        layers: All that every row has, if not given.

    Raises:
        StoreError: No such data set, or rows that are not stored.
    """
    rows, card = read_dataset(root, name)
    entry = Store(root).keyed(card.spec)
    keys = [row.key for row in rows]
    chosen = entry.layers_of(keys) if layers is None else layers
    if not chosen:
        raise StoreError(f"data set {name}: no layer is stored for all of its rows; capture them again")
    return Dataset(
        entry.open(keys, chosen),
        label_array(rows),
        [row.group or row.id for row in rows],
        [row.facts for row in rows],
        [row.id for row in rows],
        entry.spec,
        card,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status: 0 done, 1 something is wrong with the store or cannot be done."""
    options = _parser().parse_args(arguments)
    store = Store(options.root)
    try:
        if options.command != "pull" and not store.root.is_dir():
            raise StoreError(f"{store.root}: no such folder")
        return {"list": _list, "verify": _verify, "delete": _delete, "push": _copy, "pull": _copy}[
            options.command
        ](store, options)
    except StoreError as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True)
    parts = {
        name: commands.add_parser(name, help=told, description=told)
        for name, told in {
            "list": "entries with their layers, rows and sizes, and the data sets",
            "verify": "read every file, compare sizes and hashes",
            "delete": "remove an entry, some layers of it, or its damaged files",
            "push": "copy to a remote what it does not have; nothing there is overwritten",
            "pull": "copy from a remote what is not here; nothing here is overwritten",
        }.items()
    }
    for part in parts.values():
        part.add_argument("root", type=Path, metavar="ROOT", help="folder that capture wrote to")
    parts["verify"].add_argument("key", nargs="?", metavar="KEY", help="one entry; all without it")
    parts["delete"].add_argument("key", metavar="KEY", help="of the entry, as `list` shows it")
    what = parts["delete"].add_mutually_exclusive_group()
    what.add_argument("--layers", type=int, nargs="+", metavar="L", help="only these layers")
    what.add_argument("--damaged", action="store_true", help="only what `verify` objects to")
    for name in ("push", "pull"):
        parts[name].add_argument("url", metavar="URL", help="s3://bucket/folder, hf://..., file://...")
        parts[name].add_argument(
            "--endpoint-url", help="of an S3 service that is not Amazon's; AWS_ENDPOINT_URL by default"
        )
    return parser


def _list(store: Store, _: argparse.Namespace) -> int:
    for entry in store.entries():
        held, spec = entry.contents(), entry.spec
        layers = ", ".join(
            f"{number}" if count == held.rows else f"{number} ({count} rows)"
            for number, count in held.layers.items()
        )
        size = f"{held.rows} rows, {held.tokens} tokens, {held.shards} shards, {held.bytes / 1e9:.3f} GB"
        adapter = f" + adapter {spec.adapter[:12]}" if spec.adapter else ""
        print(f"{spec.key}  {spec.model} @ {spec.revision or 'unknown revision'}{adapter}")
        print(f"  {size}; layers: {layers or 'none'}")
        print(f"  {spec.point}, {spec.dtype}, tokens: {spec.tokens}, template: {spec.template}")
    for name in dataset_names(store.root):
        rows, card = read_dataset(store.root, name)
        left_out = f", left out: {card.excluded}" if card.excluded else ""
        print(f"data set {name}: {len(rows)} rows of {card.spec} from {card.source}{left_out}")
    return 0


def _verify(store: Store, options: argparse.Namespace) -> int:
    found = store.verify(options.key)
    for what in found:
        print(what)
    print(f"{len(found)} wrong" if found else "all files are what they should be")
    return 1 if found else 0


def _delete(store: Store, options: argparse.Namespace) -> int:
    if options.damaged:
        for what in store.keyed(options.key).delete_damaged():
            print(f"deleted: {what}")
    else:
        store.delete(options.key, options.layers)
    return 0


def _copy(store: Store, options: argparse.Namespace) -> int:
    done = (push if options.command == "push" else pull)(store.root, options.url, options.endpoint_url)
    print(f"{done.copied} files copied ({done.bytes / 1e9:.3f} GB), {done.there} were there already")
    for name in done.different:
        print(f"{name} is there with other contents; it was left as it is", file=sys.stderr)
    return 1 if done.different else 0


def _read_spec(folder: Path) -> CaptureSpec:
    try:
        spec = CaptureSpec.model_validate_json((folder / SPEC).read_bytes())
    except (OSError, ValidationError) as error:
        raise StoreError(f"{folder / SPEC} cannot be read: {error}") from error
    if spec.key != folder.name:
        raise StoreError(f"{folder / SPEC} is not of this folder: its key is {spec.key}")
    return spec


if __name__ == "__main__":
    sys.exit(main())
