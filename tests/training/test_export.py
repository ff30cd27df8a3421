"""Selected rows in the formats of hosted services."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.files.strict_json import read_jsonl
from scenarios.files.whole import write_jsonl
from training.export import ExportError, export, in_order, main

SYSTEM = {"role": "system", "content": "You are Alpha."}
TOOL = {
    "type": "function",
    "function": {"name": "search", "description": "d", "parameters": {"type": "object"}},
}


def user(text):
    return {"role": "user", "content": text}


def agent(text, *calls):
    made = [{"type": "function", "id": i, "function": {"name": "search", "arguments": a}} for i, a in calls]
    return {"role": "assistant", "content": text} | ({"tool_calls": made} if made else {})


def result(identifier, text):
    return {"role": "tool", "content": text, "tool_call_id": identifier, "name": "search"}


def row(said, *before, label: bool | None = True, turn=1, epoch=1, sample: str | None = "s1", **more):
    reply = said if isinstance(said, dict) else agent(said)
    prompt = list(before) or [SYSTEM, user("Hi.")]
    known = {"prompt": prompt, "completion": [reply], "label": label, "tools": None, "source": "log"}
    place = {"log": "a.eval", "sample": sample, "epoch": epoch, "turn": turn}
    return known | place | {"score": 5.0 if label else 2.0, "rank": epoch, "group": "s1"} | more


@pytest.fixture
def exported(tmp_path):
    """Write rows, export them; the lines of the file, and what the export says."""

    def run(form, rows):
        write_jsonl(tmp_path / "examples.jsonl", rows)
        told = export(tmp_path / "examples.jsonl", tmp_path / "out.jsonl", form)
        lines = read_jsonl(tmp_path / "out.jsonl")
        assert len(lines) == told.rows
        return lines, told

    return run


class TestSupervised:
    def test_only_the_last_reply_is_trained_on(self, exported):
        before = [SYSTEM, user("Hi."), agent("One."), user("And?")]
        (line,), _ = exported("openai_sft", [row("Two.", *before)])
        assert line == {
            "messages": [
                SYSTEM,
                user("Hi."),
                agent("One.") | {"weight": 0},
                user("And?"),
                agent("Two.") | {"weight": 1},
            ]
        }

    def test_worst_and_unlabelled_rows_are_left_out_and_counted(self, exported):
        rows = [row("a"), row("b", label=False), row("c", label=None), row("d", label=False)]
        lines, told = exported("openai_sft", rows)
        assert [line["messages"][-1]["content"] for line in lines] == ["a"]
        assert told.left_out == {"worst": 2, "unlabelled": 1}
        assert told.lines()[0] == "1 written; rows left out: unlabelled 1, worst 2"

    def test_tool_calls_are_json_strings_and_lose_nothing(self, exported):
        first, second = {"query": 'a "room" für 2', "deep": {"n": [1, None]}}, {"query": "b"}
        before = [user("Hi."), agent("", ("c1", first), ("c2", second)), result("c1", "A"), result("c2", "B")]
        (line,), _ = exported("openai_sft", [row("Done.", *before, tools=[TOOL])])
        calls = line["messages"][1]["tool_calls"]
        assert "content" not in line["messages"][1]
        assert [c["id"] for c in calls] == ["c1", "c2"]
        assert [c["function"]["arguments"] for c in calls] == [
            json.dumps(first, ensure_ascii=False),
            '{"query": "b"}',
        ]
        assert line["messages"][2] == {"role": "tool", "content": "A", "tool_call_id": "c1"}
        assert line["tools"] == [TOOL]

    def test_a_reply_that_is_a_call_is_trained_on(self, exported):
        (line,), _ = exported("openai_sft", [row(agent("", ("c1", {"query": "x"})), tools=[TOOL])])
        assert line["messages"][-1]["weight"] == 1
        assert line["messages"][-1]["tool_calls"][0]["function"]["arguments"] == '{"query": "x"}'

    def test_reasoning_is_warned_of_where_the_format_cannot_hold_it(self, exported):
        rows = [row(agent("Yes.") | {"reasoning_content": "Well."}), row("No.")]
        (line, _), told = exported("openai_sft", rows)
        assert line["messages"][-1] == agent("Yes.") | {"weight": 1}
        assert any("1 replies have reasoning" in w for w in told.warnings)
        (line, _), told = exported("together", rows)
        assert line["messages"][-1]["reasoning_content"] == "Well."
        assert told.warnings == []

    @pytest.mark.parametrize(("count", "warned"), [(9, True), (10, False)])
    def test_too_few_for_openai_is_warned_of(self, exported, count, warned):
        _, told = exported("openai_sft", [row(f"r{i}") for i in range(count)])
        assert any("fewer than 10" in w for w in told.warnings) is warned

    def test_together_gives_each_message_a_weight_and_wants_the_user_first(self, exported):
        rows = [row("One."), row("Two.", SYSTEM, agent("Scripted."), user("Hi."))]
        (line,), told = exported("together", rows)
        assert [(m["role"], m["weight"]) for m in line["messages"]] == [
            ("system", 0),
            ("user", 0),
            ("assistant", 1),
        ]
        assert told.left_out == {"role_order": 1}
        assert len(exported("openai_sft", rows)[0]) == 2

    def test_plain_messages_keep_all_rows_as_they_are(self, exported):
        call = agent("", ("c1", {"query": "x"})) | {"reasoning_content": "Hm."}
        rows = [row(call, tools=[TOOL]), row("b", label=False), row("c", label=None)]
        lines, told = exported("messages", rows)
        assert lines[0] == {"messages": [SYSTEM, user("Hi."), call], "label": True, "tools": [TOOL]}
        assert [line["label"] for line in lines] == [True, False, None]
        assert not told.left_out


class TestPairs:
    def test_best_and_worst_of_one_state_meet_where_they_first_differ(self, exported):
        then = [SYSTEM, user("Hi."), agent("Same."), user("So?")]
        rows = [
            row("Same.", epoch=1),
            row("Good.", *then, epoch=1, turn=2),
            row("Later.", *then, agent("Good."), user("x"), epoch=1, turn=3),
            row("Same.", epoch=2, label=False),
            row("Bad.", *then, epoch=2, turn=2, label=False),
        ]
        (line,), told = exported("openai_dpo", rows)
        assert line == {
            "input": {"messages": then},
            "preferred_output": [agent("Good.")],
            "non_preferred_output": [agent("Bad.")],
        }
        assert told.left_out == {"around_the_pair": 3}

    def test_the_best_meets_the_worst(self, exported):
        # ranks 1 and 2 are best, 7 and 8 worst
        rows = [row(f"r{e}", epoch=e, label=e < 5, score=9.0 - e) for e in (7, 1, 8, 2)]
        lines, _ = exported("openai_dpo", rows)
        met = {(p["preferred_output"][0]["content"], p["non_preferred_output"][0]["content"]) for p in lines}
        assert met == {("r1", "r8"), ("r2", "r7")}

    @pytest.mark.parametrize(
        ("other", "reason", "count"),
        [
            (row("b", epoch=2, label=False, sample="s2"), "no_partner", 2),
            (row("b", user("Other."), epoch=2, label=False), "other_prompt", 2),
            (row("a", epoch=2, label=False), "same_reply", 2),
            (row("b", epoch=2, label=False, score=5.0), "tie", 2),
            (row("b", epoch=2, label=False, tools=[TOOL]), "other_prompt", 2),
            (row("b", epoch=2, label=None), "unlabelled", 1),
        ],
    )
    def test_what_makes_no_pair_is_counted(self, exported, other, reason, count):
        pair = [row("x", sample="s9"), row("y", sample="s9", epoch=2, label=False)]
        lines, told = exported("openai_dpo", [row("a"), other, *pair])
        assert [line["preferred_output"][0]["content"] for line in lines] == ["x"]
        assert told.left_out[reason] == count
        assert told.left_out.total() == 2

    def test_ids_of_tool_calls_make_no_difference(self, exported):
        def after(identifier):
            return [user("Hi."), agent("", (identifier, {"query": "x"})), result(identifier, "A")]

        rows = [row("Good.", *after("c1")), row("Bad.", *after("c9"), epoch=2, label=False)]
        (line,), _ = exported("openai_dpo", rows)
        assert line["input"]["messages"][1]["tool_calls"][0]["id"] == "c1"

    def test_static_rows_meet_by_their_prompt(self, exported):
        static = {"sample": None, "source": "hh-rlhf", "log": None, "epoch": None, "turn": None}
        empty = {"score": None, "rank": None}
        rows = [
            row("good", user("Q1"), **static, **empty),
            row("bad", user("Q1"), label=False, **static, **empty),
            row("alone", user("Q2"), **static, **empty),
        ]
        (line,), told = exported("openai_dpo", rows)
        assert line["input"]["messages"] == [user("Q1")]
        assert told.left_out == {"no_partner": 1}


class TestOrder:
    CALLS = agent("", ("c1", {}), ("c2", {}))

    @pytest.mark.parametrize(
        ("messages", "openai", "strict"),
        [
            ([SYSTEM, user("a"), agent("b")], True, True),
            ([user("a"), agent("b")], True, True),
            ([SYSTEM, agent("a"), user("b"), agent("c")], True, False),
            ([user("a"), agent("b"), agent("c")], True, False),
            ([user("a"), user("b"), agent("c")], True, False),
            ([user("a"), CALLS, result("c2", "x"), result("c1", "y"), agent("b")], True, True),
            ([user("a"), CALLS, result("c1", "y"), agent("b")], False, False),
            ([user("a"), CALLS], True, True),
            ([user("a"), result("c1", "y"), agent("b")], False, False),
            ([user("a"), SYSTEM, agent("b")], False, False),
            ([user("a"), agent("b"), user("c")], False, False),
            ([SYSTEM], False, False),
        ],
    )
    def test_roles(self, messages, openai, strict):
        assert in_order(messages, alternate=False) is openai
        assert in_order(messages, alternate=True) is strict

    @given(st.lists(st.sampled_from(["system", "user", "assistant"]), max_size=8))
    def test_what_alternates_is_also_in_order(self, roles):
        messages = [{"role": role, "content": "x"} for role in roles]
        if in_order(messages, alternate=True):
            assert in_order(messages, alternate=False)
            spoken = [role for role in roles if role != "system"]
            assert spoken == ["user", "assistant"] * (len(spoken) // 2)


class TestCommand:
    def test_the_file_may_come_first(self, tmp_path, capsys):
        write_jsonl(tmp_path / "e.jsonl", [row(f"r{i}") for i in range(10)])
        out = tmp_path / "o.jsonl"
        assert main([str(tmp_path / "e.jsonl"), "--out", str(out), "--format", "openai_sft"]) == 0
        assert capsys.readouterr().out == f"{out}:\n10 written\n"

    @pytest.mark.parametrize(
        ("content", "form", "message"),
        [
            (None, "openai_sft", "no such file"),
            ("{oops\n", "openai_sft", "e.jsonl:1: not JSON"),
            ('{"text": "x"}\n', "openai_sft", "row 1 has no 'prompt'"),
            ('{"prompt": [], "completion": [], "label": true}\n', "messages", "row 1: completion: expected"),
            ("", "messages", "nothing to write as messages: no rows"),
            (
                json.dumps(row("a", label=False)),
                "openai_sft",
                "nothing to write.*worst 1; it needs rows of best",
            ),
            (json.dumps(row("a")), "openai_dpo", "no_partner 1.*algorithm=dpo"),
        ],
    )
    def test_mistakes(self, tmp_path, capsys, content, form, message):
        path, out = tmp_path / "e.jsonl", tmp_path / "o.jsonl"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ExportError, match=message):
            export(path, out, form)
        assert main([str(path), "--out", str(out), "--format", form]) == 1
        assert capsys.readouterr().err
        assert not out.exists()

    def test_an_unknown_option_or_format(self, tmp_path, capsys):
        assert main(["x.jsonl", "--ot", "y"]) == 2
        assert "did you mean '--out'" in capsys.readouterr().err
        assert main(["x.jsonl", "--out", "y", "--format", "csv"]) == 2
        assert "openai_sft" in capsys.readouterr().err
