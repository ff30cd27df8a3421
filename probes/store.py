"""Activations on disk, keyed by what they are of. List, verify, delete, push and pull:

    python probes/store.py list ROOT
    python probes/store.py verify ROOT [KEY]
    python probes/store.py delete ROOT KEY [--layers 4 8 | --damaged]
    python probes/store.py push ROOT s3://bucket/folder [--endpoint-url URL]
    python probes/store.py pull ROOT s3://bucket/folder [--endpoint-url URL]

Credentials for a remote come from the environment or from fsspec's own configuration, never from here.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from probes.activations.whole_files import StoreError
from scenarios.commands.exits import exit_status
from scenarios.commands.parsers import CommandParser

if TYPE_CHECKING:
    from probes.activations.store import Store


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`; 1 if `verify` found something."""
    return exit_status(
        lambda: _run(_parser().parse_args(arguments)),
        kept="what was copied is whole; the same command goes on",
        mistakes=(StoreError,),
    )


def _run(options: argparse.Namespace) -> int:
    from probes.activations.store import Store  # with torch, which --help and mistakes need not wait for

    store = Store(_local(options.root))
    if options.command != "pull" and not store.root.is_dir():
        raise StoreError(f"{store.root}: no such folder; name the one that capture wrote to")
    run = {"list": _list, "verify": _verify, "delete": _delete, "push": _copy, "pull": _copy}
    return run[options.command](store, options)


def _local(root: str) -> Path:
    """The folder that is meant, which may be told as a `file://` address. Raises StoreError."""
    path = root.removeprefix("file://")
    if "://" in path:
        raise StoreError(
            f"{root}: no folder of this machine; pull it into one first: store.py pull ROOT {root}"
        )
    return Path(path)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(description=__doc__)
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
        part.add_argument("root", metavar="ROOT", help="folder that capture wrote to")
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


def _list(store: "Store", _: argparse.Namespace) -> int:
    from probes.activations.stored_sets import dataset_names, read_dataset

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


def _verify(store: "Store", options: argparse.Namespace) -> int:
    found = store.verify(options.key)
    for what in found:
        print(what)
    print(f"{len(found)} wrong" if found else "all files are what they should be")
    return 1 if found else 0


def _delete(store: "Store", options: argparse.Namespace) -> int:
    if options.damaged:
        for what in store.keyed(options.key).delete_damaged():
            print(f"deleted: {what}")
    else:
        store.delete(options.key, options.layers)
    return 0


def _copy(store: "Store", options: argparse.Namespace) -> int:
    from probes.activations.remote import pull, push

    done = (push if options.command == "push" else pull)(store.root, options.url, options.endpoint_url)
    print(f"{done.copied} files copied ({done.bytes / 1e9:.3f} GB), {done.there} were there already")
    for name in done.different:
        print(f"{name} is there with other contents; it was left as it is", file=sys.stderr)
    return 1 if done.different else 0


if __name__ == "__main__":
    sys.exit(main())
