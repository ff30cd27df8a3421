"""The store of activations: one folder for each capture specification, and the data sets of rows."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from probes.activations.capture_spec import CaptureSpec
from probes.activations.mapped import Activations
from probes.activations.shards.locks import alone_in
from probes.activations.shards.writing_shards import CapturedRow, collect
from probes.activations.stored_sets import (
    Dataset,
    DatasetCard,
    DatasetRow,
    dataset_names,
    label_array,
    read_dataset,
    save_dataset,
)
from probes.activations.stored_spec import StoredSpec
from probes.activations.whole_files import StoreError, write_whole

__all__ = [
    "Activations",
    "CaptureSpec",
    "CapturedRow",
    "Dataset",
    "DatasetCard",
    "DatasetRow",
    "Store",
    "StoreError",
    "StoredSpec",
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

    def entry(self, spec: CaptureSpec) -> StoredSpec:
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
        return StoredSpec(folder, stored)

    def entries(self) -> list[StoredSpec]:
        """All entries, by key.

        Raises:
            StoreError: A spec cannot be read.
        """
        return [
            StoredSpec(path.parent, _read_spec(path.parent)) for path in sorted(self.root.glob(f"*/{SPEC}"))
        ]

    def keyed(self, key: str) -> StoredSpec:
        """The entry with this key.

        Raises:
            StoreError: There is none; names those that exist.
        """
        folder = self.root / key
        if not (folder / SPEC).is_file() or folder.parent != self.root:
            keys = ", ".join(p.parent.name for p in sorted(self.root.glob(f"*/{SPEC}"))) or "none"
            raise StoreError(f"{self.root} has no entry {key!r}; it has: {keys}")
        return StoredSpec(folder, _read_spec(folder))

    def delete(self, key: str, layers: Sequence[int] | None = None) -> None:
        """Remove an entry, or some of its layers.

        Raises:
            StoreError: No such entry or layer, another process is writing to it, or it holds a symbolic link.
        """
        entry = self.keyed(key)
        if layers is not None:
            entry.delete_layers(layers)
            return
        with alone_in(entry.folder):
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


def _read_spec(folder: Path) -> CaptureSpec:
    try:
        spec = CaptureSpec.model_validate_json((folder / SPEC).read_bytes())
    except (OSError, ValidationError) as error:
        raise StoreError(f"{folder / SPEC} cannot be read: {error}") from error
    if spec.key != folder.name:
        raise StoreError(f"{folder / SPEC} is not of this folder: its key is {spec.key}")
    return spec
