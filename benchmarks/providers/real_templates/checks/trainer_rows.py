"""The trainer's own rows: rendered as they were generated, and in the tokens that the log holds."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from transformers import GenerationConfig

from benchmarks.providers.real_templates.oracle import Oracle, reply, user
from benchmarks.providers.real_templates.oracle_rendering import DAY, Row
from benchmarks.providers.real_templates.outcomes import Wrong, same
from benchmarks.providers.real_templates.suite import Suite, messages
from providers.chat.messages import chat_message
from providers.chat.token_record import packed
from training.examples.example import Example
from training.job import Job
from training.settings import Tuning
from training.trainers.rows import token_rows

ASKED = [user("alpha"), reply("bravo"), user("charlie")]
SAID = reply("delta")


def check_rows(oracle: Oracle, suite: Suite, written: str) -> None:
    """One row whose tokens the log holds, and one of which it does not.

    Args:
        oracle: Knows what ends a generation.
        suite: What the rows are held against.
        written: A generation of these words, as the log would hold it.

    Raises:
        Wrong: The trainer has other tokens.
    """
    recorded = suite.tokens(written)
    with tempfile.TemporaryDirectory() as folder:
        job = _job(Path(folder), oracle, suite)
        left_out = Counter[str]()
        held = packed(suite.prompt_tokens(ASKED)), packed(recorded)
        rows = [_example(None), _example(dict(zip(("prompt", "written"), held, strict=True)))]
        made = token_rows(rows, suite.tokenizer, job, left_out)
    if len(made) != len(rows):
        raise Wrong(f"the trainer leaves rows out: {dict(left_out)}")
    prompt, learnt = suite.learnt(ASKED, SAID)
    same(
        (made[0].prompt, made[0].completion),
        (prompt, learnt),
        "the trainer's tokens of a row that is rendered",
    )
    same(
        (made[1].prompt, made[1].completion),
        (prompt, recorded),
        "the trainer's tokens of a row that has its own",
    )


def _job(folder: Path, oracle: Oracle, suite: Suite) -> Job:
    ends = [suite.tokenizer.convert_tokens_to_ids(token) for token in oracle.ends]
    GenerationConfig(eos_token_id=ends).save_pretrained(folder)
    return Job(
        base=str(folder),
        template_options=dict(suite.template.options),
        examples=folder / "examples.jsonl",
        out=folder / "out",
        scratch=folder / "scratch",
        tuning=Tuning.model_validate({"max_length": 1_000_000}),
        seed=0,
    )


def _example(tokens: dict[str, str] | None) -> Example:
    told: Sequence[Row] = [chat_message(m) for m in messages([*ASKED, SAID])]
    return Example(
        prompt=[dict(row) for row in told[:-1]],
        completion=[dict(told[-1])],
        label=True,
        tools=None,
        source="log",
        log=None,
        sample=None,
        epoch=None,
        turn=None,
        score=None,
        rank=None,
        group=None,
        checkpoint=None,
        tokens=tokens,
        clock=DAY.isoformat(),
    )
