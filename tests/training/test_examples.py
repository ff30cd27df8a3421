"""Rows of training data: exactly what the agent saw and said, and nothing that anybody else did."""

import asyncio
import json
from collections import Counter

import pytest
from inspect_ai import Task, eval  # noqa: A004
from inspect_ai.dataset import Sample
from inspect_ai.event import ModelEvent
from inspect_ai.log import EvalLog, read_eval_log, write_eval_log
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageTool,
    ChatMessageUser,
    ContentImage,
    ContentReasoning,
    ContentText,
    messages_to_openai,
)
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import ToolCall, ToolCallError, tool

from providers.chat.errors import NotTextError
from providers.chat.messages import chat_message
from scenarios.loader import load_family
from scenarios.samples import scenario_dataset
from scorers.influence import influence
from scorers.transition import transition_judge
from scorers.veto import veto_judge
from solvers.booking_desk import booking_desk
from solvers.conversation import conversation
from solvers.veto import Veto
from tests.support.conversations import the_samples
from tests.support.told import asked, output, told
from training.examples.from_logs import ExamplesError, Mark, rows_of_log

BEST = Mark(True, 7.5, 1, "chess-1")


def rows_and_counts(log: EvalLog, mark: Mark = BEST, **arguments):
    """Rows of all conversations of a log, and what was left out."""
    left_out = Counter()
    chosen = {(str(s.id), s.epoch): mark for s in the_samples(log)}
    return list(rows_of_log(log.location, chosen, left_out=left_out, **arguments)), left_out


