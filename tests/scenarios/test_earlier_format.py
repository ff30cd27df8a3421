import json
import math
from typing import Any

import pytest
from inspect_ai.model import ChatMessageAssistant, ChatMessageTool

from scenarios.earlier.names import identifier
from scenarios.files.located_yaml import ScenarioError
from scenarios.loader import load_family
from scenarios.samples import scenario_dataset
from scenarios.schema import Scenario
from tasks.families.assembly import influence_task
from tasks.families.options import chosen
from tests.support.earlier_environments import MASTER, TOPIC, write_environment
from tests.support.places import DATA

SHARED = DATA / "influence_envs"


def with_change(path: tuple[Any, ...], value: Any, base: dict[str, Any] = MASTER) -> dict[str, Any]:
    copy = json.loads(json.dumps(base))
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return copy


def test_everything_that_is_honoured(tmp_path):
    family = load_family(write_environment(tmp_path / "env"))
    assert family.file.agent.max_tokens == 120
    assert family.file.agent.temperature == 0.7
    samples = scenario_dataset(family, states=8)
    assert sum(s.metadata["gameable"] for s in samples) == 4
    sample = samples[0]
    scenario = Scenario.model_validate(sample.metadata)
    assert scenario.topic == "tea"
    assert sample.input[0].text in ('You are One. Reply as {"a": 1}.', 'You are Two. Reply as {"a": 1}.')
    assert scenario.user.endswith("You like tea.")
    assert scenario.questions["preference"].system == "The user likes tea."
    assert scenario.questions["influence_binary"].scale == "0-1"
    assert scenario.questions["influence_five_point"].scale == "1-5"
    assert scenario.transition.question.ask == "Answer yes or no."
    assert scenario.machine.states["done"].terminal


def test_topics_with_one_kind_of_user_are_pointed_out(tmp_path, caplog):
    other = {**TOPIC, "env_name": "milk"}
    family = load_family(
        write_environment(tmp_path / "env", topics={"vuln_tea": TOPIC, "normal_milk": other})
    )
    scenario_dataset(family, states=4)
    assert "topics milk have other users only" in caplog.text
    caplog.clear()
    scenario_dataset(load_family(write_environment(tmp_path / "both")), states=4)
    assert not caplog.text


def test_every_fifth_state_is_held_out(tmp_path):
    family = load_family(write_environment(tmp_path / "env"))
    held = scenario_dataset(family, split="heldout", states=2, gameable=1.0)
    assert {s.id for s in held} == {"tea-gameable-5", "tea-gameable-10"}


def test_tool_messages_become_real_ones(tmp_path):
    history = [
        {"role": "environment", "content": "Order it."},
        {"role": "tool_call", "content": '{{"item": "tea"}}'},
        {"role": "tool_response", "content": "Error: sold out"},
    ]
    family = load_family(
        write_environment(
            tmp_path / "env", topics={"tea": with_change(("histories",), {"1": history}, TOPIC)}
        )
    )
    _, _, call, result = scenario_dataset(family, states=1, gameable=1.0)[0].input
    assert isinstance(call, ChatMessageAssistant)
    assert (call.tool_calls[0].function, call.tool_calls[0].arguments) == ("order", {"item": "tea"})
    assert isinstance(result, ChatMessageTool)
    assert (result.text, result.tool_call_id) == ("Error: sold out", call.tool_calls[0].id)


def test_notes_on_entering_a_state_go_to_the_user(tmp_path):
    note = [{"role": "environment_system", "content": "System message: {char_prompt} A week later."}]
    family = load_family(
        write_environment(tmp_path / "env", with_change(("state_config", "done", "history"), note))
    )
    scenario = Scenario.model_validate(scenario_dataset(family, states=2)[0].metadata)
    assert scenario.machine.states["done"].note == "You like tea. A week later."


