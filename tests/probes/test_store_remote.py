"""Push and pull of a store: to a folder, in memory, and to a real S3 server in this process."""

import shutil
import sys

import fsspec
import pytest
import torch

from probes.activations.remote import connected, pull, push
from probes.activations.store import DatasetCard, DatasetRow, Store, StoreError, open_dataset, save_dataset
from probes.store import main
from tests.support.stored_rows import SPEC, row, spec


@pytest.fixture(scope="module")
def s3_server():
    server = pytest.importorskip("moto.server", reason="the S3 server of moto is not installed")
    pytest.importorskip("s3fs")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """URL of an empty bucket; credentials and the endpoint are in the environment."""
    import boto3
    import s3fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3", endpoint_url=s3_server)
    client.create_bucket(Bucket="activations")
    yield "s3://activations/a/folder"
    for item in client.list_objects_v2(Bucket="activations").get("Contents", []):
        client.delete_object(Bucket="activations", Key=item["Key"])
    client.delete_bucket(Bucket="activations")


@pytest.fixture(params=["s3", "file", "memory"])
def url(request, tmp_path):
    if request.param == "s3":
        yield request.getfixturevalue("s3")
    elif request.param == "file":
        yield f"file://{tmp_path}/remote/a folder"
    else:
        yield "memory://remote/folder"
        fsspec.filesystem("memory").store.clear()


@pytest.fixture
def store(tmp_path):
    """Two entries, three shards, a data set, pooled features and something unfinished."""
    store = Store(tmp_path / "store")
    entry = store.entry(SPEC)
    entry.write([row(f"r{i}", i + 1, (4, 8), seed=i) for i in range(3)])
    entry.write([row("r3", 2, (4, 8), seed=3)])
    entry.pooled("mean", ["r0"], 4)
    store.entry(spec(point="normed")).write([row("r0", seed=9)])
    (entry.folder / "shard-0-0.safetensors").write_bytes(b"unfinished")
    rows = [DatasetRow(id=f"id{i}", key=f"r{i}", label=i % 2, n_tokens=i + 1) for i in range(4)]
    save_dataset(store.root, "train", rows, DatasetCard(spec=SPEC.key, source="x.jsonl"))
    return store


def contents(root):
    """What travels: everything but locks, pooled features and what is unfinished."""
    files = [p for p in root.rglob("*") if p.is_file() and p.name != ".lock" and p.parent.name != "pooled"]
    return {
        p.relative_to(root).as_posix(): p.read_bytes() for p in files if p.name != "shard-0-0.safetensors"
    }


def there(url):
    remote = connected(url)
    return {name: remote.read(name) for name in remote.sizes()}


def test_a_round_trip_changes_nothing(store, url, tmp_path):
    copied = push(store.root, url)
    assert (copied.copied, copied.there, copied.different) == (10, 0, [])
    assert copied.bytes == sum(len(data) for data in contents(store.root).values())
    assert there(url) == contents(store.root)
    pulled = pull(tmp_path / "back", url)
    assert pulled == copied
    assert contents(tmp_path / "back") == contents(store.root)
    assert not Store(tmp_path / "back").verify()
    one, other = open_dataset(store.root, "train"), open_dataset(tmp_path / "back", "train")
    for layer in (4, 8):
        values = [next(d.activations.layer(layer).blocks()).values for d in (one, other)]
        assert torch.equal(*values)
    again = push(store.root, url), pull(tmp_path / "back", url)
    assert [(c.copied, c.bytes, c.there) for c in again] == [(0, 0, 10), (0, 0, 10)]


def test_only_what_is_new_travels(store, url, tmp_path):
    push(store.root, url)
    pull(tmp_path / "back", url)
    store.keyed(SPEC.key).write([row("r9", seed=9)])
    assert (push(store.root, url).copied, pull(tmp_path / "back", url).copied) == (2, 2)
    assert not Store(tmp_path / "back").keyed(SPEC.key).missing(["r9"], [4])


def test_two_captures_of_one_spec_meet_at_the_remote(store, url, tmp_path):
    other = Store(tmp_path / "other")
    other.entry(spec(model="/the/same/elsewhere")).write([row("r7", seed=7)])
    push(store.root, url)
    assert push(other.root, url).different == []
    pull(other.root, url)
    assert not other.keyed(SPEC.key).missing(["r0", "r3", "r7"], [4])