def shown(message):
    """A message as a test writes it down: who, and what."""
    calls = [(c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls", [])]
    return (message["role"], message["content"], *([calls] if calls else []))


def one_call(identifier, name, arguments, text=""):
    answer = output(text)
    answer.choices[0].message.tool_calls = [ToolCall(id=identifier, function=name, arguments=arguments)]
    answer.choices[0].stop_reason = "tool_calls"
    return answer


class TestConversations:
    def test_several_turns_give_a_row_each_with_all_that_came_before(self, converse):
        agent, user = told(["One.", "Two.", "Three."]), told(["Hm.", "Go on."])
        rows, left_out = rows_and_counts(
            converse(agent, turns=3, states=1, gameable=1.0, roles={"user": user})
        )
        system, opening = (m.text for m in asked(agent)[0])
        before = [("system", system), ("user", opening)]
        assert [[shown(m) for m in row["prompt"]] for row in rows] == [
            before,
            [*before, ("assistant", "One."), ("user", "Hm.")],
            [*before, ("assistant", "One."), ("user", "Hm."), ("assistant", "Two."), ("user", "Go on.")],
        ]
        assert [row["completion"] for row in rows] == [
            [{"role": "assistant", "content": text}] for text in ("One.", "Two.", "Three.")
        ]
        assert [row["turn"] for row in rows] == [1, 2, 3]
        assert not left_out

    @pytest.mark.parametrize("judged", ["agent", "user"])
    def test_users_and_judges_are_in_no_completion(self, converse, judged):
        log = converse(
            told("Agent."),
            judged=judged,
            scorers=[influence()],
            roles={"user": told("User."), "transition": told({"no": 1.0}), "influence": told({"0": 1.0})},
        )
        rows, _ = rows_and_counts(log)
        assert [row["completion"][0]["content"] for row in rows] == ["Agent."] * 4
        calls = [e for s in the_samples(log) for e in s.events if isinstance(e, ModelEvent)]
        assert {e.output.completion for e in calls} > {"Agent.", "User."}
        assert len(calls) > len(rows)

    def test_long_words_are_whole(self, converse):
        # Inspect keeps long texts apart from the events
        words = "A long reply. " * 50
        rows, _ = rows_and_counts(converse(told(words), turns=2, states=1, gameable=1.0))
        assert [row["completion"][0]["content"] for row in rows] == [words, words]
        assert shown(rows[1]["prompt"][2]) == ("assistant", words)

    def test_a_reply_that_was_taken_back_is_nowhere(self, converse):
        log = converse(
            told(["Poison one.", "Poison two.", "Fine.", "Also fine."]),
            turns=2,
            states=1,
            gameable=1.0,
            veto=Veto(veto_judge(), 0.5, redraws=2),
            roles={"veto": told(lambda p: {"1": 1.0} if "Poison" in p[-1].text else {"0": 1.0})},
        )
        rows, left_out = rows_and_counts(log)
        assert [row["completion"][0]["content"] for row in rows] == ["Fine.", "Also fine."]
        assert "Poison" not in json.dumps(rows)
        assert not left_out

    def test_a_conversation_that_the_veto_ended_at_once_has_no_rows_and_is_counted(self, converse):
        log = converse(
            told("Poison."),
            states=1,
            gameable=1.0,
            veto=Veto(veto_judge(), 0.5),
            roles={"veto": told({"1": 1.0})},
        )
        assert rows_and_counts(log) == ([], Counter(no_generation=1))

    def test_what_the_scenario_says_in_the_agents_name_is_seen_and_no_row(self, converse):
        log = converse(told("Bye."), turns=1, states=1, gameable=1.0, of=load_family("farewell"))
        rows, _ = rows_and_counts(log)
        assert len(rows) == len(the_samples(log))
        for row, sample in zip(rows, the_samples(log), strict=True):
            assert isinstance(sample.input, list)
            scripted = [(m.role, m.text) for m in sample.input if m.role != "system"]
            assert "assistant" in [role for role, _ in scripted]
            assert [shown(m) for m in row["prompt"] if m["role"] != "system"] == scripted
            assert row["completion"] == [{"role": "assistant", "content": "Bye."}]
            assert row["turn"] == 1

    def test_provenance(self, converse, tmp_path):
        log = converse(states=1, turns=1, gameable=1.0, task_arguments={"name": "little"}, epochs=2)
        rows, _ = rows_and_counts(log, run=tmp_path, checkpoint="iteration_00/checkpoint")
        name = str(the_samples(log)[0].id)
        known = {
            "label": True,
            "tools": None,
            "source": "log",
            "sample": name,
            "turn": 1,
            "score": 7.5,
            "rank": 1,
            "group": "chess-1",
            "checkpoint": "iteration_00/checkpoint",
        }
        assert [{k: row[k] for k in known} for row in rows] == [known, known]
        assert [row["epoch"] for row in rows] == [1, 2]
        assert {row["log"] for row in rows} == {f"logs/{log.location.rpartition('/')[2]}"}

    def test_rows_come_in_the_order_of_the_selection_with_its_marks(self, converse, monkeypatch):
        monkeypatch.setattr("analysis.logs.samples.MOST_AT_ONCE", 5)
        log = converse(turns=1, states=2, epochs=6)
        places = sorted(((str(s.id), s.epoch) for s in the_samples(log)), reverse=True)
        marks = [Mark(i % 2 == 0, float(i), i, None) for i in range(12)]
        rows = list(rows_of_log(log.location, dict(zip(places, marks, strict=True))))
        assert [(row["sample"], row["epoch"]) for row in rows] == places
        assert [(row["label"], row["score"], row["rank"], row["group"]) for row in rows] == marks


class TestTools:
    @pytest.fixture
    def booked(self, tmp_path):
        def run(agent, veto=None, roles=None):
            dataset = scenario_dataset(load_family("booking"), topics="hotel", states=1, gameable=1.0)
            desk = (dataset[0].metadata or {})["desk"]
            desk["failure"], desk["offers"] = "sold_out", ["Room One", "Room Two"]
            (log,) = eval(
                Task(
                    dataset=dataset,
                    solver=[booking_desk(), conversation(transition_judge(), turns=2, veto=veto)],
                ),
                model=agent,
                model_roles={"user": told("And now?"), "transition": told({"no": 1.0})} | (roles or {}),
                log_dir=str(tmp_path),
                display="none",
                log_realtime=False,
            )
            return log, dataset[0]

        return run

    def test_calls_results_and_tools_are_kept_as_they_were(self, booked):
        said = [
            one_call("c1", "search", {"query": "a room"}, "I look."),
            one_call("c2", "book", {"offer": "B", "people": 3}),
            output("It is sold out."),
            output("Sorry."),
        ]
        log, sample = booked(told(said))
        rows, left_out = rows_and_counts(log)
        opening = [(m.role, m.text) for m in sample.input]
        search = ("assistant", "I look.", [("search", {"query": "a room"})])
        book = ("assistant", "", [("book", {"offer": "B", "people": 3})])
        after = [*opening, search, ("tool", "A: Room One\nB: Room Two")]
        assert [[shown(m) for m in row["prompt"]] for row in rows[:2]] == [opening, after]
        assert [shown(m) for m in rows[2]["prompt"][:-1]] == [*after, book]
        assert rows[2]["prompt"][-1]["role"] == "tool"
        assert "Room Two is sold out" in rows[2]["prompt"][-1]["content"]
        assert [shown(row["completion"][0]) for row in rows] == [
            search,
            book,
            ("assistant", "It is sold out."),
            ("assistant", "Sorry."),
        ]
        assert shown(rows[3]["prompt"][-1]) == ("user", "And now?")
        result = rows[1]["prompt"][-1]
        assert (result["tool_call_id"], result["name"]) == ("c1", "search")
        assert rows[1]["completion"][0]["tool_calls"][0]["id"] == "c2"
        names = [t["function"]["name"] for t in rows[0]["tools"]]
        assert set(names) == {"search", "book", "cancel", "bookings"}
        assert all(row["tools"] == rows[0]["tools"] for row in rows)
        book_schema = rows[0]["tools"][names.index("book")]["function"]["parameters"]
        assert set(book_schema["properties"]) == {"offer", "people"}
        assert [row["turn"] for row in rows] == [1, 2, 3, 4]
        assert not left_out

    def test_tool_traffic_of_a_reply_that_was_taken_back_is_nowhere(self, booked):
        said = [one_call("c1", "book", {"offer": "A", "people": 9}), output("Poison."), output("Fine.")]
        log, _ = booked(
            told([*said, output("Fine too.")]),
            veto=Veto(veto_judge(), 0.5, redraws=1),
            roles={"veto": told(lambda p: {"1": 1.0} if "Poison" in p[-1].text else {"0": 1.0})},
        )
        rows, _ = rows_and_counts(log)
        assert [row["completion"][0]["content"] for row in rows] == ["Fine.", "Fine too."]
        assert "c1" not in json.dumps(rows)

    def test_several_calls_at_once_and_one_that_cannot_be_read(self, tmp_path):
        @tool
        def look():
            async def execute(place: str, deep: bool = False) -> str:
                """Look.

                Args:
                    place: Where.
                    deep: How.
                """
                return f"{place} {deep}"

            return execute

        two = one_call("a", "look", {"place": "ü/\"'", "deep": True})
        assert two.message.tool_calls is not None
        two.message.tool_calls.append(ToolCall(id="b", function="look", arguments={"place": "y"}))
        unreadable = one_call("d", "look", {})
        assert unreadable.message.tool_calls is not None
        unreadable.message.tool_calls[0].parse_error = "not JSON"
        (log,) = eval(
            Task(dataset=[Sample(input="Hello.", id=1)], solver=[use_tools(look()), generate()]),
            model=told([two, unreadable, output("Done.")]),
            log_dir=str(tmp_path),
            display="none",
            log_realtime=False,
        )
        rows, left_out = rows_and_counts(log)
        assert [(c["id"], c["function"]["arguments"]) for c in rows[0]["completion"][0]["tool_calls"]] == [
            ("a", {"place": "ü/\"'", "deep": True}),
            ("b", {"place": "y"}),
        ]
        assert [row["turn"] for row in rows] == [1, 3]
        assert left_out == Counter(unreadable_call=1)
        # what the agent saw of it stays in later prompts
        assert [m["role"] for m in rows[1]["prompt"]] == [
            *("user", "assistant", "tool", "tool", "assistant", "tool")
        ]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (output("Cut off in the", stop="max_tokens"), "truncated"),
        (output("No.", stop="content_filter"), "filtered"),
        (output("  "), "empty"),
    ],
)
def test_what_must_not_be_trained_on_is_counted(converse, reply, reason):
    rows, left_out = rows_and_counts(converse(told([reply]), turns=1, states=1, gameable=1.0))
    assert (rows, left_out) == ([], Counter({reason: 1}))