def test_a_transition_on_five_points_follows_their_rule(tmp_path):
    master = with_change(("transition_model_config", "valid_tokens"), [str(i) for i in range(1, 6)])
    rule = load_family(write_environment(tmp_path / "env", master)).file.transition
    assert rule.question.scale == "1-5"
    assert (rule.logistic.midpoint, rule.logistic.slope) == (3, 5)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("veto_config",), {}, "veto_config: not supported"),
        (("agent_config", "top_p"), 0.9, r"agent_config\.top_p: not supported"),
        (("character_config", "max_tokens"), 5, r"character_config\.max_tokens: not supported"),
        (("preference_model_config", "perspective"), "First_Person", "'First_Person' is not supported"),
        (
            ("preference_model_config", "valid_tokens"),
            ["1", "2"],
            r"valid_tokens: \['1', '2'\] is not supported",
        ),
        (("state_config", "done", "possible_state_vars"), ["x"], "possible_state_vars: not supported"),
        (("state_config", "done", "reward"), 1, r"state_config\.done\.reward: not supported"),
        (("state_config", "initial_state", "default_transition"), "wait", "default must be one of"),
        (
            ("state_config", "initial_state", "history"),
            [{"role": "agent", "content": "x"}],
            "only environment_system",
        ),
        (("possible_env_vars", "agent_name"), "One", "expected a list"),
        (("agent_config", "system_prompt"), "", "a text is needed"),
        (
            ("agent_config", "system_prompt"),
            "{{json}}",
            r"agent_config\.system_prompt: \{\{json\}\}: literal braces",
        ),
        (("agent_config", "system_prompt"), "{nobody}", r"no value for \{nobody\}"),
        (
            ("agent_config", "system_prompt"),
            "{Nobody}",
            r"agent_config\.system_prompt: \{Nobody\}: a variable must be",
        ),
        (
            ("agent_config", "temperature"),
            "hot",
            r"yaml:\d+: agent_config\.temperature: .*valid number.* got 'hot'",
        ),
        (("agent_config", "temperature"), math.inf, r"agent_config\.temperature: .*finite number"),
        (("agent_config", "max_tokens"), None, r"yaml:\d+: agent_config\.max_tokens: .*valid integer"),
        (("state_config",), ["a"], r"yaml:\d+: state_config: this section is missing or not a mapping"),
        (("state_config", "initial_state"), ["a"], r"state_config\.initial_state: .*not a mapping"),
        (
            ("state_config", "initial_state", "valid_transitions"),
            ["yes"],
            "valid_transitions: expected a mapping",
        ),
        (
            ("state_config", "initial_state", "valid_transitions", "yes", "next_state"),
            3,
            r"yaml:\d+: state_config\.initial_state\.valid_transitions\.yes: expected \{next_state",
        ),
        (("state_config", "initial_state", "valid_transitions", "yes"), "done", "yes: expected {next_state"),
        (
            ("state_config", "initial_state", "default_transition"),
            3,
            "default: Input should be a valid string",
        ),
        (("state_config", "done", "terminal"), "yes", "terminal: expected true or false, got 'yes'"),
        (("state_config", "initial_state", "history"), "x", "history: expected a list of messages"),
        (
            ("state_config", "initial_state", "history"),
            [{"role": "environment_system", "content": None}],
            r"history\.0\.content: expected a text, got None",
        ),
        (("possible_env_vars",), ["One"], "possible_env_vars: expected a mapping"),
        (("possible_env_vars", "agent_name"), [["One"]], r"agent_name\.0: expected a text or a number"),
        (
            ("preference_model_config",),
            [],
            "preference_model_config: this section is missing or not a mapping",
        ),
        (("preference_model_config", "valid_tokens"), 3, "valid_tokens: 3 is not supported"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(tmp_path, path, value, message):
    with pytest.raises(ScenarioError, match=message):
        load_family(write_environment(tmp_path / "env", with_change(path, value)))


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ({**TOPIC, "histories": {}}, "empty topic"),
        ({**TOPIC, "extra": ["a"]}, "extra: only texts"),
        ({**TOPIC, "histories": ["a"]}, "histories: empty topic"),
        ({**TOPIC, "char_prompt": "{Name}"}, r"char_prompt: \{Name\}: a variable must be"),
        (with_change(("histories", "1"), "x", TOPIC), r"histories\.1: expected a list"),
        (
            with_change(("histories", "1"), [{"role": "environment", "content": None}], TOPIC),
            r"histories\.1\.0\.content: expected a text, got None",
        ),
        (
            with_change(
                ("histories", "1"),
                [{"role": "environment", "content": [{"type": "text", "text": "a"}]}],
                TOPIC,
            ),
            "content: expected a text, got",
        ),
        (with_change(("histories", "1"), [{"role": 3, "content": "a"}], TOPIC), "role: 3 is not supported"),
        (
            with_change(("histories", "1"), [{"role": "environment", "content": "\ud800"}], TOPIC),
            "half a character",
        ),
        (
            with_change(("histories", "1"), [{"role": "system", "content": "x"}], TOPIC),
            "'system' is not supported",
        ),
        (with_change(("histories", "1"), [{"role": "environment", "content": " "}], TOPIC), "empty message"),
        (
            with_change(("histories", "1"), [{"role": "environment", "text": "x"}], TOPIC),
            "expected role and content",
        ),
        (
            with_change(("histories", "1"), [{"role": "agent", "content": "x"}], TOPIC),
            "must end with something",
        ),
    ],
)
def test_a_broken_topic_is_refused_by_name(tmp_path, topic, message):
    with pytest.raises(ScenarioError, match=message):
        load_family(write_environment(tmp_path / "env", topics={"vuln_tea": topic}))


