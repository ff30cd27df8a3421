"""A run of the generator that was stopped anywhere goes on, and nothing is lost or doubled."""

import subprocess
import sys
from functools import partial

import pytest

import scenarios.generate
from scenarios.files.located_yaml import ScenarioError
from scenarios.generate import generate, main
from scenarios.generation.files import read_states
from tests.support.places import ROOT
from tests.support.state_writer import good, writer_settings
from tests.support.told import asked, told


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def settings(tmp_path):
    return partial(writer_settings, tmp_path / "states")


class TestInterruptions:
    def fails_at(self, call):
        calls = iter(range(1000))

        def answer(prompt):
            if next(calls) == call:
                raise RuntimeError("the line is dead")
            return good(prompt)

        return told(answer)

    def unbroken(self, settings, tmp_path):
        generate(settings(n=12, out=tmp_path / "unbroken.jsonl"), told(good))
        return (tmp_path / "unbroken.jsonl").read_text()

    def test_a_failed_call_names_the_file_and_the_same_command_goes_on(self, settings, tmp_path, monkeypatch):
        out = tmp_path / "s.jsonl"
        broken = settings(n=12, out=out, max_connections=1)
        with pytest.raises(
            ScenarioError, match=r"the line is dead\. \d answers are kept in .*s\.jsonl\.partial"
        ):
            generate(broken, self.fails_at(2))
        assert not out.exists()
        kept = len((tmp_path / "s.jsonl.partial.jsonl").read_text().splitlines()) - 1
        assert kept >= 2
        with (tmp_path / "s.jsonl.partial.jsonl").open("a") as file:
            file.write('{"call": "smoking/game')  # as a kill leaves it
        monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path / "another"))
        model = told(good)
        generate(broken, model)
        assert len(asked(model)) == 4 - kept
        assert out.read_text() == self.unbroken(settings, tmp_path)

    def test_a_run_that_is_killed_goes_on(self, settings, tmp_path):
        out = tmp_path / "s.jsonl"
        code = (
            "import os\nfrom scenarios.generate import GenerateSettings, generate\nfrom tests.support.state_writer import good\n"
            "from tests.support.told import told\ncalls = iter(range(99))\n"
            "def answer(prompt):\n    if next(calls) == 2: os._exit(9)\n    return good(prompt)\n"
            f"generate(GenerateSettings.model_validate({settings(n=12, out=out, max_connections=1).model_dump(mode='json')}), told(answer))"
        )
        assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 9
        assert [p.name for p in tmp_path.glob("s.*")] == ["s.jsonl.partial.jsonl"]
        generate(settings(n=12, out=out), told(good))
        assert out.read_text() == self.unbroken(settings, tmp_path)

    @pytest.mark.parametrize("name", ["states", "states.yaml", "states.jsonl"])
    def test_a_run_stopped_after_writing_doubles_nothing(self, settings, name, tmp_path, monkeypatch):
        out = tmp_path / name
        generate(settings(n=2, out=out), told(good))
        with monkeypatch.context() as patch:
            patch.setattr(scenarios.generate, "write_card", lambda *_: exec("raise KeyboardInterrupt"))
            with pytest.raises(KeyboardInterrupt):
                generate(settings(n=3, out=out), told(good))
        stopped = read_states(out)
        model = told(good)
        generate(settings(n=3, out=out), model)
        assert read_states(out) == stopped
        assert len(stopped) == 5
        assert not asked(model)

    def test_other_settings_are_refused_while_a_run_is_unfinished(self, settings):
        with pytest.raises(ScenarioError):
            generate(settings(max_connections=1), self.fails_at(1))
        with pytest.raises(ScenarioError, match="started with n=6, now 7"):
            generate(settings(n=7), told(good))

    def test_the_command_says_how_to_go_on(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(scenarios.generate, "generate", lambda _: exec("raise KeyboardInterrupt"))
        assert main(f"--family therapy --topic smoking --n 2 --out {tmp_path}/s.yaml".split()) == 130
        assert "s.yaml.partial.jsonl: the same command goes on" in capsys.readouterr().err