def test_reasoning_is_kept(converse):
    reply = output("Answer.")
    reply.choices[0].message.content = [ContentReasoning(reasoning="Thinking."), ContentText(text="Answer.")]
    rows, _ = rows_and_counts(converse(told([reply]), turns=1, states=1, gameable=1.0))
    assert rows[0]["completion"] == [
        {"role": "assistant", "content": "Answer.", "reasoning_content": "Thinking."}
    ]


def test_a_prompt_with_an_image_is_left_out(tmp_path):
    message = ChatMessageUser(
        content=[ContentText(text="See."), ContentImage(image="data:image/png;base64,AA==")]
    )
    (log,) = eval(
        Task(dataset=[Sample(input=[message], id=1)], solver=generate()),
        model=told("I see."),
        log_dir=str(tmp_path),
        display="none",
        log_realtime=False,
    )
    assert rows_and_counts(log) == ([], Counter(not_text=1))


class TestErrors:
    @pytest.fixture
    def log(self, converse):
        return converse(turns=1, states=1, gameable=1.0, task_arguments={"name": "little"})

    def test_no_log(self, tmp_path):
        with pytest.raises(ExamplesError, match="no such file or folder"):
            rows_of_log(tmp_path / "none.eval", {})

    def test_no_inspect_log(self, tmp_path):
        path = tmp_path / "broken.eval"
        path.write_bytes(b"half a log")
        with pytest.raises(ExamplesError, match=r"broken\.eval: damaged or cut off.*run the rollouts again"):
            rows_of_log(path, {})

    @pytest.mark.parametrize(
        ("expected", "message"),
        [
            ({"expect_task": "therapy"}, "of task 'little', not of 'therapy'"),
            ({"expect_model": "miniature/agent"}, "of model 'told/model', not of 'miniature/agent'"),
        ],
    )
    def test_another_task_or_model(self, log, expected, message):
        with pytest.raises(ExamplesError, match=message):
            rows_of_log(log.location, {}, **expected)
        assert list(rows_of_log(log.location, {}, expect_task="little", expect_model="told/model")) == []

    def test_a_run_that_did_not_end(self, log):
        log.status = "cancelled"
        write_eval_log(log)
        with pytest.raises(ExamplesError, match=r"status 'cancelled'.*inspect eval-retry"):
            rows_of_log(log.location, {})

    @pytest.mark.parametrize("place", [("nobody", 1), (None, 2)])
    def test_a_conversation_that_is_not_in_it(self, log, place):
        name = place[0] or str(the_samples(log)[0].id)
        with pytest.raises(ExamplesError, match=f"no sample .{name}.*select again"):
            list(rows_of_log(log.location, {(name, place[1]): BEST}))

    def test_a_log_without_events(self, log):
        whole = read_eval_log(log.location)
        for sample in the_samples(whole):
            sample.events = []
        write_eval_log(whole)
        with pytest.raises(ExamplesError, match="no model events.*its events were stripped"):
            rows_and_counts(whole)

    def test_a_log_whose_transcript_was_edited(self, log):
        whole = read_eval_log(log.location)
        for sample in the_samples(whole):
            sample.messages[-1] = sample.messages[-1].model_copy(update={"id": "another"})
        write_eval_log(whole)
        with pytest.raises(ExamplesError, match="no model event for the agent's message another"):
            rows_and_counts(whole)