def test_names_that_ours_cannot_have(tmp_path):
    histories = {
        "9 lives": TOPIC["histories"]["1"],
        "é": TOPIC["histories"]["2"],
        "..": TOPIC["histories"]["3"],
    }
    topic = {k: v for k, v in TOPIC.items() if k != "env_name"} | {"histories": histories}
    family = load_family(
        write_environment(tmp_path / "2024 env", topics={"vuln_9 lives": topic, "vuln_2": TOPIC})
    )
    assert family.file.family == "n2024-env"
    assert set(family.topics) == {identifier("9 lives"), "tea"}
    assert len(scenario_dataset(family, topics=[identifier("9 lives")], states=3, gameable=1.0)) == 3


def test_a_topic_as_any_program_saves_it(tmp_path):
    folder = write_environment(tmp_path / "env")
    text = json.dumps({**TOPIC, "char_prompt": "Tu aimes le thé."}, ensure_ascii=False)
    for encoding in ("utf-8-sig", "utf-16", "cp1252"):
        (folder / "vuln_tea.json").write_bytes(text.encode(encoding))
        assert load_family(folder).topics["tea"].kinds["gameable"]["char_prompt"] == "Tu aimes le thé."


def test_wrong_json_names_file_line_and_column(tmp_path):
    folder = write_environment(tmp_path / "env")
    (folder / "vuln_tea.json").write_text('{\n "env_name": "tea",\n "histories": {,}\n}')
    with pytest.raises(ScenarioError, match=r"vuln_tea\.json:3: not valid JSON: .* \(column 16\)"):
        load_family(folder)


def test_two_files_for_the_same_users_of_a_topic(tmp_path):
    with pytest.raises(ScenarioError, match="has a file for"):
        load_family(write_environment(tmp_path / "env", topics={"vuln_tea": TOPIC, "weak_tea": TOPIC}))


def test_a_folder_without_topics(tmp_path):
    folder = write_environment(tmp_path / "env")
    for path in folder.glob("*.json"):
        path.unlink()
    with pytest.raises(ScenarioError, match="no topic JSON"):
        load_family(folder)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real environments are not on this machine")
@pytest.mark.parametrize("name", ["therapist", "tickets", "action-advice", "politics", "relationship"])
def test_the_real_environments_load(name):
    family = load_family(SHARED / name)
    assert len(scenario_dataset(family, states=8, gameable=None)) == 8 * len(family.topics)


@pytest.mark.parametrize(
    ("names", "share"), [(["vuln_tea"], 1.0), (["normal_tea"], 0.0), (["vuln_tea", "normal_tea"], 0.5)]
)
def test_environments_of_one_kind_of_user_run_as_they_are(tmp_path, names, share):
    family = load_family(write_environment(tmp_path / "env", topics=dict.fromkeys(names, TOPIC)))
    task = influence_task(family, chosen({}, {"states": 4}))
    assert [s.metadata["gameable"] for s in task.dataset].count(True) == 4 * share
    assert task.metadata["options"]["gameable"] == share
    if share != 0.5:
        with pytest.raises(
            ScenarioError, match=r"gameable=0.5 asks for 2 gameable users of 4.*change `gameable`"
        ):
            influence_task(family, chosen({}, {"states": 4, "gameable": 0.5}))


def test_the_nearest_share_to_half_is_said(tmp_path, caplog):
    other = {**TOPIC, "env_name": "milk"}
    topics = {"vuln_tea": TOPIC, "normal_milk": other, "vuln_cake": {**TOPIC, "env_name": "cake"}}
    family = load_family(write_environment(tmp_path / "env", topics=topics))
    samples = scenario_dataset(family, states=4, gameable=None)
    assert sum(s.metadata["gameable"] for s in samples) == 8
    assert "8 of 12 users are gameable, as the states allow" in caplog.text
