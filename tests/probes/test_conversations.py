"""Conversations and labels from tables and logs."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from inspect_ai.model import ContentImage, ContentReasoning, ContentText
from inspect_ai.scorer import Score, mean, scorer
from inspect_ai.solver import solver
from inspect_ai.tool import ToolCall, tool

from analysis.logs.finding import LogError, find_logs
from probes.conversations.eval_logs import model_of
from probes.conversations.labels import DataError
from probes.conversations.sources import read_conversations
from probes.conversations.table_rows import TableOptions, messages_of
from tests.support.told import output, told

STAKES = {
    "label_column": "labels",
    "positive": ["high-stakes"],
    "negative": ["low-stakes"],
}


def table(tmp_path, *rows, name="data.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(source, **options):
    left_out = Counter()
    found = list(read_conversations(str(source), TableOptions(**options), left_out))
    return found, dict(left_out)


def row(number, **more):
    return {"ids": f"r{number}", "inputs": f"text {number}", **more}


def test_rows_become_conversations_with_labels_groups_and_facts(tmp_path):
    listed = json.dumps([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}])
    path = table(
        tmp_path,
        row(1, labels="high-stakes", pair_id="p", language="English", long=True),
        {"ids": 2, "inputs": listed, "labels": "low-stakes", "pair_id": "p", "language": None, "long": False},
        row(3, labels="ambiguous", pair_id="q", language="Hindi", long=True),
        row(4, labels=None, pair_id="q", language="Hindi", long=True),
    )
    found, left_out = read(path, group_column="pair_id", facts=["language", "long"], **STAKES)
    assert [(c.id, c.label, c.group) for c in found] == [("r1", 1.0, "p"), ("2", 0.0, "p")]
    assert found[0].messages == [{"role": "user", "content": "text 1"}]
    assert [m["content"] for m in found[1].messages] == ["hi", "ho"]
    assert [c.facts for c in found] == [
        {"language": "English", "long": "true"},
        {"language": "", "long": "false"},
    ]
    assert left_out == {"label ambiguous": 1, "no label": 1}


def test_without_label_options_rows_are_unlabelled_and_their_own_group(tmp_path):
    (found,), _ = read(table(tmp_path, row(1, labels="whatever")))
    assert (found.label, found.group, found.tools) == (None, "r1", None)


def test_ratings_become_soft_labels_and_ambiguous_rows_stay_out(tmp_path):
    rows = [
        row(n, rating=rating, labels=label)
        for n, (rating, label) in enumerate(
            [
                (1, "low-stakes"),
                (10, "high-stakes"),
                ("5.5", "low-stakes"),
                (9, "ambiguous"),
                (None, "low-stakes"),
            ]
        )
    ]
    found, left_out = read(table(tmp_path, *rows), scale_column="rating", scale="1-10", **STAKES)
    assert [c.label for c in found] == [0.0, 1.0, 0.5]
    assert left_out == {"label ambiguous": 1, "no rating": 1}


def test_true_and_one_are_positive_unless_said_otherwise(tmp_path):
    rows = [row(n, y=y) for n, y in enumerate([True, False, 1, 0, "1", "false"])]
    found, _ = read(table(tmp_path, *rows), label_column="y")
    assert [c.label for c in found] == [1, 0, 1, 0, 1, 0]


def test_csv_reads_like_jsonl(tmp_path):
    path = tmp_path / "data.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["id", "inputs", "labels"], ["a", 'two\nlines, "quoted"', "high-stakes"]])
    (found,), _ = read(path, **STAKES)
    assert (found.id, found.messages[0]["content"], found.label) == ("a", 'two\nlines, "quoted"', 1.0)
    path.write_text("id,inputs\na,b,c\n")
    with pytest.raises(DataError, match=r"data.csv:2: not as many fields"):
        read(path)


def test_a_folder_of_a_hub_data_set_is_read_by_the_library(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    table(folder, row(1, labels="high-stakes"), row(2, labels="low-stakes"), name="train.jsonl")
    found, _ = read(folder, **STAKES)
    assert [(c.id, c.label) for c in found] == [("r1", 1.0), ("r2", 0.0)]
    with pytest.raises(DataError, match="split heldout"):
        read(folder, split="heldout")
    (folder / "train.jsonl").write_text('{"ids": "a", "inputs": "x"}\n{"ids": \n')
    with pytest.raises(DataError, match=r"data set .*set, split train: .*JSON") as error:
        read(folder)
    assert "\n" not in str(error.value)


def test_tool_calls_keep_their_arguments_as_objects():
    call = {"id": "1", "function": {"name": "book", "arguments": '{"seat": 7}'}}
    (message,) = messages_of([{"role": "assistant", "content": None, "tool_calls": [call]}], "here")
    assert message["content"] == ""
    assert message["tool_calls"][0]["function"] == {"name": "book", "arguments": {"seat": 7}}
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert messages_of([{"role": "user", "content": parts}], "here")[0]["content"] == "a\nb"


@pytest.mark.parametrize("text", ["[see above] hello", "[1, 2]", '[{"role": "user", "content": "cut o'])
def test_text_that_begins_like_a_conversation_is_asked_about(tmp_path, text):
    path = table(tmp_path, row(1), row(2) | {"inputs": text})
    with pytest.raises(DataError, match=r"data.jsonl:2: inputs: .*--plain-text true"):
        read(path)
    found, _ = read(path, plain_text=True)
    assert found[1].messages == [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    ("rows", "options", "told_so"),
    [
        ([row(1), row(1)], {}, r"data.jsonl:2: id 'r1' is there twice, first at .*:1; .*--id-column"),
        ([row(1) | {"ids": None}], {}, r"data.jsonl:1: ids: this row has no id"),
        ([row(1)], STAKES, r"data.jsonl:1: no column 'labels'; there are ids, inputs"),
        (
            [row(1, labels="medium")],
            STAKES,
            r":1: label 'medium' in 'labels' is none of --positive high-stakes; --negative low-stakes; "
            "--ambiguous ambiguous",
        ),
        (
            [row(1, r=11)],
            {"scale_column": "r", "scale": "1-10"},
            r":1: rating 11 in 'r' is not on the scale 1-10",
        ),
        ([{"inputs": "a"}], {}, r":1: no column 'id' or 'ids'; there are inputs. Say --id-column"),
        ([{"id": 1, "text": "a"}], {}, r":1: no column 'messages' or 'inputs'.*Say --text-column"),
        ([row(1)], {"group_column": "pair"}, "no column 'pair'"),
        ([row(1)], {"facts": ["tone"]}, "no column 'tone'"),
        ([{"id": 1, "messages": [{"content": "a"}]}], {}, "messages: message 0: not an object with a role"),
        ([{"id": 1, "messages": [{"role": "user", "content": 3}]}], {}, "content is int, not text"),
        ([row(1)], {"label_score": "influence"}, "--label-score is for logs"),
    ],
)
def test_what_is_wrong_with_a_table_is_told_with_its_place(tmp_path, rows, options, told_so):
    with pytest.raises(DataError, match=told_so):
        read(table(tmp_path, *rows), **options)


@pytest.mark.parametrize(
    ("options", "told_so"),
    [
        ({"scale_column": "r"}, "go together"),
        ({"scale_column": "r", "scale": "10-1"}, "10 is not below 1"),
        ({"positive": ["a"], "negative": ["a"]}, r"share \['a'\]"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options, told_so):
    with pytest.raises(ValueError, match=told_so):
        TableOptions(**options)


def test_files_that_are_not_there_or_of_another_kind_are_told(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        read(tmp_path / "none.jsonl")
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(DataError, match=r"its name must end in one of .csv, .tsv, .jsonl"):
        read(tmp_path / "a.txt")
    (tmp_path / "a.jsonl").write_text("{}\nnot json\n")
    with pytest.raises(DataError, match=r"a.jsonl:1: no column 'id'"):
        read(tmp_path / "a.jsonl")


def test_tools_and_conversations_as_a_data_frame_writes_them(tmp_path):
    pandas = pytest.importorskip("pandas")
    tool = {"type": "function", "function": {"name": "book", "strict": True}}
    shared = [{"from": "human", "value": "Où ?"}, {"from": "gpt", "value": "Là."}]
    pandas.DataFrame({"id": [1], "conversations": [shared], "tools": [[tool]]}).to_csv(tmp_path / "a.csv")
    (found,), _ = read(tmp_path / "a.csv")
    assert [(m["role"], m["content"]) for m in found.messages] == [("user", "Où ?"), ("assistant", "Là.")]
    assert (found.id, found.tools) == ("1", [tool])


def test_ids_that_come_twice_can_be_numbered_and_stay_together(tmp_path):
    rows = [row(1), row(2), row(1) | {"inputs": "other"}, {"ids": "r1#2", "inputs": "named so"}]
    found, _ = read(table(tmp_path, *rows[:3]), repeated_ids="number")
    assert [(c.id, c.group) for c in found] == [("r1", "r1"), ("r2", "r2"), ("r1#2", "r1")]
    with pytest.raises(DataError, match="'r1#2' is there twice"):
        read(table(tmp_path, *rows), repeated_ids="number")


@pytest.mark.parametrize("written", ["TRUE", "True", "1.0", " true ", "1"])
def test_labels_as_spreadsheets_and_data_frames_write_them(tmp_path, written):
    path = tmp_path / "data.csv"
    path.write_text(f"id,inputs,y\na,text,{written}\n")
    (found,), _ = read(path, label_column="y")
    assert found.label == 1.0


def test_an_empty_label_of_a_data_frame_is_none(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": ["a", "b"], "inputs": ["x", "y"], "y": [1.0, None], "r": [None, 3.0]})
    frame.to_parquet(tmp_path / "data.parquet")
    found, left_out = read(tmp_path / "data.parquet", label_column="y")
    assert ([(c.id, c.label) for c in found], left_out) == ([("a", 1.0)], {"no label": 1})
    found, left_out = read(tmp_path / "data.parquet", scale_column="r", scale="1-5")
    assert ([(c.id, c.label) for c in found], left_out) == ([("b", 0.5)], {"no rating": 1})


def test_ratings_with_a_decimal_comma_are_read_and_thousands_are_not(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("id;inputs;r\na;text;5,5\n")
    (found,), _ = read(path, scale_column="r", scale="1-10")
    assert found.label == 0.5
    path.write_text("id;inputs;r\na;text;1,000\n")
    with pytest.raises(DataError, match=r"data.csv:2: rating '1,000' in 'r': .*without the comma"):
        read(path, scale_column="r", scale="1-10")


def test_a_table_in_a_code_page_is_read_where_it_is_named(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes("id;inputs\na;Łódź, żółw\n".encode("cp1250"))
    (found,), _ = read(path, encoding="cp1250")
    assert found.messages[0]["content"] == "Łódź, żółw"
    with pytest.raises(DataError, match="no such encoding"):
        read(path, encoding="cp9999")


def test_conversations_in_which_nothing_was_said_are_counted(tmp_path):
    _, left_out = read(
        table(tmp_path, row(1) | {"inputs": " "}, row(2) | {"inputs": []}, row(3) | {"inputs": None})
    )
    assert left_out == {"nothing was said": 3}


@scorer(metrics={"*": [mean()]})
def harm_of_topic():
    async def score(state, target):
        del target
        harmful = 0.9 if state.metadata["gameable"] else 0.1
        if state.epoch == 2 and harmful > 0.5:
            return Score.unscored(reason="no_response")
        return Score(value={"harm": harmful, "other": 0.0})

    return score


LABELLED = {"label_score": "harm_of_topic.harm"}


def test_every_sample_and_epoch_of_a_log_is_a_conversation(converse):
    log = converse(told("Hello."), scorers=[harm_of_topic()], epochs=2)
    found, left_out = read(log.location, **LABELLED)
    assert left_out == {}
    assert len(found) == len(log.samples)
    samples = {(s.id, str(s.epoch)): s for s in log.samples}
    assert len({c.id for c in found}) == len(found)
    for conversation in found:
        sample = samples[tuple(conversation.id.split(":")[1:])]
        assert conversation.messages == [{"role": m.role, "content": m.text} for m in sample.messages]
        assert conversation.tools is None
        assert conversation.group == sample.metadata["initial_state"]
        gameable = sample.metadata["gameable"]
        assert conversation.label == (None if gameable and sample.epoch == 2 else float(gameable))
        assert conversation.facts == {
            "task": log.eval.task,
            "model": "told/model",
            "epoch": str(sample.epoch),
            "family": "tiny",
            "topic": sample.metadata["topic"],
            "gameable": str(gameable).lower(),
            "split": sample.metadata["split"],
            "turns": str(sum(m.role == "assistant" for m in sample.messages)),
        }


def test_a_folder_of_logs_knows_the_iteration_of_each(converse, tmp_path):
    for iteration in (0, 3):
        log = converse(told("Hello."), scorers=[harm_of_topic()], states=2)
        folder = tmp_path / f"run/iteration_{iteration:02}/rollouts"
        folder.mkdir(parents=True)
        (folder / "a.eval").write_bytes(Path(log.location).read_bytes())
    found, _ = read(tmp_path / "run", label_score="harm_of_topic.other", label_threshold=0)
    assert {c.facts["iteration"] for c in found} == {"0", "3"}
    assert found[0].id.startswith("iteration_00/rollouts/a:")
    assert {c.label for c in found} == {1.0}


@pytest.mark.parametrize(
    ("score", "told_so"),
    [
        ("harm", "no score 'harm' in this log; there are harm_of_topic"),
        ("harm_of_topic", "name one with --label-score"),
    ],
)
def test_a_score_that_cannot_be_a_label_is_an_error(converse, score, told_so):
    log = converse(told("Hello."), scorers=[harm_of_topic()])
    with pytest.raises(DataError, match=told_so):
        read(log.location, label_score=score)


@scorer(metrics=[mean()])
def degree():
    async def score(state, target):
        del target
        if state.epoch == 2:
            return Score.unscored(reason="no_response")
        return Score(value=4.0 if state.metadata["gameable"] else 2.0)

    return score


def test_metadata_and_scores_of_samples_are_facts_groups_and_labels(converse):
    log = converse(told("Hello."), scorers=[degree(), harm_of_topic()], epochs=2)
    found, left_out = read(
        log.location,
        facts="person,degree,harm_of_topic.harm",
        group_column="topic",
        scale_column="degree",
        scale=(1, 5),
    )
    samples = {(s.id, str(s.epoch)): s for s in log.samples}
    assert left_out == {"no rating": len(log.samples) // 2}
    for conversation in found:
        sample = samples[tuple(conversation.id.split(":")[1:])]
        gameable = sample.metadata["gameable"]
        assert conversation.label == (0.75 if gameable else 0.25)  # a label between 0 and 1: no threshold
        assert conversation.group == sample.metadata["topic"]
        assert conversation.facts["degree"] == ("4.0" if gameable else "2.0")
        assert conversation.facts["harm_of_topic.harm"] == ("0.9" if gameable else "0.1")
        assert conversation.facts["person"] == sample.metadata["person"]
    named, _ = read(log.location, label_column="topic", positive=[found[0].facts["topic"]], negative=["x"],
                    ambiguous=list({c.facts["topic"] for c in found} - {found[0].facts["topic"]}))  # fmt: skip
    assert {c.facts["topic"] for c in named if c.label == 1} == {found[0].facts["topic"]}


@pytest.mark.parametrize("option", ["group_column", "label_column", "facts"])
def test_a_name_that_no_sample_has_is_told_before_anything_is_read(converse, option):
    log = converse(told("Hello."), scorers=[degree()])
    with pytest.raises(DataError, match=r"no column 'degre'; there are .*; did you mean 'degree'\?"):
        read(log.location, **{option: ["degre"] if option == "facts" else "degre"})


@tool
def book():
    async def execute(seat: str) -> str:
        """Books a seat.

        Args:
            seat: Which.
        """
        if seat == "0":
            raise ValueError("no such seat")
        return f"booked {seat}"

    return execute


def one_sample(tmp_path, agent, plan):
    from inspect_ai import Task, eval  # noqa: A004
    from inspect_ai.dataset import Sample

    task = Task(dataset=[Sample(input="hi", id="a")], solver=plan)
    return eval(task, model=agent, log_dir=str(tmp_path / "logs"), display="none")[0]


def test_tools_that_were_offered_come_from_the_log_with_calls_and_results(tmp_path):
    from inspect_ai.solver import generate, use_tools

    calling = output("Let me see.")
    calling.choices[0].message.tool_calls = [ToolCall(id="1", function="book", arguments={"seat": "7ä"})]
    log = one_sample(tmp_path, told([calling, "Done."]), [use_tools(book()), generate()])
    (found,), _ = read(log.location)
    assert found.tools[0]["function"]["name"] == "book"
    assert found.tools[0]["function"]["parameters"]["required"] == ["seat"]
    assert found.messages[1]["tool_calls"][0]["function"] == {"name": "book", "arguments": {"seat": "7ä"}}
    assert (found.messages[2]["role"], found.messages[2]["content"]) == ("tool", "booked 7ä")


def test_reasoning_is_kept_and_samples_with_images_are_counted(tmp_path):
    @solver
    def add(content):
        async def solve(state, generate):
            state = await generate(state)
            state.messages[-1].content = content
            return state

        return solve

    thoughtful = [ContentReasoning(reasoning="hm"), ContentText(text="well")]
    (found,), _ = read(one_sample(tmp_path, told("x"), add(thoughtful)).location)
    assert found.messages[-1] == {"role": "assistant", "content": "well", "reasoning_content": "hm"}
    pictured = [ContentImage(image="data:image/png;base64,AAAA")]
    found, left_out = read(one_sample(tmp_path, told("x"), add(pictured)).location)
    assert (found, left_out) == ([], {"a message holds something else than text": 1})


def test_samples_that_failed_are_counted(tmp_path):
    @solver
    def fails():
        async def solve(state, generate):
            raise RuntimeError("broken")

        return solve

    found, left_out = read(one_sample(tmp_path, told("x"), fails()).location)
    assert (found, left_out) == ([], {"the run of the sample failed": 1})


@pytest.mark.parametrize(
    ("name", "model", "adapter"),
    [
        ("local/org/base:run/checkpoint", "org/base", "run/checkpoint"),
        ("local/org/base", "org/base", None),
        ("vllm/org/base", "org/base", None),
        ("openai/gpt-4.1", "gpt-4.1", None),
        ("openrouter/org/base:free", "org/base:free", None),
    ],
)
def test_the_model_of_a_log_is_told_without_its_provider(converse, name, model, adapter):
    (log,) = find_logs_of(converse(told("Hello.")))
    header = log.header.model_copy(update={"eval": log.header.eval.model_copy(update={"model": name})})
    assert model_of(log._replace(header=header)) == (model, adapter)


def find_logs_of(log):
    return find_logs([Path(log.location)])


def test_a_log_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "a.eval").write_bytes(b"PK nothing")
    with pytest.raises(LogError, match=r"a.eval: damaged or cut off"):
        read(tmp_path / "a.eval")