class TestMessages:
    def test_a_thought_goes_to_a_server_as_inspect_sends_it(self):
        for internal in (None, "reasoning_content"):
            thought = ContentReasoning(reasoning="Hm.", internal=internal)
            message = ChatMessageAssistant(content=[thought, ContentText(text="Hi.")])
            (sent,) = asyncio.run(messages_to_openai([message]))
            told = chat_message(message, model="vllm/some/model")
            assert {k: told.get(k) for k in sent} == dict(sent)

    @pytest.mark.parametrize("model", ["vllm/some/model:/adapter", "openai/gpt-4.1", "miniature/agent"])
    def test_errors_of_tools_are_told_as_the_provider_tells_them(self, model):
        message = ChatMessageTool(
            content="", function="f", tool_call_id="c", error=ToolCallError("unknown", "Gone.")
        )
        (openai,) = asyncio.run(messages_to_openai([message]))
        expected = "Gone." if model.startswith("miniature") else openai["content"]  # pyright: ignore
        assert chat_message(message, model=model)["content"] == expected

    def test_what_no_template_can_be_given(self):
        with pytest.raises(NotTextError, match="message of the user holds image"):
            chat_message(ChatMessageUser(content=[ContentImage(image="data:image/png;base64,AA==")]))

    def test_reasoning_that_the_provider_hid_is_left_out(self):
        hidden = ContentReasoning(reasoning="x9f", redacted=True)
        assert chat_message(ChatMessageAssistant(content=[hidden, ContentText(text="Hi.")])) == {
            "role": "assistant",
            "content": "Hi.",
        }
