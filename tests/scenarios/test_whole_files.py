"""Files are whole or not there, whatever stops the writing."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scenarios.files.strict_json import JsonError, read_jsonl
from scenarios.files.whole import WriteError, whole_file, write_json, write_jsonl, write_text
from tests.support.places import ROOT

TEXT = "é\u2028\r\n"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read_back_and_nothing_else_is_there(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, TEXT)
    assert path.read_bytes() == TEXT.encode()
    rows = [{"text": TEXT}, {"text": "b"}]
    write_jsonl(path, rows)
    assert read_jsonl(path) == rows
    assert names(path.parent) == ["a.txt"]


def half(path: Path, stopped_by: BaseException | type[BaseException]) -> None:
    with whole_file(path) as unfinished:
        unfinished.write_text("half")
        raise stopped_by


@pytest.mark.parametrize(
    "stopped_by", [KeyboardInterrupt, ValueError, OSError(errno.ENOSPC, "No space left")]
)
def test_what_was_there_stays_if_the_writing_is_stopped(tmp_path, stopped_by):
    path = tmp_path / "a.txt"
    write_text(path, "before")
    with pytest.raises((KeyboardInterrupt, ValueError)):
        half(path, stopped_by)
    assert (names(tmp_path), path.read_text()) == (["a.txt"], "before")


def test_a_full_disk_is_one_line_that_says_what_to_do(tmp_path):
    with pytest.raises(WriteError, match=r"^/dev/full cannot be written: the disk is full .*make room"):
        write_text(Path("/dev/full"), "a")
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written: "):
        write_text(tmp_path / "file" / "a.txt", "a")
    assert issubclass(WriteError, OSError)


def test_a_device_stays_one():
    write_text(Path("/dev/null"), "a")
    assert Path("/dev/null").is_char_device()


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_a_living_one_writes_is_not(tmp_path):
    path = tmp_path / "a.txt"
    kills = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom scenarios.files.whole import whole_file\n"
        "with whole_file(Path(sys.argv[1]), suffix='.yaml') as file:\n"
        "    file.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", kills, str(path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    with whole_file(path) as mine:
        mine.write_text("mine")
        assert names(tmp_path) == [mine.name]
        write_text(path, "another's")
        assert mine.exists()
    assert (names(tmp_path), path.read_text()) == (["a.txt"], "mine")


def test_modes_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "a")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_nan_is_refused_and_a_damaged_line_is_named(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert names(tmp_path) == []
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n\n{"a": \xe9}\n')
    with pytest.raises(JsonError, match=r"a\.jsonl:3: not UTF-8"):
        read_jsonl(tmp_path / "a.jsonl")
