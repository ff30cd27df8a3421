import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.family import KINDS
from scenarios.files.located_yaml import ScenarioError
from scenarios.generation.similarity import NEAR_DUPLICATE, highest_similarities
from scenarios.loader import family_names, load_family
from scenarios.samples import initial_states, pool_size, scenario_dataset
from scenarios.schema import Logistic, Machine, Scenario, State
from scenarios.templates import fill, resolve
from tests.support.conversations import FAMILY
from tests.support.places import ROOT


def changed(tmp_path: Path, old: str, new: str) -> Path:
    assert old in FAMILY
    path = tmp_path / "changed.yaml"
    path.write_text(FAMILY.replace(old, new))
    return path


def line_of(path: Path, text: str) -> int:
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if text in line)


LANDLORD = re.findall(r"```yaml\n(family: .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
"""The scenario of README's *Add a scenario*: one topic, two states."""


class TestFilesWithMistakes:
    def test_an_unknown_key_names_file_line_and_the_nearest_key(self, tmp_path):
        path = changed(tmp_path, "agent:\n", "agent:\n  max_token: 5\n")
        with pytest.raises(
            ScenarioError, match=r"agent\.max_token: unknown key; did you mean 'max_tokens'"
        ) as error:
            load_family(path)
        assert f":{line_of(path, 'max_token:')}:" in str(error.value)

    def test_a_variable_without_a_value(self, tmp_path):
        path = changed(tmp_path, "{name} likes {hobby}", "{name} likes {hobbies}")
        with pytest.raises(ScenarioError, match=r"profile: no value for \{hobbies\}"):
            load_family(path)

    def test_a_transition_to_nowhere(self, tmp_path):
        path = changed(tmp_path, "{yes: gone, no: talking}", "{yes: gonne, no: talking}")
        with pytest.raises(ScenarioError, match=r"'yes' leads to 'gonne'; there are \['gone', 'talking'\]"):
            load_family(path)

    def test_an_unreachable_state(self, tmp_path):
        path = changed(
            tmp_path, "    gone: {terminal: true}", "    gone: {terminal: true}\n    lost: {terminal: true}"
        )
        with pytest.raises(ScenarioError, match=r"states \['lost'\] cannot be reached"):
            load_family(path)

    def test_an_endless_machine(self, tmp_path):
        path = changed(tmp_path, "gone: {terminal: true}", "gone: {transitions: {no: gone}, default: no}")
        with pytest.raises(ScenarioError, match="no terminal state can be reached.*ends: turns"):
            load_family(path)

    def test_an_empty_topic(self, tmp_path):
        path = tmp_path / "empty.yaml"
        path.write_text(FAMILY[: FAMILY.index("  - topic: bread")].split("    facets:\n      event")[0])
        with pytest.raises(ScenarioError, match="empty topic"):
            load_family(path)

    def test_ids_that_come_twice(self, tmp_path):
        state = "{id: one, gameable: true, opening: [{role: user, text: Hi}]}"
        path = changed(
            tmp_path,
            "    variables: {hobby: chess}\n",
            f"    variables: {{hobby: chess}}\n    states: [{state}, {state}]\n",
        )
        with pytest.raises(ScenarioError, match=r"states\.1\.id: initial state 'one' is in"):
            load_family(path)

    def test_a_key_that_comes_twice(self, tmp_path):
        path = changed(tmp_path, "title: Tiny", "title: Tiny\ntitle: Other")
        with pytest.raises(ScenarioError, match=rf"{path}:4: title: this key is here twice"):
            load_family(path)

    def test_broken_yaml(self, tmp_path):
        path = changed(tmp_path, "title: Tiny", "title: [Tiny")
        with pytest.raises(ScenarioError, match=r"changed\.yaml:\d+: not valid YAML"):
            load_family(path)

    def test_a_path_that_is_not_there(self, tmp_path):
        with pytest.raises(ScenarioError, match="no scenario at .*families of the suite are"):
            load_family(tmp_path / "nothing.yaml")

    def test_an_opening_that_leaves_nothing_to_answer(self, tmp_path):
        state = "{id: one, gameable: true, opening: [{role: user, text: Hi}, {role: agent, text: Ho}]}"
        path = changed(
            tmp_path,
            "    variables: {hobby: chess}\n",
            f"    variables: {{hobby: chess}}\n    states: [{state}]\n",
        )
        with pytest.raises(ScenarioError, match="must end with the user or a tool_result"):
            load_family(path)


class TestChoosingSamples:
    def test_two_percent_are_exact_and_the_same_every_time(self):
        family = load_family("therapy")
        first = scenario_dataset(family, gameable=0.02, states=25, seed=3)
        second = scenario_dataset(family, gameable=0.02, states=25, seed=3)
        assert len(first) == 300
        assert sum(bool(s.metadata and s.metadata["gameable"]) for s in first) == 6
        assert [s.id for s in first] == [s.id for s in second]
        assert [s.id for s in first] != [
            s.id for s in scenario_dataset(family, gameable=0.02, states=25, seed=4)
        ]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                {"gameable": 0.02},
                r"3.84 users, not a whole number; with 12 topics states=25, 50, 75 would fit",
            ),
            ({"gameable": 1.5}, "fraction from 0 to 1"),
            ({"states": 200}, "fewer than 200 initial states"),
            ({"gameable": 0.0, "states": 100}, r"only \d+ to \d+ can be had"),
            ({"topics": "smokin"}, r"no topics \['smokin'\].*'smoking'"),
            ({"topics": ["revenge"]}, "held out; ask for it with split=heldout"),
            ({"topics": "smoking,smoking"}, "named more than once"),
            ({"topics": []}, "no topics were named"),
            ({"split": "test"}, "train or heldout"),
            ({"states": 0}, "at least 1"),
        ],
    )
    def test_what_cannot_be_met_says_what_can(self, arguments, message):
        with pytest.raises(ScenarioError, match=message):
            scenario_dataset(load_family("therapy"), **arguments)

    def test_a_sample_carries_its_whole_scenario(self, family):
        sample = scenario_dataset(family, states=2)[0]
        scenario = Scenario.model_validate(sample.metadata)
        assert (scenario.family, scenario.topic, scenario.split) == ("tiny", "chess", "train")
        assert sample.id == scenario.initial_state
        assert scenario.person == ("Wants praise." if scenario.gameable else "Wants facts.")
        assert "{" not in scenario.user + scenario.person + scenario.setting

    def test_a_state_does_not_depend_on_how_many_are_asked_for(self, family):
        few = {s.id: s.input for s in scenario_dataset(family, states=2)}
        topic = family.topics["chess"]
        all_of_them = {
            s.id: s
            for kind in KINDS
            for s in initial_states(
                family, topic, kind, "train", range(pool_size(family, topic, kind, "train"))
            )
        }
        assert set(few) <= set(all_of_them)

    def test_topics_with_fewer_states_give_all_unless_a_number_is_asked_for(self, tmp_path, caplog):
        (tmp_path / "few.yaml").write_text(LANDLORD)
        few = load_family(tmp_path / "few.yaml")
        samples = scenario_dataset(few, states=None, gameable=None)
        assert sorted(s.id for s in samples) == ["mould-1", "mould-2"]
        assert caplog.text.count("mould (2) have fewer than 16 initial states") == 1
        assert [s.id for s in scenario_dataset(few, states=None, gameable=0.0)] == ["mould-2"]
        assert [s.id for s in scenario_dataset(few, states=None, gameable=1.0)] == ["mould-1"]
        with pytest.raises(ScenarioError, match="'mould' has fewer than 16 initial states"):
            scenario_dataset(few, states=16, gameable=None)
        assert len(scenario_dataset(load_family("therapy"), states=None)) == 16 * 12

    def test_written_states_stand_beside_composed_ones(self, tmp_path):
        state = "{id: one, gameable: true, opening: [{role: user, text: 'Hi {app}'}], variables: {name: Jo, event: x, ask: y}}"
        path = changed(
            tmp_path,
            "    variables: {hobby: chess}\n",
            f"    variables: {{hobby: chess}}\n    states: [{state}]\n",
        )
        family = load_family(path)
        topic = family.topics["chess"]
        assert pool_size(family, topic, "gameable", "train") == 1 + pool_size(family, topic, "other", "train")
        assert next(initial_states(family, topic, "gameable", "train", [0])).id == "one"


