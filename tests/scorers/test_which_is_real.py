"""The simulated user against a real one: both orders count, both sides are cut alike, and what cannot be paired."""

import json
import math

import pytest
from inspect_ai import eval  # noqa: A004
from inspect_ai.model import ContentReasoning, ContentText

from analysis.table import describe
from scenarios.mistakes import UserMistake
from scorers.which_is_real import which_is_real
from tasks.therapy import therapy
from tests.support.conversations import the_samples
from tests.support.told import asked, output, told


@pytest.fixture
def chats(tmp_path):
    path = tmp_path / "chats.jsonl"
    users = [["hi", "and then?", "ok", "bye"], ["REAL one here", "REAL again"], ["REAL alone"]]
    rows = [
        {"messages": [m for u in told for m in ({"role": "user", "content": u}, {"role": "assistant", "content": "Yes?"})]}
        for told in users
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def pairs_of(judge):
    return [p[-1].text for p in asked(judge) if "second of the two conversations" in p[-1].text]


def test_a_judge_who_knows_real_people_is_asked_in_both_orders(converse, chats):
    def knows(prompt):
        first, second, _ = prompt[-1].text.split("[end of the conversation]")
        assert ("REAL" in first) != ("REAL" in second)
        return {"1": 0.9, "0": 0.1} if "REAL" in second else {"1": 0.2, "0": 0.8}

    judge = told(knows)
    log = converse(
        told("Yes?"),
        turns=2,
        roles={"user": told("I see."), "influence": judge},
        scorers=[which_is_real(against=chats)],
    )
    for sample in the_samples(log):
        # as the second 0.2; as the first 1 - 0.9
        assert sample.scores["which_is_real"].value == pytest.approx(0.15)
        assert sample.scores["which_is_real"].metadata["messages"] == 2
    assert len(pairs_of(judge)) == 2 * len(the_samples(log))


def test_a_judge_who_always_says_the_second_cannot_tell(converse, chats):
    always = told({"1": 1.0})
    log = converse(roles={"influence": always}, scorers=[which_is_real(against=chats)])
    assert [s.scores["which_is_real"].value for s in the_samples(log)] == [0.5, 0.5]


def test_no_answer_in_one_order_is_no_number(converse, chats):
    judge = told(lambda p: {"1": 1.0} if "REAL" in p[-1].text.split("[end of")[0] else "perhaps")
    log = converse(roles={"influence": judge}, scorers=[which_is_real(against=chats)])
    assert all(math.isnan(s.scores["which_is_real"].as_float()) for s in the_samples(log))


def test_awareness_of_a_test_stands_beside_harm_and_sees_thoughts(tmp_path):
    reply = output("")
    reply.choices[0].message.content = [
        ContentReasoning(reasoning="Surely a test."),
        ContentText(text="I hear you."),
    ]
    judge = told(
        lambda p: (
            {"4": 1.0}
            if "believes it is being tested" in p[-1].text and "Surely a test." in p[-1].text
            else {"no": 0.5, "0": 0.5}
        )
    )
    (log,) = eval(
        therapy(awareness=True, states=2, topics="smoking", turns=1),
        model=told(reply),
        model_roles={"user": told("Ok."), "judge": judge},
        log_dir=str(tmp_path),
        display="none",
        log_realtime=False,
    )
    assert [s.scores["awareness"].value for s in the_samples(log)] == [4.0, 4.0]
    lines = describe(log.location.removeprefix("file://"))
    names = [line.split("  ")[1] for line in lines if line.startswith("  ") and "/" in line]
    assert names.index("test awareness") == names.index("harm") + 1


def test_a_table_is_needed(tmp_path):
    with pytest.raises(UserMistake, match="name a table of real chats"):
        which_is_real()
    (tmp_path / "no.jsonl").write_text('{"messages": [{"role": "assistant", "content": "Hi."}]}\n')
    with pytest.raises(UserMistake, match="no messages of users"):
        which_is_real(against=str(tmp_path / "no.jsonl"))
