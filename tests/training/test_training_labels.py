"""What the loss is on: the agent's words and the end of its turn, in every family of chat templates."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser
from transformers import AutoModelForCausalLM, AutoTokenizer

from providers.chat.choice import Readers, TemplateChoice
from providers.chat.completion import complete
from providers.local.speech import Speech
from tests.support.tiny_models import tiny_model, tiny_tokenizer
from training.job import Job
from training.settings import Tuning
from training.trainers import dpo, kto, sft
from training.trainers.base_models import CannotTrain
from training.trainers.rows import token_rows

LLAMA = (
    "{{- '<BOS>' -}}"
    "{%- for m in messages -%}"
    "{{- '<HEAD>' + ('ipython' if m['role'] == 'tool' else m['role']) + '</HEAD>\n\n' -}}"
    "{%- if m['tool_calls'] -%}"
    "{%- if m['tool_calls'] | length > 1 -%}{{- raise_exception('one call at a time') -}}{%- endif -%}"
    "{%- set f = m['tool_calls'][0]['function'] -%}"
    """{{- '{"name": "' + f['name'] + '", "parameters": ' + (f['arguments'] | tojson) + '}' -}}"""
    "{%- else -%}"
    "{%- if loop.first and tools -%}{{- 'Functions: ' + (tools | tojson) + '\n\n' -}}{%- endif -%}"
    "{{- m['content'] | trim -}}"
    "{%- endif -%}{{- '<EOT>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<HEAD>assistant</HEAD>\n\n' -}}{%- endif -%}"
)
"""Trims, and shows a call without the words beside it."""

MISTRAL = (
    "{{- '<BOS>' -}}"
    "{%- set system = messages[0]['content'] + '\n\n' if messages[0]['role'] == 'system' else '' -%}"
    "{%- set talk = messages[1:] if system else messages -%}"
    "{%- for m in talk -%}"
    "{%- if m['role'] == 'user' -%}"
    "{%- if tools and loop.index0 == 0 -%}{{- '[TOOLS]' + (tools | tojson) + '[/TOOLS]' -}}{%- endif -%}"
    "{{- '[INST] ' + (system if loop.index0 == 0 else '') + m['content'] + ' [/INST]' -}}"
    "{%- elif m['role'] == 'tool' -%}{{- '[RESULT] ' + m['content'] + '[/RESULT]' -}}"
    "{%- elif m['tool_calls'] -%}"
    "{{- '[CALLS] ' -}}{%- for c in m['tool_calls'] -%}{{- c['function'] | tojson -}}{%- endfor -%}{{- '<EOS>' -}}"
    "{%- else -%}{{- ' ' + m['content'] + '<EOS>' -}}{%- endif -%}"
    "{%- endfor -%}"
)
"""Has no head for the agent's turn, and a space before its words."""

GEMMA = (
    "{{- '<BOS>' -}}"
    "{%- if messages[0]['role'] == 'system' -%}{{- raise_exception('no system message') -}}{%- endif -%}"
    "{%- for m in messages -%}"
    "{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}{{- raise_exception('take turns') -}}{%- endif -%}"
    "{{- '<TURN>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' -}}"
    "{{- m['content'] | trim + '</TURN>\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<TURN>model\n' -}}{%- endif -%}"
)
"""Takes no system message and no tools; its end of turn is not the tokenizer's end of sequence."""

