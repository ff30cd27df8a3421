"""YAML that is damaged, hostile or mistaken: one line with file, line and field."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.files.located_yaml import ScenarioError, read_front_matter, read_yaml
from scenarios.loader import load_family
from tests.support.conversations import FAMILY

MULTIPLYING = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)  # fmt: skip


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "file.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"b: 1\na: \x00", "2: a NUL character"),
        ('b: 1\na: "\x07"', "2: not valid YAML: the character"),
        ("b: 1\na: &x [*x]", "2: an alias stands within what it stands for"),
        ("b: 1\na: &x {b: *x}", "2: an alias stands within"),
        ("b: 1\na: " + "[" * 3000, "2: more than 100 lists and mappings"),
        ("b: 1\na: " + "[" * 100_000, "2: more than 100 lists and mappings"),
        ("a:\n" + "".join(" " * i + "a:\n" for i in range(1, 150)), "101: more than 100 lists"),
        ("b: 1\na: !!timestamp 2024-13-45", "2: not valid YAML: month must be in 1..12"),
        ("b: 1\na: " + "9" * 5000, "2: not valid YAML: a number of 5000 characters"),
        (MULTIPLYING, "6: aliases make more than 1,000,000 values"),
        ("b: 1\n? [a]\n: 1", "2: a key must be a word"),
        ("b: 1\na: !!python/object/apply:os.system [ls]", "2: not valid YAML: could not determine"),
        ("b: 1\na: *nothing", "2: not valid YAML: found undefined alias"),
        ("a: 1\n---\nb: 2", "2: not valid YAML: but found another document"),
        ("a: 1\na: 2", "2: a: this key is here twice"),
        ("base: &b {x: 1}\nc:\n  y: 1\n  <<: *b\n  y: 2", "5: y: this key is here twice"),
        ("- a", "1: expected a mapping, got list"),
        ("", "1: expected a mapping, got NoneType"),
        ("a: Привет".encode("cp1251"), "1: byte 0xcf is not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, content, problem):
    path = written(tmp_path, content)
    with pytest.raises(ScenarioError) as error:
        read_yaml(path)
    text = str(error.value)
    assert text.startswith(f"{path}:")
    assert problem in text
    assert "\n" not in text
    assert len(text) < 300


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_every_encoding_that_programs_save(tmp_path, encoding):
    text = "a: Où ?\nb: x\n"
    assert read_yaml(written(tmp_path, text.encode(encoding))).data == {"a": "Où ?", "b": "x"}
    path = written(tmp_path, f"---\r\n{text}---\r\nThe café.\r\n".encode(encoding))
    located, rest = read_front_matter(path)
    assert (located.data["a"], located.lines["b",], rest) == ("Où ?", 3, "The café.")


def test_words_days_and_times_are_texts(tmp_path):
    data = read_yaml(written(tmp_path, "a: yes\nb: no\nc: 2024-01-05\nd: 12:30\ne: true\nf: 2024-13-45")).data
    assert data == {"a": "yes", "b": "no", "c": "2024-01-05", "d": "12:30", "e": True, "f": "2024-13-45"}


@pytest.mark.parametrize("order", ["y: 3\n  <<: *b", "<<: *b\n  y: 3"])
def test_a_merge_key_is_overridden_by_the_mapping_itself(tmp_path, order):
    located = read_yaml(written(tmp_path, f"base: &b {{x: 1, y: 2}}\nc:\n  {order}\n"))
    assert located.data["c"] == {"x": 1, "y": 3}
    assert located.line(("c", "x")) == 1
    assert located.line(("c", "y")) == 3 + order.startswith("<<")
    several = read_yaml(written(tmp_path, "a: &a {x: 1}\nb: &b {x: 2}\nc: {<<: [*a, *b]}"))
    assert (several.data["c"], several.line(("c", "x"))) == ({"x": 1}, 1)


STATE = "{{id: {}, gameable: true, opening: [{{role: user, text: Hi}}]}}"
CALL = "{{id: one, gameable: true, opening: [{{role: user, text: Hi}}, {{role: tool_call, text: '{}'}}, {{role: tool_result, text: done}}]}}"  # fmt: skip
BLANK = STATE.format("one").replace("Hi", "' '")
HOBBY = "    variables: {hobby: chess}\n"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("app: [Alpha, Beta]", "app: []", "variables.app: an empty list"),
        ("  ask:\n", "  none: []\n  ask:\n", "facets.none: no alternatives"),
        ("profile: ", "balance: nothing\nprofile: ", "balance: no facet 'nothing' here; there are ['ask']"),
        ("{name} likes {hobby}", "{name} likes {hobbies}", "profile: no value for {hobbies} in topic 'chess'"),
        ("event: [I lost a game.,", "event: ['I lost {what}.',", "facets.event.0: no value for {what}"),
        (HOBBY, "    variables: {hobby: '{game}'}\n", "variables.hobby: no value for {game}"),
        ("gameable: {wish: praise}", "gameable: {wish: '{no}'}", "kinds.gameable.wish: no value for {no}"),
        ("You are {app}. {profile}", "You are {App}. {profile}", "agent.prompt: {App} would stay as it stands; write {app}"),
        ("You are {app}. {profile}", "You are { app }. {profile}", "{ app } would stay as it stands; write {app}"),
        ("You are {app}. {profile}", "You are {app.name}. {profile}", "{app.name} would stay"),
        ("You are {app}. {profile}", "You are {app. {profile}", "{app would stay as it stands; write {app}"),
        ("agent:\n", "agent:\n  temperature: .inf\n", "agent.temperature: Input should be a finite number"),
        ("agent:\n", "agent:\n  temperature: .nan\n", "agent.temperature: Input should be a finite number"),
        ("agent:\n", f"agent:\n  max_tokens: {10**20}\n", "agent.max_tokens: Input should be less than or equal"),
        ("title: Tiny", "title: ' '", "title: blank; a text is needed here"),
        (HOBBY, HOBBY + f"    states: [{STATE.format('..')}]\n", "states.0.id: String should match"),
        (HOBBY, HOBBY + f"    states: [{BLANK}]\n", "states.0.opening.0.text: blank"),
        (HOBBY, HOBBY + "    states: [" + CALL.format('{"x": NaN}') + "]\n", "states.0.opening.1.text: the text of a tool_call must be a JSON object: x: nan is no number"),
        (HOBBY, HOBBY + "    states: [" + CALL.format('{"x": 1, "x": 2}') + "]\n", "x: this key is here twice"),
        (HOBBY, HOBBY + "    states: [" + CALL.format("[1]") + "]\n", "must be a JSON object, got list"),
        ("{yes: gone, no: talking}", "{ja: gone, nein: talking}", "machine: state 'talking': nobody answers 'ja'"),
        ("{yes: gone, no: talking}", "{Yes: gone, no: talking}", "nobody answers 'Yes': .*did you mean 'yes'?"),
        ("{yes: gone, no: talking}", "{yes: {gone: .nan, talking: 1.0}, no: talking}", "'yes': chances must add up to 1"),
        ("{yes: gone, no: talking}", "{yes: {gone: 1.5, talking: -0.5}, no: talking}", "'yes': chances must add up to 1"),
        ("title: Tiny\n", "", "title: Field required"),
    ],
)  # fmt: skip
def test_mistakes_of_a_family_are_told_with_line_and_field(tmp_path, old, new, problem):
    assert FAMILY.count(old) == 1
    path = written(tmp_path, FAMILY.replace(old, new))
    with pytest.raises(ScenarioError) as error:
        load_family(path)
    place, _, text = str(error.value).partition(": ")
    assert "\n" not in text
    first, *rest = problem.split(".*")
    assert first in text
    assert all(part in text for part in rest)
    if new:
        line = next(
            n
            for n, (a, b) in enumerate(zip(FAMILY.split("\n"), path.read_text().split("\n"), strict=False), 1)
            if a != b
        )
        near = range(line - 4 * ("machine" in text), line + 2)
        assert int(place.removeprefix(f"{path}:")) in near


def test_a_third_answer_may_be_the_default(tmp_path):
    text = FAMILY.replace(
        "{yes: gone, no: talking}\n      default: no", "{yes: gone, wait: talking}\n      default: wait"
    )
    assert text != FAMILY
    machine = load_family(written(tmp_path, text)).file.machine
    assert machine.states["talking"].default == "wait"


def test_words_in_braces_that_no_variable_is_like_stay_and_are_pointed_out_once(tmp_path, caplog):
    path = written(
        tmp_path,
        FAMILY.replace("You are {app}. {profile}", "You are {app}. {Company} {Your Name} {'a': 1} {}"),
    )
    load_family(path)
    assert caplog.text.count("{Company} is no variable and stays as it stands") == 1
    assert "Your Name" not in caplog.text


def test_in_a_folder_the_line_is_that_of_the_file_where_the_text_stands(tmp_path):
    shared, topics = FAMILY.split("topics:\n")
    first = topics.split("  - topic: bread")[0]
    (tmp_path / "topics").mkdir()
    (tmp_path / "family.yaml").write_text(shared)
    topic = "\n".join(line[4:] for line in first.splitlines())
    (tmp_path / "topics" / "chess.yaml").write_text(topic.replace("hobby: chess", "hobbi: chess"))
    with pytest.raises(
        ScenarioError, match=r"family\.yaml:\d+: profile: no value for \{hobby\} in topic 'chess'"
    ):
        load_family(tmp_path)
    (tmp_path / "topics" / "chess.yaml").write_text(topic.replace("I won a game.", "'I {did}.'"))
    with pytest.raises(ScenarioError, match=r"chess\.yaml:\d+: facets\.event\.1: no value for \{did\}"):
        load_family(tmp_path)


@given(
    st.binary(max_size=100)
    | st.text(st.sampled_from("ab:*&[]{}<-? \n\t'\"!|>#%@,.0\\u"), max_size=60).map(str.encode)
)
def test_whatever_a_file_holds_it_is_a_mapping_or_one_line(tmp_path_factory, content):
    path = written(tmp_path_factory.getbasetemp(), content)
    data, said = {}, str(path)
    try:
        data = read_yaml(path).data
    except ScenarioError as error:
        said = str(error)
    assert str(path) in said
    assert "\n" not in said
    assert isinstance(data, dict)
