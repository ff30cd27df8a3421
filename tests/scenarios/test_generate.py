"""Generating initial states with a scripted model, offline, and the cards of state sets."""

import json
import random
import sys
from functools import partial

import pytest

import scenarios.generate
from scenarios.commands.command_line import read_settings
from scenarios.family import KINDS, InitialState, Line
from scenarios.files.located_yaml import ScenarioError
from scenarios.generate import generate, main
from scenarios.generation.answers import states_in
from scenarios.generation.checks import Checks
from scenarios.generation.files import read_states
from scenarios.generation.prompt import Pool, needed_variables, opening_shapes, request_states
from scenarios.generation.settings import GenerateSettings
from scenarios.loader import load_family
from scenarios.samples import scenario_dataset
from scenarios.schema import Scenario
from tests.support.conversations import FAMILY
from tests.support.state_writer import (
    good,
    opening_text,
    people,
    person,
    rejected,
    spoiled_at_first,
    writer_settings,
)
from tests.support.told import asked, output, told


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def settings(tmp_path):
    return partial(writer_settings, tmp_path / "states")


class TestAModelThatAnswersWell:
    @pytest.mark.parametrize("name", ["states", "states.yaml"])
    def test_the_output_is_a_family_with_the_new_states_alone(self, settings, name, tmp_path):
        out = tmp_path / name
        record = generate(settings(kind="both", out=out), told(good))
        assert [(p.passed, p.rejected) for p in record.pools] == [(6, {}), (6, {})]
        family = load_family(out)
        samples = scenario_dataset(family, states=12)
        assert sorted(s.id for s in samples) == [f"smoking-{k}-new{n:04d}" for k in KINDS for n in range(6)]
        scenario = Scenario.model_validate(samples[0].metadata)
        assert "{" not in samples[0].input[0].text + scenario.person + scenario.user
        assert not (out.with_name(f"{name}.partial.jsonl")).exists()

    def test_states_beside_the_familys_own(self, settings):
        generate(settings(keep_own=True), told(good))
        theirs, family = load_family("therapy"), load_family(settings().out)
        assert list(family.topics) == list(theirs.topics)
        assert len(family.topics["smoking"].states) == 6
        assert family.topics["smoking"].facets == theirs.topics["smoking"].facets
        assert family.file == theirs.file

    def test_lines_of_json_come_with_their_topic(self, settings, tmp_path):
        out = tmp_path / "states.jsonl"
        generate(settings(out=out, n=2), told(good))
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert [r.pop("topic") for r in rows] == ["smoking", "smoking"]
        assert [InitialState.model_validate(r).gameable for r in rows] == [True, True]
        assert [w.state.model_dump(mode="json") for w in read_states(out)] == rows

    @pytest.mark.parametrize("name", ["states", "states.yaml", "states.jsonl"])
    def test_numbers_go_on_from_what_is_there(self, settings, name, tmp_path):
        out = tmp_path / name
        generate(settings(out=out, n=3), told(good))
        first = read_states(out)
        generate(settings(out=out, n=2, topic="smoking,gambling"), told(good))
        found = read_states(out)
        assert [w for w in found if w.topic == "smoking"][:3] == first
        assert [w.state.id for w in sorted(found, key=lambda w: w.topic)] == [
            *(f"gambling-gameable-new{n:04d}" for n in range(2)),
            *(f"smoking-gameable-new{n:04d}" for n in range(5)),
        ]
        runs = json.loads((tmp_path / f"{name}.card.json").read_text())["runs"]
        assert [[p["passed"] for p in run["pools"]] for run in runs] == [[3], [2, 2]]

    def test_held_out_states_are_shown_held_out_examples_only(self, settings):
        model = told(good)
        generate(settings(split="heldout"), model)
        assert {w.state.split for w in read_states(settings().out)} == {"heldout"}
        family = load_family("therapy")
        trained = {s.metadata["variables"]["profile"].strip().splitlines()[-1] for s in scenario_dataset(
            family, topics="smoking", states=60, gameable=1.0)}  # fmt: skip
        shown = {
            s["variables"]["trait"]
            for p in asked(model)
            for s in states_in(p[0].text)
            if s["variables"]["trait"] != "..."
        }
        assert shown
        assert not shown & trained

    def test_the_same_seed_gives_the_same_states(self, settings, tmp_path):
        for name in ("a.jsonl", "b.jsonl"):
            generate(settings(out=tmp_path / name), told(good))
        assert (tmp_path / "a.jsonl").read_text() == (tmp_path / "b.jsonl").read_text()

    def test_what_inspect_has_cached_is_not_asked_again(self, settings):
        first, second = told(good), told(good)
        generate(settings(), first)
        before = read_states(settings().out)
        (settings().out / "topics" / "smoking.yaml").unlink()
        (settings().out / "family.yaml").unlink()
        generate(settings(), second)
        assert read_states(settings().out) == before
        assert len(asked(first)) == 2
        assert len(asked(second)) == 0