QWEN = (
    "{%- if tools -%}{{- '<IM>system\n' + (tools | tojson) + '</IM>\n' -}}{%- endif -%}"
    "{%- set ns = namespace(last=0) -%}"
    "{%- for m in messages -%}{%- if m['role'] == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}{%- endfor -%}"
    "{%- for m in messages -%}"
    "{%- set words = m['content'].split('</think>')[-1].lstrip('\n') -%}"
    "{%- set thought = m['reasoning_content'] or "
    "(m['content'].split('</think>')[0].split('<think>')[-1] if '</think>' in m['content'] else '') -%}"
    "{{- '<IM>' + m['role'] + '\n' -}}"
    "{%- if m['role'] == 'assistant' and loop.index0 > ns.last and (loop.last or thought) -%}"
    "{{- '<think>\n' + (thought | trim) + '\n</think>\n\n' -}}"
    "{%- endif -%}"
    "{{- words -}}"
    "{%- for c in m['tool_calls'] or [] -%}"
    "{{- '\n' if words or not loop.first else '' -}}{{- '<tool_call>\n' + (c['function'] | tojson) + '\n</tool_call>' -}}"
    "{%- endfor -%}"
    "{{- '</IM>\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<IM>assistant\n' -}}{%- endif -%}"
)
"""Strips thoughts from earlier turns, and puts an empty one before a last reply that has none."""


class Style(NamedTuple):
    template: str
    special: list[str]
    eos: str
    end: str
    before: str = ""
    """What the template has the agent begin with."""

    tools: bool = True


STYLES = {
    "llama": Style(LLAMA, ["<BOS>", "<HEAD>", "</HEAD>", "<EOT>"], "<EOT>", "<EOT>"),
    "mistral": Style(MISTRAL, ["<BOS>", "<EOS>"], "<EOS>", "<EOS>", before=" "),
    "gemma": Style(GEMMA, ["<BOS>", "<TURN>", "</TURN>", "<EOS>"], "<EOS>", "</TURN>", tools=False),
    "qwen": Style(QWEN, ["<IM>", "</IM>"], "</IM>", "</IM>"),
}

TOOLS = [{"type": "function", "function": {"name": "book", "description": "Books.", "parameters": {}}}]


