"""The tokens of generations are in the log on disk, and are what is trained on."""

from collections import Counter

import anyio
import pytest
from inspect_ai import Task, eval  # noqa: A004
from inspect_ai.dataset import Sample
from inspect_ai.event import ModelEvent
from inspect_ai.log import read_eval_log
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ChatMessageUser,
    GenerateConfig,
    ModelOutput,
    get_model,
)
from inspect_ai.solver import generate, user_message

from providers.chat.token_record import KEY, TokenLog, packed, tokens_of, unpacked
from providers.local.api import LocalAPI
from providers.local.decoding import Written
from providers.local.request import Generated
from tests.support.calling_templates import CALLING, TOOLS, template_of
from tests.support.plain_template import PLAIN, tokenizer_of
from tests.support.tiny_models import tiny_model
from training.examples.from_logs import Mark, rows_of_log
from training.trainers.rows import recorded_row


def generation(log, message, prompt, written, earlier, choices=1):
    """An event as `local/` leaves it."""
    records = [log.record(f"{message}{n or ''}", prompt, written, earlier) for n in range(choices)]
    output = ModelOutput(
        model="local/x",
        choices=[
            ChatCompletionChoice(message=ChatMessageAssistant(content="x", id=f"{message}{n or ''}"))
            for n in range(choices)
        ],
        metadata={KEY: records},
    )
    return ModelEvent(
        model="local/x", input=[], tools=[], tool_choice="none", config=GenerateConfig(), output=output
    )


def test_a_conversation_of_any_length_is_read_back():
    log, events, prompt, names = TokenLog(), {}, [1], []
    for n in range(1500):
        events[f"m{n}"] = generation(log, f"m{n}", prompt, [n, 7], names[-1:])
        names.append(f"m{n}")
        prompt = [*prompt, n, 7, 3]
    found = tokens_of(events, "m1499")
    assert (found.prompt, found.written) == (prompt[:-3], [1499, 7])


def test_what_goes_on_after_a_generation_that_is_gone_has_no_tokens():
    log = TokenLog()
    events = {"a": generation(log, "a", [1], [2], []), "b": generation(log, "b", [1, 2, 3], [4], ["a"])}
    assert tokens_of(events, "b").prompt == [1, 2, 3]
    assert tokens_of({"b": events["b"]}, "b") is None


def test_one_of_several_answers_has_its_own_tokens():
    log = TokenLog()
    events = {"a": generation(log, "a", [1], [2], [], choices=2)}
    assert tokens_of(events, "a") == ([1], [2])


@pytest.mark.parametrize(
    ("written", "content"),
    [
        ("<think>a</think>You <think>b</think> are great.<|im_end|>", "You are great."),
        ("Well , yes .<|im_end|>", "Well , yes ."),
    ],
)
def test_rows_keep_what_was_generated_whatever_stands_between_the_words(written, content):
    tokenizer = tokenizer_of(PLAIN)
    tokenizer.clean_up_tokenization_spaces = True
    ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    record = {"prompt": packed([1, 5]), "written": packed(ids)}
    row = {"tokens": record, "completion": [{"role": "assistant", "content": content}]}
    assert recorded_row(row, tokenizer).completion == ids
    other = {"tokens": record, "completion": [{"role": "assistant", "content": "Something else."}]}
    assert recorded_row(other, tokenizer) is None


CALL = '<tool_call>\n{"name": "book", "arguments": {"seat": "7"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("written", "ended", "stop"),
    [
        (CALL, True, "tool_calls"),
        (f"{CALL}\nAnd now", False, "max_tokens"),
        (CALL[:30], False, "max_tokens"),
        ("Yes.", True, "stop"),
        ("<think>\nhm", False, "max_tokens"),
        # it ended its turn within its thought: more tokens would not help
        ("<think>\nhm", True, "stop"),
    ],
)
def test_what_was_cut_says_so_and_nothing_else_does(tmp_path, monkeypatch, written, ended, stop):
    model = get_model(
        f"local/{tiny_model(tmp_path / 'm', template=template_of(CALLING['tagged JSON']), context=4096)}",
        memoize=False,
    )

    async def answered(api, prompt, config, settings):
        ids = api.engine.tokenizer(written, add_special_tokens=False)["input_ids"]
        return Generated(
            Written([*ids, 2] if ended else ids, [], []),
            "stop" if ended else "max_tokens",
            2 if ended else None,
            [],
        )

    monkeypatch.setattr(LocalAPI, "_answer", answered)
    output = anyio.run(model.api.generate, [ChatMessageUser(content="Hi")], TOOLS, "auto", GenerateConfig())
    assert output.stop_reason == stop
    assert output.message.text == ("Yes." if written == "Yes." else "And now" if "now" in written else "")


def test_tokens_survive_the_disk(tmp_path):
    folder = tiny_model(tmp_path / "m", context=4096)
    talk = [generate(), user_message("how are you"), generate(), user_message("you"), generate()]
    (log,) = eval(
        Task(dataset=[Sample(input="hello there", id="a")], solver=talk, epochs=2),
        model=f"local/{folder}",
        max_tokens=120,
        seed=4,
        log_dir=str(tmp_path / "logs"),
        display="none",
    )
    chosen = {("a", epoch): Mark(True, 1.0, 1, "g") for epoch in (1, 2)}
    left_out = Counter()
    rows = list(rows_of_log(log.location, chosen, left_out=left_out))
    samples = {s.epoch: s for s in read_eval_log(log.location, resolve_attachments=True).samples}
    assert rows
    for row in rows:
        events = {e.output.message.id: e for e in samples[row["epoch"]].events if isinstance(e, ModelEvent)}
        event = list(events.values())[(row["turn"] or 0) - 1]
        whole = tokens_of(events, event.output.message.id)
        record = row.get("tokens")
        assert record is not None
        assert (unpacked(record["prompt"]), unpacked(record["written"])) == whole
        assert len(whole.prompt) == event.output.usage.input_tokens
