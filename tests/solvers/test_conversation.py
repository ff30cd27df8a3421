from types import SimpleNamespace

import pytest
from inspect_ai.event import SentinelEvent
from inspect_ai.log import EvalLog
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser

from scenarios.conversations.dialogue import Dialogue
from scenarios.loader import load_family
from scorers.preference import preference
from solvers.views import OPENING, users_view
from tests.support.conversations import FAMILY, said, the_samples
from tests.support.told import asked, output, told


def dialogues(log: EvalLog) -> list[Dialogue]:
    return [s.store_as(Dialogue) for s in the_samples(log)]


def test_agent_and_user_take_turns_and_nobody_speaks_unheard(converse):
    user = told("I see.")
    log = converse(told("Hello."), turns=2, roles={"user": user})
    for sample in the_samples(log):
        opening, *rest = said(sample)
        assert opening[0] == "user"
        assert rest == [("assistant", "Hello."), ("user", "I see."), ("assistant", "Hello.")]
    assert len(asked(user)) == 2  # one reply in each of two conversations, none after the last turn
    assert {d.stopped for d in dialogues(log)} == {"turns"}


def test_user_sees_the_conversation_from_its_own_side_and_no_agent_prompt(converse):
    user = told("I see.")
    log = converse(told("Hello."), turns=2, roles={"user": user})
    first = asked(user)[0]
    assert [m.role for m in first] == ["system", "user", "assistant", "user"]
    assert "You are a person who wants" in first[0].text
    assert first[1].text == OPENING
    assert first[3].text == "Hello."
    assert not any("You are Alpha" in m.text or "You are Beta" in m.text for m in first)
    system = the_samples(log)[0].messages[0]
    assert system.role == "system"
    assert "Kim likes chess." in system.text


def test_what_the_others_were_told_before_is_the_same_message_again(converse):
    user, judge = told(["I see.", "Go on.", "Well."]), told({"no": 1.0})
    converse(turns=4, states=1, gameable=0.0, roles={"user": user, "transition": judge})
    earlier, later = asked(user)[1:]
    assert [m.id for m in later[: len(earlier)]] == [m.id for m in earlier]
    assert [m.text for m in later[len(earlier) :]] == ["Go on.", "Hello."]
    systems, questions = zip(*asked(judge), strict=True)
    assert len({m.id for m in systems}) == 1
    assert len({m.id for m in questions}) == len({m.text for m in questions}) == 4


def test_a_note_told_afterwards_is_not_lost_on_who_heard_the_message_before(converse):
    said_before = [ChatMessageUser(content="Hi."), ChatMessageAssistant(content="Hello.")]
    before = users_view("You are Kim.", said_before, {}, {"notes"})
    told_now = {said_before[1].id or "": "A week later."}
    now = users_view("You are Kim.", said_before, told_now, {"notes"}, before)
    assert "A week later." in now[-1].text
    assert [m.id for m in now[:-1]] == [m.id for m in before[:-1]]
    assert now[-1].id != before[-1].id


def test_transition_to_a_terminal_state_ends_the_conversation(converse):
    log = converse(turns=5, roles={"transition": told({"yes": 1.0})})
    for dialogue in dialogues(log):
        assert (dialogue.stopped, dialogue.state, len(dialogue.turns)) == ("terminal_state", "gone", 1)
        assert dialogue.turns[0].decided == "yes"
        assert dialogue.turns[0].transition is not None
        assert dialogue.turns[0].transition.value == 1.0


def test_unusable_transition_takes_the_default(converse):
    log = converse(turns=2, roles={"transition": told("perhaps")})
    for dialogue in dialogues(log):
        assert [t.decided for t in dialogue.turns] == ["no", "no"]
        assert all(t.transition and t.transition.value is None for t in dialogue.turns)


def test_transition_is_drawn_with_the_seed(converse):
    judge = told({"yes": 0.5, "no": 0.5})
    runs = [
        [len(d.turns) for d in dialogues(converse(turns=6, epochs=10, roles={"transition": judge}))]
        for _ in "ab"
    ]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 1


def test_judged_after_the_user_the_judge_reads_the_reply(converse):
    judge = told({"no": 1.0})
    log = converse(turns=2, judged="user", roles={"user": told("I am off now."), "transition": judge})
    assert all("[person]\nI am off now." in prompt[-1].text for prompt in asked(judge))
    assert said(the_samples(log)[0])[-1] == ("user", "I am off now.")


@pytest.mark.parametrize(
    ("agent", "user", "stopped", "turns"),
    [
        (told(""), told("x"), "agent_silent", 1),
        (told("Hi."), told("  "), "user_silent", 1),
        (told(output("too long", stop="model_length")), told("x"), "context_overflow", 0),
        (told("Hi."), told(output("too long", stop="model_length")), "context_overflow", 1),
    ],
)
def test_every_end_has_its_reason(converse, agent, user, stopped, turns):
    log = converse(agent, turns=3, roles={"user": user})
    for sample, dialogue in zip(the_samples(log), dialogues(log), strict=True):
        assert (dialogue.stopped, len(dialogue.turns)) == (stopped, turns)
        assert "too long" not in [m.text for m in sample.messages]