@pytest.fixture(scope="module", params=STYLES)
def style(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def base(style: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_model(tmp_path_factory.mktemp(style), context=2048)
    tokenizer = tokenizer_of(style)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tokenizer_of(style: str) -> Any:
    tokenizer = tiny_tokenizer(STYLES[style].template)
    tokenizer.add_special_tokens({"additional_special_tokens": STYLES[style].special})
    tokenizer.eos_token = STYLES[style].eos
    return tokenizer


def row(
    prompt: list[dict],
    said: str | dict,
    label: bool | None,
    *,
    epoch: int = 1,
    turn: int = 1,
    tools: Any = None,
) -> dict:
    message = {"content": said} if isinstance(said, str) else said
    return {
        "prompt": prompt,
        "completion": [{"role": "assistant", "content": "", **message}],
        "label": label,
        "tools": tools,
        "source": "log",
        "log": "a.eval",
        "sample": "kim",
        "epoch": epoch,
        "turn": turn,
        "score": 9.0 if label else 1.0,
        "rank": epoch,
        "group": "kim",
        "checkpoint": "base",
    }


def call(**arguments: Any) -> dict:
    function = {"name": "book", "arguments": arguments}
    return {"tool_calls": [{"type": "function", "id": "call1", "function": function}]}


def spoken(*, tools: bool) -> list[dict]:
    """What stands before the agent's reply: a system message, an agent's scripted line, and tool traffic."""
    talk = [
        {"role": "system", "content": "You are Alpha."},
        {"role": "user", "content": "Hi, I am Kim."},
        {"role": "assistant", "content": "Scripted by the scenario."},
        {"role": "user", "content": "What now?"},
    ]
    traffic = [
        {"role": "assistant", "content": "", **call(day="Monday")},
        {"role": "tool", "content": "No seat left.", "name": "book", "tool_call_id": "call1"},
    ]
    return talk + (traffic if tools else [])


def reader_of(tokenizer: Any) -> Any:
    return Readers(tokenizer, [], TemplateChoice(), "tiny").on(None)


def job_of(base: Path, tmp_path: Path, algorithm: str) -> Job:
    return Job(
        base=str(base),
        examples=tmp_path / "examples.jsonl",
        out=tmp_path / "out",
        scratch=tmp_path / "scratch",
        tuning=Tuning(algorithm=algorithm, batch_size=4),
        seed=0,
    )


def trained_parts(base: Path, tmp_path: Path, algorithm: str, rows: list[dict]) -> list[tuple[str, str]]:
    """(what stands before, what the loss is on) of each sequence that the trainer's own batches hold."""
    module = {"ei": sft, "kto": kto, "dpo": dpo}[algorithm]
    trainer = module.prepare(job_of(base, tmp_path, algorithm), rows).trainer
    tokenizer = AutoTokenizer.from_pretrained(base)
    parts = []
    for batch in trainer.get_train_dataloader():
        on = batch["labels"] != -100 if algorithm == "ei" else batch["completion_mask"] == 1
        for ids, there, learnt in zip(batch["input_ids"], batch["attention_mask"] == 1, on, strict=True):
            first = int(learnt.int().argmax())
            assert learnt[first:][there[first:]].all(), "nothing after the agent's first token is left out"
            parts.append((tokenizer.decode(ids[:first]), tokenizer.decode(ids[learnt])))
    return parts


REPLIES = ["Yes, do it. ", "Let us look at that first.", "Sure!", "No."]
LABELS = [True, False, True, False]


@pytest.mark.parametrize("algorithm", ["ei", "kto", "dpo"])
def test_the_loss_is_on_the_agents_words_and_its_end_of_turn_alone(
    style: str, base: Path, tmp_path: Path, algorithm: str
) -> None:
    is_tool = STYLES[style].tools
    seen = spoken(tools=is_tool)
    tools = TOOLS if is_tool else None
    rows = [
        row(seen, said, label, epoch=n, tools=tools)
        for n, (said, label) in enumerate(zip(REPLIES, LABELS, strict=True))
    ]

    parts = trained_parts(base, tmp_path, algorithm, rows)

    used = REPLIES if algorithm != "ei" else [r for r, label in zip(REPLIES, LABELS, strict=True) if label]
    s = STYLES[style]
    assert sorted(learnt for _, learnt in parts) == sorted(s.before + said + s.end for said in used)
    tokenizer = AutoTokenizer.from_pretrained(base)
    prompt = reader_of(tokenizer).template.prompt(seen, tools)
    assert {before for before, _ in parts} == {prompt}
    for foreign in ("You are Alpha.", "Kim", "Scripted", *(["Monday", "No seat left."] if is_tool else [])):
        assert foreign in prompt
        assert all(foreign not in learnt for _, learnt in parts)


@pytest.mark.parametrize("style", ["llama", "mistral", "qwen"], indirect=True)
def test_tool_calls_keep_their_own_arguments(style: str, base: Path, tmp_path: Path) -> None:
    seen = spoken(tools=False)
    given = [{"city": "Rome", "seats": 2}, {"deep": {"a": [1, None], "b": ""}, "n": 1.5}, {}]
    rows = [row(seen, call(**arguments), True, epoch=n, tools=TOOLS) for n, arguments in enumerate(given)]

    parts = trained_parts(base, tmp_path, "ei", rows)

    key = "parameters" if style == "llama" else "arguments"
    learnt = [text.removesuffix(STYLES[style].end) for _, text in parts]
    written = [json.loads(t[t.index("{") : t.rindex("}") + 1])[key] for t in learnt]
    assert sorted(map(json.dumps, written)) == sorted(map(json.dumps, given))
    bare = {"llama": "{", "mistral": "[CALLS] {", "qwen": "<tool_call>\n{"}[style]
    assert all(text.startswith(bare) for text in learnt)


@pytest.mark.parametrize("style", ["llama"], indirect=True)
def test_what_a_template_cannot_write_is_left_out_and_counted(style: str, base: Path, tmp_path: Path) -> None:
    words_too = {"content": "One moment.", **call(day="Monday")}
    rows = [
        row(spoken(tools=False), "Hello.", True),
        row(spoken(tools=False), words_too, True, tools=TOOLS),
    ]

    prepared = sft.prepare(job_of(base, tmp_path, "ei"), rows)

    assert prepared.examples == 1
    assert prepared.left_out == {"not_in_template": 1}


@pytest.mark.parametrize("style", ["llama", "gemma", "qwen"], indirect=True)
def test_training_sees_the_prompt_that_rollouts_saw(style: str, base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    in_rollout = (
        Speech(tokenizer, [], TemplateChoice(), "tiny")
        .prompt(
            [
                ChatMessageSystem(content="You are Alpha."),
                ChatMessageUser(content="Hi."),
                ChatMessageAssistant(content="<think>\nhm\n</think>\n\nHello."),
                ChatMessageSystem(content="Be brief."),
                ChatMessageUser(content="What now?"),
            ]
        )
        .tokens
    )
    seen = [
        {"role": "system", "content": "You are Alpha."},
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello."},
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What now?"},
    ]

    text = complete(reader_of(tokenizer), seen, {"role": "assistant", "content": "Sleep."}, None)

    assert tokenizer(text.prompt, add_special_tokens=False)["input_ids"] == in_rollout
    assert "You are Alpha.\n\nBe brief." in text.prompt


HI = [{"role": "user", "content": "Hi"}]


def written(style: str, said: str | dict, *, template: str | None = None) -> str:
    tokenizer = tokenizer_of(style)
    if template is not None:
        tokenizer.chat_template = template
    message = {"content": said} if isinstance(said, str) else said
    done = complete(reader_of(tokenizer), HI, {"role": "assistant", **message}, None)
    assert done.written is not None
    return done.written


def test_thoughts_are_learnt_as_they_were_written() -> None:
    in_line = "<think>\nKim wants praise.\n</think>\n\nWell done."
    assert written("qwen", in_line) == in_line + "</IM>"
    apart = {"content": "Well done.", "reasoning_content": "Kim wants praise."}
    assert written("qwen", apart) == in_line + "</IM>"
    assert written("qwen", "Well done.") == "Well done.</IM>"


FORCED = QWEN.replace("'<IM>assistant\n' -}}{%- endif", "'<IM>assistant\n<think>\n' -}}{%- endif")
"""The prompt opens the thought itself, as in DeepSeek-R1 and QwQ."""


def test_a_thought_that_the_prompt_opens_is_not_learnt_to_be_opened() -> None:
    assert written("qwen", "Hm.\n</think>\n\nYes.", template=FORCED) == "Hm.\n</think>\n\nYes.</IM>"
    apart = {"content": "Yes.", "reasoning_content": "Hm."}
    assert written("qwen", apart, template=FORCED) == "Hm.\n</think>\n\nYes.</IM>"
    drops = FORCED.replace("(loop.last or thought)", "false")
    assert written("qwen", apart, template=drops) == "Hm.\n</think>\n\nYes.</IM>"


def test_a_turn_that_the_template_leaves_open_is_ended() -> None:
    plain = "{%- for m in messages -%}{{- m['role'] + ': ' + m['content'] + '\n' -}}{%- endfor -%}"
    plain += "{%- if add_generation_prompt -%}{{- 'assistant: ' -}}{%- endif -%}"
    assert written("qwen", "Yes.", template=plain) == "Yes.</IM>"


def test_where_a_template_writes_the_prompt_differently_before_a_reply_the_prompt_is_what_was_seen() -> None:
    assert written("qwen", "Yes.", template="{{- messages | length -}}" + QWEN) == "Yes.</IM>"


@pytest.mark.parametrize("style", ["gemma"], indirect=True)
def test_a_template_that_refuses_is_named_with_the_row(style: str, base: Path, tmp_path: Path) -> None:
    rows = [row(HI, "Yes.", True), row([*HI, *HI], "Yes.", True)]
    with pytest.raises(CannotTrain, match=r"row 2 .*: the chat template of .* refuses .*take turns"):
        token_rows(rows, tokenizer_of(style), job_of(base, tmp_path, "ei"), Counter())  # pyright: ignore
