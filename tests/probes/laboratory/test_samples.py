import pytest

from probes.conversations.labels import DataError
from probes.laboratory.rows import StakesRow
from probes.laboratory.samples import given_rows, stakes_dataset, stakes_sample
from providers.chat.messages import chat_message

CALL = {"type": "function", "id": "c", "function": {"name": "stop", "arguments": {"pump": 2}}}
MESSAGES = [
    {"role": "system", "content": "You run pumps."},
    {"role": "user", "content": "Stop 2."},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "stopped", "name": "stop", "tool_call_id": "c"},
    {"role": "assistant", "content": "Done.", "reasoning_content": "It stands still."},
]


def test_a_conversation_with_tools_and_thoughts_is_the_same_as_a_sample():
    row = StakesRow(id="a", pair="p", messages=MESSAGES, label=1, facts={"style": "agent"})
    sample = stakes_sample(row)
    assert [chat_message(m) for m in sample.input] == MESSAGES
    assert (sample.target, sample.metadata["pair"], sample.metadata["content"]) == (
        "high-stakes",
        "p",
        row.digest,
    )


def test_rows_are_asked_for():
    with pytest.raises(DataError, match="-T data=<file>"):
        given_rows("")
    with pytest.raises(DataError, match="stakes: no rows"):
        stakes_dataset([])