def test_nothing_is_overwritten(store, url, tmp_path, capsys):
    push(store.root, url)
    before = there(url)
    other = Store(tmp_path / "other")
    rows = [DatasetRow(id="another", key="r0", n_tokens=1)]
    save_dataset(other.root, "train", rows, DatasetCard(spec=SPEC.key, source="y.jsonl"))
    mine = contents(other.root)
    assert sorted(push(other.root, url).different) == ["datasets/train.json", "datasets/train.jsonl"]
    assert there(url) == before
    assert main(["pull", str(other.root), url]) == 1
    assert "datasets/train.jsonl is there with other contents" in capsys.readouterr().err
    assert {name: contents(other.root)[name] for name in mine} == mine


def test_a_push_that_was_broken_off_goes_on(store, url, monkeypatch):
    sent = []
    files = connected(url).files
    put = files.put_file

    def breaks(here, path):
        if len(sent) == 3:
            raise ConnectionError("the line is down")
        sent.append(path)
        return put(here, path)

    with monkeypatch.context() as patched:
        patched.setattr(files, "put_file", breaks)
        with pytest.raises(StoreError, match="ConnectionError: the line is down"):
            push(store.root, url)
    half = there(url)
    shards = {n.removesuffix(".safetensors") for n in half if n.endswith(".safetensors")}
    sidecars = {n.removesuffix(".json") for n in half if "/shard-" in n and n.endswith(".json")}
    assert (len(shards), len(sidecars)) == (2, 1)
    assert sidecars < shards
    assert not any(name.startswith("datasets/") for name in half)
    done = push(store.root, url)
    assert done.copied + done.there == 10
    assert done.there == 5
    assert there(url) == contents(store.root)


def test_a_shard_that_arrived_cut_off_is_sent_again(store, url):
    push(store.root, url)
    remote = connected(url)
    name = next(n for n in sorted(remote.sizes()) if n.endswith(".safetensors"))
    whole = remote.read(name)
    remote.files.pipe_file(remote.path(name), whole[:-7])
    assert push(store.root, url).copied == 1
    assert remote.read(name) == whole


def test_a_shard_that_is_damaged_there_is_not_taken(store, url, tmp_path):
    push(store.root, url)
    remote = connected(url)
    name = next(n for n in sorted(remote.sizes()) if n.endswith(".safetensors"))
    whole = remote.read(name)
    remote.files.pipe_file(remote.path(name), whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StoreError, match=f"{name} is damaged there"):
        pull(tmp_path / "back", url)
    back = tmp_path / "back"
    assert not (back / name).exists()
    assert not list(back.glob("*/.unfinished/*"))
    remote.files.pipe_file(remote.path(name), whole)
    pull(back, url)
    assert contents(back) == contents(store.root)


def test_a_shard_that_is_damaged_here_is_not_sent(store, url):
    path = min(store.keyed(SPEC.key).folder.glob("shard-1*.safetensors"))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(StoreError, match=f"{path.name}: damaged, .* bytes instead of"):
        push(store.root, url)


def test_the_command_takes_the_endpoint_as_an_option(store, s3, s3_server, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert main(["push", str(store.root), s3, "--endpoint-url", s3_server]) == 0
    assert "10 files copied" in capsys.readouterr().out
    assert main(["pull", str(tmp_path / "back"), s3, "--endpoint-url", s3_server]) == 0
    assert main(["verify", str(tmp_path / "back")]) == 0
    shutil.rmtree(tmp_path / "back")


def test_remotes_that_cannot_be_used_are_clear_errors(store, s3, tmp_path, capsys):
    root = str(store.root)
    assert main(["pull", root, "s3://activations/nothing-here"]) == 1
    assert "s3://activations/nothing-here holds no store" in capsys.readouterr().err
    assert main(["push", root, "s3://no-such-bucket/x"]) == 1
    assert "s3://no-such-bucket/x: FileNotFoundError" in capsys.readouterr().err
    assert main(["push", root, "nonsense://x"]) == 1
    assert "nonsense" in capsys.readouterr().err
    assert main(["push", root, str(tmp_path / "copy")]) == 1
    assert f"is no URL; a folder is file://{tmp_path}/copy" in capsys.readouterr().err


def test_without_the_library_of_s3_other_remotes_work(store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore", None)
    monkeypatch.setitem(sys.modules, "botocore.exceptions", None)
    url = (tmp_path / "there").as_uri()
    assert push(store.root, url).copied
    with pytest.raises(StoreError, match="holds no store"):
        pull(tmp_path / "here", (tmp_path / "nowhere").as_uri())


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [("s3://key:s3cret@bucket/x", None), ("s3://bucket/x", "http://key:s3cret@host:1")],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(store, url, endpoint):
    with pytest.raises(StoreError) as error:
        push(store.root, url, endpoint)
    assert "environment" in str(error.value)
    assert "s3cret" not in str(error.value)
