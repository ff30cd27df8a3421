"""Copies of a store elsewhere: any URL that fsspec knows, S3 services of all makers among them.

A shard goes over before its sidecar, so that a copy that was broken off can be read like a capture that was,
and goes on where it stopped. What is complete on the other side is never overwritten. Pooled features stay
where they are; they are computed again faster than they travel.
"""

import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from pydantic import ValidationError
from tqdm import tqdm

from probes.activations.capture_spec import CaptureSpec
from probes.activations.shards.locks import writing
from probes.activations.shards.shard import Sidecar
from probes.activations.shards.writing_shards import UNFINISHED, finish
from probes.activations.stored_sets import DatasetCard
from probes.activations.whole_files import (
    NO_ROOM,
    StoreError,
    cannot_write,
    digest,
    refuse_links,
    write_whole,
)

SPEC = re.compile(r"[0-9a-f]{16}/spec\.json")
SIDECAR = re.compile(r"[0-9a-f]{16}/shard-[\w-]+\.json")
DATASET = re.compile(r"datasets/\w[\w.-]*\.jsonl?")


class Copied(NamedTuple):
    """What a push or a pull did."""

    copied: int
    """Files."""

    bytes: int
    """Of the files copied."""

    there: int
    """Files that the other side had."""

    different: list[str]
    """Specs and files of data sets that the other side has with other contents; left as they are."""


class Remote(NamedTuple):
    """A folder of a file system."""

    files: AbstractFileSystem
    folder: str
    url: str

    def path(self, name: str) -> str:
        """Of a file named relative to the store."""
        return posixpath.join(self.folder, name)

    def read(self, name: str) -> bytes:
        """A small file."""
        data = self.files.cat_file(self.path(name))
        return data.encode() if isinstance(data, str) else data

    def sizes(self) -> dict[str, int]:
        """File -> bytes, named relative to the store; empty if there is nothing."""
        self.files.invalidate_cache()
        try:
            found: Any = self.files.find(self.folder, detail=True)
        except FileNotFoundError:
            return {}
        start = len(self.folder.rstrip("/")) + 1
        return {path[start:]: int(info["size"] or 0) for path, info in found.items()}


class _Tally:
    """Counts files, and shows the bytes copied in a terminal."""

    def __init__(self, what: str, total: int) -> None:
        self._bar = tqdm(total=total, desc=what, unit="B", unit_scale=True, disable=None)
        self._copied, self._bytes, self._there = 0, 0, 0
        self.different: list[str] = []

    def copied(self, size: int) -> None:
        self._copied += 1
        self._bytes += size
        self._bar.update(size)

    def there(self) -> None:
        self._there += 1

    def done(self) -> Copied:
        self._bar.close()
        return Copied(self._copied, self._bytes, self._there, self.different)


def connected(url: str, endpoint_url: str | None = None) -> Remote:
    """The folder behind a URL.

    Args:
        url: `s3://bucket/folder`, `hf://datasets/<user>/<name>`, `file:///...`; anything of fsspec.
        endpoint_url: Of an S3 service that is not Amazon's; AWS_ENDPOINT_URL if not given.

    Raises:
        StoreError: A URL with a password in it, or a protocol that is unknown or not installed.
    """
    endpoint = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if any("@" in urlsplit(part).netloc for part in (url, endpoint or "")):
        raise StoreError(
            "credentials in a URL end up in logs; put them into the environment "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, HF_TOKEN) or into fsspec's configuration"
        )
    protocol = urlsplit(url).scheme
    if not protocol:
        raise StoreError(f"{url} is no URL; a folder is file://{Path(url).resolve()}")
    options: dict[str, Any] = {}
    if protocol in ("s3", "s3a") and endpoint:
        # services other than Amazon's refuse the checksums that botocore adds; ours are in the sidecars
        checks = ("request_checksum_calculation", "response_checksum_validation")
        options = {"endpoint_url": endpoint, "config_kwargs": dict.fromkeys(checks, "when_required")}
    elif protocol in ("file", "local"):
        options = {"auto_mkdir": True}
    with _explained(url):
        files, folder = url_to_fs(url, **options)
        return Remote(files, folder, url)


def push(root: Path, url: str, endpoint_url: str | None = None) -> Copied:
    """Copy to the remote what it lacks. Arguments and errors as for `connected`.

    Raises:
        StoreError: The remote cannot be reached or written, or a shard here is damaged.
    """
    remote = connected(url, endpoint_url)
    _refuse_links_in(root)
    names = [path.relative_to(root).as_posix() for path in root.glob("*/*") if path.is_file()]
    sidecars = {name: _sidecar((root / name).read_bytes(), root / name) for name in _like(SIDECAR, names)}
    with _explained(url):
        sizes = remote.sizes()
        tally = _Tally("push", sum(s.bytes for name, s in sidecars.items() if name not in sizes))
        for name in _like(SPEC, names):
            _push_small(root, remote, name, sizes, tally)
        for name, sidecar in sidecars.items():
            _push_shard(root, remote, name, sidecar, sizes, tally)
        for name in _like(DATASET, names):
            _push_small(root, remote, name, sizes, tally)
        return tally.done()