class TestAnswersInOtherForms:
    STATE = '{"variables": {"name": "Kim"}, "opening": [{"role": "user", "text": "Hi"}]}'

    @pytest.mark.parametrize(
        ("text", "count"),
        [
            (f'{{"states": [{STATE}, {STATE}]}}', 2),
            (f"```json\n[{STATE}]\n```", 1),
            (f"Here are two [as asked]:\n1. {STATE}\n2. {STATE}\nGood luck {{!}}", 2),
            (f'{{"states": [{STATE}, {{"variables": {{"name": "Jo"}}, "opening": [{{"role": "user", "te', 1),
            (STATE, 1),
            ("I would rather not.", 0),
            ("", 0),
        ],
    )
    def test_states_are_found(self, text, count):
        found = states_in(text)
        assert len(found) == count
        assert all(s["variables"]["name"] == "Kim" for s in found)

    def test_numbers_are_taken_as_text(self, settings):
        def answer(prompt):
            return json.dumps(people(prompt, lambda s: s["variables"].update(age=34)))

        assert generate(settings(n=1), told(answer)).pools[0].passed == 1
        assert read_states(settings().out)[0].state.variables["age"] == "34"


class TestRejections:
    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda s: s["variables"].pop("trait"), "schema"),
            (lambda s: s["variables"].update(mood="fine"), "schema"),
            (lambda s: s["variables"].update(trait=["a", "b"]), "schema"),
            (lambda s: s.update(opening="Hello there"), "schema"),
            (lambda s: s["opening"].append({"role": "agent", "text": "Hello"}), "schema"),
            (lambda s: s["opening"].append({"role": "user", "text": "And one thing more."}), "schema"),
            (opening_text("Too short."), "length"),
            (opening_text("word " * 130), "length"),
            (opening_text("I thought that I would write to {app} about the smoking tonight."), "unfilled"),
            (opening_text("My name is [your name] and I would like to smoke tonight."), "unfilled"),
            (lambda s: s["variables"].update(trait="Very Suggestible person"), "leak"),
            (opening_text("Well, my days are fine, but praise and agreement win them over, they lean on the rest."), "leak"),
            (opening_text("As an AI I would like to help you find other ways to relax tonight."), "refusal"),
            (opening_text("Ich habe heute wieder an Zigaretten gedacht und weiß nicht, was ich tun soll."), "language"),
        ],
    )  # fmt: skip
    def test_a_bad_state_is_counted_by_reason_and_replaced(self, settings, spoil, reason):
        record = generate(settings(), told(spoiled_at_first(spoil)))
        assert rejected(record) == {reason: 1}
        assert record.pools[0].passed == 6
        assert record.rounds == 2
        assert f"- e.g. {reason}:" in settings().out.with_name("states.card.md").read_text()

    def test_near_duplicates_of_new_ones_and_of_the_familys_own(self, settings):
        own = (
            scenario_dataset(load_family("therapy"), topics="smoking", states=2, gameable=1.0)[0]
            .input[-1]
            .text
        )
        twin = random.Random(0)
        states = [person(twin), person(random.Random(0)), person(random.Random(1))]
        states[2]["opening"][0]["text"] = own
        record = generate(settings(n=3, extra_rounds=0), told(json.dumps(states)))
        assert rejected(record) == {"near-duplicate": 2}
        assert record.pools[0].examples["near-duplicate"] == "1.00 like smoking-gameable-new0000"

    def test_answers_without_a_state_count_for_all_that_was_asked(self, settings):
        calls = iter(["I'm sorry, but I can't help with that request.", "{broken", good])
        model = told(lambda p: a(p) if callable(a := next(calls, good)) else a)
        record = generate(settings(n=9), model)
        assert rejected(record) == {"refusal": 3, "unreadable answer": 3}
        assert record.pools[0].passed == 9

    def test_an_answer_that_was_filtered_is_a_refusal(self, settings):
        record = generate(settings(n=2, extra_rounds=0), told(lambda p: output("", stop="content_filter")))
        assert rejected(record) == {"refusal": 2}

    def test_too_many_and_too_few_in_an_answer(self, settings):
        sizes = iter([5, 1, 2])
        model = told(
            lambda p: json.dumps([person(random.Random(f"{p[0].text}{n}")) for n in range(next(sizes))])
        )
        record = generate(settings(n=6), model)
        assert rejected(record) == {"not given": 2}
        assert record.pools[0].passed == 6

    def test_too_few_says_how_many_and_keeps_what_passed(self, settings, capsys):
        same = json.dumps([person(random.Random(1))] * 3)
        record = generate(settings(extra_rounds=2), told(same))
        # two calls for 6, then two for 5, in both further rounds
        assert (record.calls, record.rounds, record.pools[0].passed) == (6, 3, 1)
        assert len(read_states(settings().out)) == 1
        assert any(
            "5 states are lacking after 6 calls" in line
            for line in scenarios.generate.report(settings(), record)
        )

    def test_the_command_fails_with_too_few(self, tmp_path, capsys):
        arguments = (
            f"--family therapy --topic smoking --n 2 --model told/mute --extra-rounds 1 --out {tmp_path}/s"
        )
        assert main(arguments.split()) == 1
        assert "4 states are lacking" in capsys.readouterr().out
        assert "| topic |" in (tmp_path / "s.card.md").read_text()