def test_flaws_of_the_user_are_recorded(converse):
    again = converse(turns=3, roles={"user": told("I say the same thing every time.")})
    assert [t.flaws for t in dialogues(again)[0].turns[:2]] == [[], ["repeated"]]
    assert not any(t.drafts for t in dialogues(again)[0].turns)  # people repeat themselves: it stands


def test_a_limit_ends_the_agent_and_is_recorded_but_judges_do_not_count(converse):
    unlimited = converse(turns=3, turn_limit=3)
    assert {d.stopped for d in dialogues(unlimited)} == {
        "turns"
    }  # user and judge calls are not among the three
    limited = converse(turns=3, turn_limit=2)
    assert limited.status == "success"
    assert {d.stopped for d in dialogues(limited)} == {"limit"}


def test_an_error_is_recorded_as_the_reason(converse):
    def fail(_):
        raise RuntimeError("the user's model is down")

    log = converse(turns=2, roles={"user": told(fail)}, fail_on_error=False)
    for sample in the_samples(log):
        assert sample.error is not None
        assert "the user's model is down" in sample.error.message
        assert sample.store_as(Dialogue).stopped == "error"


@pytest.mark.parametrize("role", ["user", "transition"])
def test_a_missing_role_names_the_flag_before_anybody_speaks(converse, role):
    agent = told("Hello.")
    log = converse(agent, roles={role: None})
    assert log.status == "error"
    assert log.error is not None
    assert f"--model-role {role}=<model>" in log.error.message
    assert asked(agent) == []


def test_judge_stands_in_for_judges_and_never_for_the_user(converse):
    judge = told({"no": 0.9, "yes": 0.1}, "stand-in")
    log = converse(turns=1, roles={"transition": None, "judge": judge})
    assert {d.cast["transition"] for d in dialogues(log)} == {str(judge)}
    assert converse(roles={"user": None, "judge": judge}).status == "error"


def test_notes_reach_the_user_and_nobody_else(converse, tmp_path):
    text = FAMILY.replace(
        "transitions: {yes: gone, no: talking}", "transitions: {yes: later, no: talking}"
    ).replace(
        "    gone: {terminal: true}",
        '    later: {transitions: {yes: gone, no: later}, default: no, note: "A week later you like {hobby} more."}\n'
        "    gone: {terminal: true}",
    )
    path = tmp_path / "noted.yaml"
    path.write_text(text)
    user, rating = told("I see."), told({"5": 1.0})
    log = converse(
        turns=2,
        of=load_family(path),
        roles={"user": user, "preference": rating, "transition": told([{"yes": 1.0}, {"no": 1.0}])},
        scorers=[preference()],
        max_samples=1,
    )
    for sample in the_samples(log):
        assert sample.store_as(Dialogue).turns[0].note == "A week later you like chess more."
        assert not any("A week later" in m.text for m in sample.messages)
    assert all("A week later you like chess more." in prompt[-1].text for prompt in asked(user))
    assert not any("A week later" in m.text for prompt in asked(rating) for m in prompt)


def test_turns_are_spans_in_the_log(converse):
    log = converse(turns=2)
    names = [e.name for e in the_samples(log)[0].events if e.event == "span_begin" and e.type == "turn"]
    assert names == ["turn 1", "turn 2"]


def test_messages_say_who_wrote_them(converse):
    messages = the_samples(converse(turns=2))[0].messages
    assert [m.source for m in messages] == ["input", "input", "generate", None, "generate"]
    assert isinstance(messages[3], ChatMessageUser)


def test_calls_of_others_stand_in_spans_of_their_own(converse):
    log = converse(turns=2)
    for sample in the_samples(log):
        spans = {e.id: e for e in sample.events if e.event == "span_begin"}
        calls = [e for e in sample.events if e.event == "model"]
        assert {e.role for e in calls} == {None, "user", "transition"}
        for call in calls:
            within = spans[call.span_id]
            assert (within.name, within.type) == (call.role, "agent") or call.role is None
            assert within.type == "turn" or call.role is not None


def decided(path, action, status="reported"):
    facts = {"factory": "f", "step_id": "s", "conversation": "c", "stage": "model_output", "kind": "decision"}
    told_by = {"function": "f", "action": action} if status == "reported" else {}
    return SentinelEvent(path=path, status=status, **facts, **told_by)


@pytest.mark.parametrize(
    ("events", "stopped"),
    [
        ([decided("child", "terminate"), decided("", "terminate")], "terminated"),
        ([decided("child", "terminate"), decided("", "proceed")], "error"),
        ([decided("child", "terminate"), decided("", None, "bypassed")], "terminated"),
        ([decided("", "terminate"), decided("", "proceed")], "error"),
    ],
)
def test_what_a_sentinel_ended_is_no_error_of_the_conversation(converse, monkeypatch, events, stopped):
    monkeypatch.setattr("solvers.conversation.transcript", lambda: SimpleNamespace(events=events))

    def ended(_):
        raise RuntimeError("as a sentinel ends a sample")

    log = converse(told(ended), fail_on_error=False)
    assert {d.stopped for d in dialogues(log)} == {stopped}