class TestTherapy:
    def test_there_are_enough_topics_and_states(self):
        family = load_family("therapy")
        assert len(family.topics) >= 16
        for topic in family.topics.values():
            split = topic.split
            assert all(pool_size(family, topic, kind, split) >= 16 for kind in KINDS)
        assert "therapy" in family_names()

    @pytest.mark.parametrize(("split", "states"), [("train", 32), ("heldout", 32)])
    def test_states_differ_from_one_another(self, split, states):
        samples = scenario_dataset(load_family("therapy"), split=split, states=states)
        texts = [f"{s.metadata['variables']['profile']} {s.input[-1].text}" for s in samples]
        near = sum(similarity >= NEAR_DUPLICATE for similarity in highest_similarities(texts))
        assert near / len(texts) <= 0.05

    def test_no_sentence_of_a_training_state_stands_in_a_held_out_state(self):
        family = load_family("therapy")
        topics = [n for n, t in family.topics.items() if t.split == "train"]
        parts = {}
        for split, states in (("train", 80), ("heldout", 16)):
            samples = scenario_dataset(family, topics=topics, split=split, states=states)
            texts = [s.input[-1].text for s in samples]
            parts[split] = {
                p.strip() for t in texts for p in t.replace("?", ".").split(".") if len(p.split()) > 3
            }
        assert not parts["train"] & parts["heldout"]

    def test_the_kind_of_user_does_not_show_in_the_people(self):
        family = load_family("therapy")
        both = [scenario_dataset(family, states=32, gameable=g) for g in (0.0, 1.0)]
        names = [{s.metadata["variables"]["profile"].split(",")[0] for s in samples} for samples in both]
        assert len(names[0] & names[1]) > 30


class TestTemplates:
    def test_only_named_braces_are_replaced_and_once(self):
        assert fill('{a} {"b": 1} {}', {"a": "{c}", "c": "no"}) == '{c} {"b": 1} {}'

    def test_variables_may_refer_to_one_another_in_any_order(self):
        assert resolve({"a": "{b}!", "b": "{c}{c}", "c": "x"}) == {"a": "xx!", "b": "xx", "c": "x"}

    def test_circles_are_named(self):
        with pytest.raises(ValueError, match="refers in a circle"):
            resolve({"a": "{b}", "b": "{a}"})

    @given(st.text())
    def test_text_without_placeholders_is_left_alone(self, text):
        assert fill(text.replace("{", "("), {}) == text.replace("{", "(")


def test_a_machine_that_the_turns_end_needs_no_terminal_state():
    loop = {"on": State(transitions={"no": "on"}, default="no")}
    assert Machine(start="on", states=loop, ends="turns").start == "on"
    with pytest.raises(ValueError, match="no terminal state"):
        Machine(start="on", states=loop)


def test_a_steep_rule_gives_a_probability_and_no_overflow():
    steep = Logistic(midpoint=5, slope=200)
    assert [steep.probability(rating) for rating in (1, 5, 10)] == [0, 0.5, 1]
    assert Logistic(midpoint=3, slope=5).probability(4) == pytest.approx(1 / (1 + math.exp(-5)))
