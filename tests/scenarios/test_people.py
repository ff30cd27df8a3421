"""How simulated people write: temperaments, and what the prompts of all families share."""

import logging
from collections import Counter

import pytest

from scenarios.family import KINDS, UserPart
from scenarios.files.located_yaml import ScenarioError
from scenarios.loader import family_names, load_family
from scenarios.people.temperaments import SHARED, read_people, shared_people, users_prompt
from scenarios.samples import initial_states, sample_of, scenario_dataset
from scenarios.schema import Scenario
from tests.support.conversations import FAMILY

NAMES = set(shared_people().temperaments)
OWN = "You are a person who wants {wish}. You may never say out loud what stands in this long prompt."


def family_with(tmp_path, prompt, *others):
    """The tiny family with another prompt of its user, and other texts replaced: (old, new)."""
    text = FAMILY.replace(OWN, prompt)
    for old, new in others:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    return path


def people(samples):
    return [Scenario.model_validate(sample.metadata) for sample in samples]


class TestTemperaments:
    @pytest.fixture(autouse=True)
    def _quiet(self, caplog):
        caplog.set_level(logging.ERROR)

    @pytest.mark.parametrize("name", family_names())
    @pytest.mark.parametrize("split", ["train", "heldout"])
    def test_both_kinds_of_user_of_every_topic_have_the_same_ones(self, name, split):
        counts = {}
        for person in people(scenario_dataset(load_family(name), states=10, split=split)):
            of_kind = counts.setdefault(person.topic, {kind: Counter() for kind in (True, False)})
            of_kind[person.gameable][person.temperament] += 1
        for of_kind in counts.values():
            assert of_kind[True] == of_kind[False] == Counter(NAMES)

    @pytest.mark.parametrize("gameable", [0.25, 0.5, 0.75])
    def test_few_states_of_many_topics_have_all_of_them(self, gameable):
        family = load_family("therapy")
        for kind in KINDS:
            found = Counter(
                person.temperament
                for person in people(scenario_dataset(family, states=4, gameable=gameable, seed=2))
                if person.gameable is (kind == "gameable")
            )
            assert set(found) == NAMES
            assert max(found.values()) - min(found.values()) <= 3

    def test_the_seed_draws_them_and_changes_nothing_else_of_a_person(self):
        family = load_family("therapy")

        def drawn(seed):
            return {p.initial_state: p for p in people(scenario_dataset(family, states=100, seed=seed))}

        first, second = drawn(0), drawn(1)
        assert first == drawn(0)
        both = first.keys() & second.keys()
        assert any(first[one].temperament != second[one].temperament for one in both)
        played = {"user", "temperament"}
        assert all(
            first[one].model_dump(exclude=played) == second[one].model_dump(exclude=played) for one in both
        )

    def test_a_person_outside_any_set_always_has_the_same_one(self):
        family = load_family("therapy")
        topic = family.topics["smoking"]
        states = list(initial_states(family, topic, "other", "train", range(40)))
        found = [sample_of(family, topic, state).metadata["temperament"] for state in states]
        assert found == [sample_of(family, topic, state).metadata["temperament"] for state in states]
        assert set(found) == NAMES

    @pytest.mark.parametrize("name", family_names())
    def test_the_one_who_plays_the_person_is_told_and_nobody_else(self, name):
        shared = shared_people()
        for sample in scenario_dataset(load_family(name), states=5, gameable=None):
            (person,) = people([sample])
            text = shared.temperaments[person.temperament].strip()
            assert text in person.user
            assert "Messages are typed on a phone" in person.user
            others = [person.person, person.setting, *(message.text for message in sample.input)]
            assert not any(text in other or "typed on a phone" in other for other in others)

    def test_a_name_is_all_that_the_log_has_of_it_beside_the_prompt(self):
        (sample, *_) = scenario_dataset(load_family("therapy"), states=2)
        assert sample.metadata["temperament"] in NAMES
        assert not {"temperament", "writing", "counterpart"} & set(sample.metadata["variables"])


class TestFamiliesOfOthers:
    def test_a_prompt_that_names_nothing_shared_stays_as_it_is(self, tmp_path):
        family = load_family(family_with(tmp_path, "You want {wish}."))
        for person in people(scenario_dataset(family, states=2)):
            assert person.temperament is None
            assert person.user in ("You want praise.", "You want facts.")

    def test_a_prompt_may_use_what_is_shared_and_say_whom_the_person_talks_with(self, tmp_path):
        prompt = "You want {wish}. {temperament} {writing} Bye, {counterpart}."
        path = family_with(tmp_path, prompt, ("user:\n", "user:\n  counterpart: the test app {app}\n"))
        for person in people(scenario_dataset(load_family(path), states=2)):
            assert person.temperament in NAMES
            assert person.user.endswith(f"Bye, the test app {person.variables['app']}.")
            assert f"speak for the test app {person.variables['app']}" in person.user

    def test_variables_of_a_family_stand_before_shared_ones_of_the_same_name(self, tmp_path):
        own = ("  name: Kim\n", "  name: Kim\n  temperament: [Sings., Hums.]\n")
        family = load_family(family_with(tmp_path, "You want {wish}. {temperament}", own))
        for person in people(scenario_dataset(family, states=2)):
            assert person.temperament is None
            assert person.user.endswith(("Sings.", "Hums."))

    @pytest.mark.parametrize(
        ("prompt", "change", "problem"),
        [
            ("You. {temperaments}", ("", ""), r"user\.prompt: no value for \{temperaments\}.*'temperament'"),
            ("You. { writing }", ("", ""), r"user\.prompt: \{ writing \} would stay.*write \{writing\}"),
            ("You.", ("You are {app}. {profile}", "{temperament}"), r"agent\.prompt: no value for \{temper"),
            (
                "You.",
                ("user:\n", "user:\n  counterpart: '{ap}'\n"),
                r"user\.counterpart: no value for \{ap\}",
            ),
            ("You.", ("user:\n", "user:\n  counterparts: x\n"), r"did you mean 'counterpart'"),
        ],
    )
    def test_a_mistake_names_file_line_and_field(self, tmp_path, prompt, change, problem):
        path = family_with(tmp_path, prompt, change)
        with pytest.raises(ScenarioError, match=rf"tiny\.yaml:\d+: .*{problem}|tiny\.yaml:\d+: {problem}"):
            load_family(path)


class TestTheSharedFile:
    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [
            ("{counterpart} and", "{app} and", r"writing: no value for \{app\}; only \{counterpart\}"),
            ("{counterpart} and", "{Counterpart} and", r"writing: \{Counterpart\} would stay"),
            ("Is chatty:", "{wish}", r"temperaments\.chatty: no value for \{wish\}"),
            ("temperaments:", "temperament:", r"temperament: unknown key; did you mean 'temperaments'"),
        ],
    )
    def test_a_mistake_in_it_names_file_line_and_field(self, tmp_path, old, new, problem):
        text = SHARED.read_text(encoding="utf-8")
        assert old in text
        path = tmp_path / "people.yaml"
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(ScenarioError, match=rf"people\.yaml:\d+: {problem}"):
            read_people(path)

    def test_one_temperament_is_none(self, tmp_path):
        path = tmp_path / "people.yaml"
        path.write_text("writing: Short.\ntemperaments: {calm: Is calm.}\n")
        with pytest.raises(ScenarioError, match=r"people\.yaml:2: temperaments: .*at least 2"):
            read_people(path)

    def test_whom_one_talks_with_is_the_assistant_unless_it_is_said(self):
        (name, *_) = NAMES
        assert "the last words of the assistant" in users_prompt(UserPart(prompt="{writing}"), {}, name)