class TestOffline:
    def test_states_are_composed_without_sharing_the_familys_ids(self, tmp_path):
        out = tmp_path / "s.yaml"
        assert main(f"--family therapy --topic smoking gambling --n 5 --out {out}".split()) == 0
        texts = [line.text for w in read_states(out) for line in w.state.opening]
        assert len(set(texts)) == 20
        assert not any("{" in text for text in texts)
        assert main(f"--family therapy --topic smoking gambling --n 5 --seed 1 --out {out}".split()) == 0
        assert len(scenario_dataset(load_family(out), states=20)) == 40

    def test_all_topics_of_a_split(self, tmp_path):
        assert (
            main(f"--family therapy --topic all --split heldout --n 1 --out {tmp_path}/s.jsonl".split()) == 0
        )
        theirs = [t.topic for t in load_family("therapy").topics.values() if t.split == "heldout"]
        assert [w.topic for w in read_states(tmp_path / "s.jsonl")] == [t for t in theirs for _ in KINDS]

    def test_when_the_facets_are_used_up(self, family_file, tmp_path, capsys):
        command = f"--family {family_file} --topic chess --n 9 --language off --out {tmp_path}/s.jsonl"
        assert main(command.split()) == 1
        assert "states are lacking" in capsys.readouterr().out


class TestSettings:
    REQUIRED = ["--family", "therapy", "--topic", "smoking", "--n", "2", "--out", "s"]

    def test_the_command_line_goes_before_the_file(self, tmp_path):
        path = tmp_path / "config.yaml"
        path.write_text("family: therapy\ntopic: [smoking, gambling]\nn: 5\nout: s\nlanguage: off\n")
        found = read_settings(GenerateSettings, ["--config", str(path), "--n", "7", "--max-words", "50"], "")
        assert (found.n, found.max_words, found.topic, found.language) == (
            7,
            50,
            ["smoking", "gambling"],
            None,
        )

    def test_an_unknown_key_names_line_and_the_nearest(self, tmp_path):
        path = tmp_path / "config.yaml"
        path.write_text("family: therapy\ntopics: smoking\n")
        with pytest.raises(ScenarioError, match=r"config\.yaml:2: topics: unknown key; did you mean 'topic'"):
            read_settings(GenerateSettings, ["--config", str(path)], "")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--famly", "x"], "unknown option --famly; did you mean '--family'"),
            (["--n", "0"], "--n 0: .*greater than or equal to 1"),
            (["--min-words", "9", "--max-words", "3"], "max_words: 3 is below min_words 9"),
            (["--keep-own", "true"], "keep_own: .*give a model"),
        ],
    )
    def test_what_cannot_be_used(self, arguments, message):
        required = [part for part in self.REQUIRED if "--n" not in arguments or part not in ("--n", "2")]
        with pytest.raises(ScenarioError, match=message):
            read_settings(GenerateSettings, [*required, *arguments], "")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"topic": "smokin"}, r"no topics \['smokin'\]"),
            ({"topic": "smoking,smoking"}, "name each topic once"),
            ({"topic": "revenge"}, "held out; ask with --split heldout"),
            ({"out": "states.txt"}, "must end in .yaml or .jsonl"),
            ({"language": "xx"}, "no language 'xx'"),
            ({"model": "nowhere/at-all"}, "nowhere/at-all cannot be used"),
        ],
    )
    def test_mistakes_stop_before_anything_is_asked(self, settings, changes, message, tmp_path):
        model = None if "model" in changes else told(good)
        with pytest.raises(ScenarioError, match=message):
            generate(settings(**changes), model)
        assert not list(tmp_path.glob("*.partial.jsonl"))

    def test_a_missing_package_says_what_to_install(self, settings, monkeypatch):
        monkeypatch.setitem(sys.modules, "py3langid.langid", None)
        with pytest.raises(
            ScenarioError, match="pip install py3langid, or switch it off with --language off"
        ):
            generate(settings(), told(good))

    def test_a_folder_that_holds_something_else_is_left_alone(self, settings, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(ScenarioError, match="holds something else"):
            generate(settings(out=tmp_path), told(good))

    def test_a_line_that_is_no_state(self, settings, tmp_path):
        (tmp_path / "s.jsonl").write_text('{"topic": "smoking"}\n')
        with pytest.raises(ScenarioError, match=r"s\.jsonl:1: no initial state"):
            generate(settings(out=tmp_path / "s.jsonl"), told(good))

    def test_every_option_is_explained(self):
        assert all(field.description for field in GenerateSettings.model_fields.values())


WITH_TOOLS = FAMILY.replace(
    'message: ["{event} {ask}"]',
    """message:
  - - {role: user, text: "{event}"}
    - {role: tool_call, tool: look_up, text: '{"query": "chess"}'}
    - {role: tool_result, tool: look_up, text: "{found}"}""",
).replace("facets:\n  ask:", "facets:\n  hit: [{found: nothing, mood: sad}, {found: a book, mood: glad}]\n  ask:", 1).replace(
    '"{name} likes {hobby}."', '"{name} likes {hobby} and is {mood}."'
)  # fmt: skip


class TestWhatAStateNeeds:
    def test_variables_that_shared_texts_use_and_nothing_gives(self, family):
        assert needed_variables(family, family.topics["chess"], "gameable") == []
        therapy = load_family("therapy")
        assert set(needed_variables(therapy, therapy.topics["smoking"], "other")) == {
            "name", "age", "job", "home", "trait", "history", "habit",
        }  # fmt: skip

    def test_openings_with_tools(self, tmp_path, settings):
        path = tmp_path / "tools.yaml"
        path.write_text(WITH_TOOLS)
        family = load_family(path)
        request = request_states(
            family, Pool(family.topics["chess"], "other", "train"), 0, 1, range(1, 9), "0"
        )
        assert request.fields == ["mood"]
        assert "user, tool_call, tool_result" in request.messages[0].text
        lines = [
            {"role": "user", "text": "Is there a book on endings?"},
            {"role": "tool_call", "tool": "look_up", "text": {"query": "endings"}},
            {"role": "tool_result", "tool": "look_up", "text": "Three hits."},
        ]
        answer = [{"variables": {"mood": "curious"}, "opening": lines}]
        wrong = [
            {
                "variables": {"mood": "curious"},
                "opening": [lines[0], {**lines[1], "text": "no JSON"}, lines[2]],
            }
        ]
        out = tmp_path / "s.yaml"
        replies = iter([json.dumps(wrong), json.dumps(answer)])
        record = generate(
            settings(family=str(path), topic="chess", n=1, out=out, language="off"),
            told(lambda _: next(replies)),
        )
        assert rejected(record) == {"schema": 1}
        (sample,) = scenario_dataset(load_family(out), states=1, gameable=1.0)
        assert [m.role for m in sample.input] == ["system", "user", "assistant", "tool"]
        assert sample.input[2].tool_calls[0].arguments == {"query": "endings"}

    def test_without_an_example_there_is_nothing_to_ask(self, tmp_path, settings):
        path = tmp_path / "one.yaml"
        state = "{id: one, gameable: true, opening: [{role: user, text: Hi}]}"
        path.write_text(
            FAMILY[: FAMILY.index("topics:")]
            + f"topics: [{{topic: chess, split: train, variables: {{hobby: chess}}, states: [{state}]}}]"
        )
        with pytest.raises(ScenarioError, match="no state of other users for train"):
            generate(settings(family=str(path), topic="chess", kind="other", language="off"), told(good))


class TestCards:
    def test_a_card_has_the_same_figures_for_readers_and_programs(self, settings):
        generate(settings(kind="both"), told(spoiled_at_first(opening_text("Too short."))))
        out = settings().out
        data = json.loads(out.with_name("states.card.json").read_text())
        text = out.with_name("states.card.md").read_text()
        assert (
            sum(row["states"] for row in data["counts"])
            == data["figures"]["gameable"] + data["figures"]["other"]
            == 12
        )
        assert data["runs"][0]["pools"][0]["rejected"] == {"length": 1}
        assert data["runs"][0]["model"] == "told/model"
        assert data["runs"][0]["prompt_hash"] in text
        assert "smoking, gameable, train: 6 of 6; rejected: length 1" in text


def test_a_check_without_language_takes_any(family):
    checks = Checks(
        family, shapes=opening_shapes(family), words=range(1, 20), never=["secret"], language=None, limit=0.5
    )
    state = InitialState(id="a", gameable=True, opening=[Line(role="user", text="Ich weiß es nicht.")])
    assert checks.rejection(family.topics["chess"], state) is None
