"""Code of an earlier commit runs as that commit had it, never as today's tree has it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.earlier_commit import EarlierCommit, EarlierError

PROGRAM = """
def answer(load, request):
    print("words of a library")
    if request == "none":
        return load("scenarios.nowhere", "nowhere")
    if request == "wrong":
        raise KeyError("wrong")
    return [load("nowhere", "scenarios.schema").__file__, request]
"""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EarlierCommit]:
    program = tmp_path_factory.mktemp("program") / "program.py"
    program.write_text(PROGRAM)
    started = EarlierCommit.start("HEAD", program)
    if started is None:
        pytest.skip("there is no git history")
    with started:
        yield started


def test_the_commits_own_modules_answer(earlier: EarlierCommit):
    file, request = earlier.ask({"text": "a\nb ü"})
    assert Path(file).name == "schema.py"
    assert "earlier-commit-" in file
    assert request == {"text": "a\nb ü"}


def test_what_the_commit_lacks_or_raises_is_told_and_it_goes_on(earlier: EarlierCommit):
    with pytest.raises(
        EarlierError, match=r"ImportError: the commit has none of scenarios\.nowhere, nowhere"
    ):
        earlier.ask("none")
    with pytest.raises(EarlierError) as raised:
        earlier.ask("wrong")
    assert raised.value.kind == "KeyError"
    assert earlier.ask(1)[1] == 1


def test_a_commit_that_is_not_in_the_history_is_none(tmp_path: Path):
    assert EarlierCommit.start("no-such-commit", tmp_path / "program.py") is None


def test_a_program_that_ends_is_told(tmp_path: Path):
    program = tmp_path / "program.py"
    program.write_text("raise SystemExit(3)")
    started = EarlierCommit.start("HEAD", program)
    if started is None:
        pytest.skip("there is no git history")
    with started, pytest.raises(RuntimeError, match="ended with exit status 3"):
        started.ask(1)