def pull(root: Path, url: str, endpoint_url: str | None = None) -> Copied:
    """Copy from the remote what is not here; every shard is compared with its hash.

    Raises:
        StoreError: The remote cannot be reached or holds no store, or a shard there is damaged; disk full.
    """
    remote = connected(url, endpoint_url)
    _refuse_links_in(root)
    with _explained(url):
        sizes = remote.sizes()
        if not _like(SPEC, sizes):
            raise StoreError(f"{url} holds no store (no <key>/spec.json)")
        sidecars = _like(SIDECAR, sizes)
        wanted = [name for name in sidecars if not (root / name).exists()]
        tally = _Tally("pull", sum(sizes.get(_shard_of(name), 0) for name in wanted))
        for name in _like(SPEC, sizes):
            _pull_small(root, remote, name, tally)
        for name in sidecars:
            _pull_shard(root, remote, name, tally)
        for name in _like(DATASET, sizes):
            _pull_small(root, remote, name, tally)
        return tally.done()


def _refuse_links_in(root: Path) -> None:
    """The store's own folder may be a link; what lies in it may not."""
    for folder in root.glob("*"):
        refuse_links(folder)


def _push_shard(
    root: Path, remote: Remote, name: str, sidecar: Sidecar, sizes: dict[str, int], tally: _Tally
) -> None:
    """The shard and then its sidecar, each unless it is there in full."""
    shard = root / _shard_of(name)
    here = shard.stat().st_size if shard.exists() else 0
    if here != sidecar.bytes:
        raise StoreError(f"{shard}: damaged, {here} bytes instead of {sidecar.bytes}; `verify` tells more")
    for path in (shard, root / name):
        there, size = path.relative_to(root).as_posix(), path.stat().st_size
        if sizes.get(there) == size:
            tally.there()
        else:
            remote.files.put_file(str(path), remote.path(there))
            tally.copied(size)


def _pull_shard(root: Path, remote: Remote, name: str, tally: _Tally) -> None:
    if (root / name).exists():
        tally.there()
        tally.there()
        return
    folder = (root / name).parent
    text = remote.read(name)
    sidecar = _sidecar(text, f"{remote.url}: {name}")
    with writing(folder):
        part = folder / UNFINISHED / Path(_shard_of(name)).name
        part_sidecar = part.with_suffix(".json")
        part.parent.mkdir(exist_ok=True)
        try:
            remote.files.get_file(remote.path(_shard_of(name)), str(part))
            if part.stat().st_size != sidecar.bytes or digest(part) != sidecar.sha256:
                raise StoreError(f"{remote.url}: {_shard_of(name)} is damaged there; delete it and its .json")
            part_sidecar.write_bytes(text)
            finish(part, part_sidecar, folder)
        finally:
            part.unlink(missing_ok=True)
            part_sidecar.unlink(missing_ok=True)
    tally.copied(sidecar.bytes)
    tally.copied(len(text))


def _push_small(root: Path, remote: Remote, name: str, sizes: dict[str, int], tally: _Tally) -> None:
    data = (root / name).read_bytes()
    table_alone = DATASET.fullmatch(name) and name.endswith(".jsonl") and name[:-1] not in sizes
    if name not in sizes or table_alone:  # a push that was broken off: the card comes last
        remote.files.pipe_file(remote.path(name), data)
        tally.copied(len(data))
    else:
        _compare(name, data, remote.read(name), tally)


def _pull_small(root: Path, remote: Remote, name: str, tally: _Tally) -> None:
    data = remote.read(name)
    if DATASET.fullmatch(name) and name.endswith(".json"):
        _check_table(name, data, remote)
    if not (root / name).exists():
        write_whole(root / name, data)
        tally.copied(len(data))
    else:
        _compare(name, (root / name).read_bytes(), data, tally)


def _check_table(card_name: str, card: bytes, remote: Remote) -> None:
    """That a data set has as many lines there as its card says."""
    try:
        wanted = DatasetCard.model_validate_json(card).rows
    except ValidationError as error:
        raise StoreError(f"{remote.url}: {card_name}: {error.errors()[0]['msg']}") from error
    there = remote.read(f"{card_name}l").count(b"\n")
    if wanted is not None and there != wanted:
        raise StoreError(
            f"{remote.url}: {card_name}l has {there} of {wanted} rows; delete it there, push again"
        )


def _compare(name: str, here: bytes, there: bytes, tally: _Tally) -> None:
    if here == there or (SPEC.fullmatch(name) and _key(here) == _key(there)):
        tally.there()
    else:
        tally.different.append(name)


def _key(spec: bytes) -> str | None:
    """Specs of one key may name the model differently."""
    try:
        return CaptureSpec.model_validate_json(spec).key
    except ValidationError:
        return None


def _sidecar(text: bytes, where: object) -> Sidecar:
    try:
        return Sidecar.model_validate_json(text)
    except ValidationError as error:
        raise StoreError(f"{where}: no sidecar of a shard ({error.errors()[0]['msg']})") from error


def _like(pattern: re.Pattern[str], names: Iterable[str]) -> list[str]:
    """Sorted so that `x.jsonl` goes before `x.json`: a data set with a card is complete."""
    return sorted((n for n in names if pattern.fullmatch(n)), key=lambda n: (Path(n).stem, -len(n)))


def _shard_of(sidecar: str) -> str:
    return sidecar.removesuffix(".json") + ".safetensors"


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Errors of the libraries behind fsspec, as one that says where."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise cannot_write(error.filename or url, error) from error
        raise StoreError(f"{url}: {type(error).__name__}: {error}") from error
    except (*_errors_of_s3(), ImportError, ValueError) as error:
        raise StoreError(f"{url}: {type(error).__name__}: {error}") from error


def _errors_of_s3() -> tuple[type[Exception], ...]:
    """None without the library, which comes with s3fs."""
    try:
        from botocore.exceptions import BotoCoreError
    except ImportError:
        return ()
    return (BotoCoreError,)
