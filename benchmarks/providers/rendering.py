"""Seconds per 1,000 messages of the one renderer, beside the two that it replaced (at 0b481ea), in one run.

    python benchmarks/providers/rendering.py [--rows 400] [--rounds 3]

Rows of training (prompt and reply) and conversations with the spans of their messages, each of four messages
and some 400 characters, through the template of the miniature and through one that tells thoughts apart. The
earlier renderers run in the tree of their commit (`benchmarks/earlier_commit.py`); without a history, the new
figures stand alone. Printed with them: what keeping the tokens of generations adds to a log.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.earlier_commit import EarlierCommit
from miniature.checkpoint import base_checkpoint
from providers.chat.choice import Readers, TemplateChoice
from providers.chat.completion import complete
from providers.chat.spans import ConversationSpans
from providers.chat.token_record import TokenLog

BEFORE = "0b481ea"
WORDS = "I wanted to tell you what happened at work today, because it keeps me awake. " * 5
THINKS = (
    "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\n' -}}"
    "{%- if m['role'] == 'assistant' and loop.last -%}{{- '<think>\n' + (m['reasoning_content'] or '') + "
    "'\n</think>\n\n' -}}"
    "{%- endif -%}{{- m['content'] + '<|im_end|>\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    from transformers import AutoTokenizer

    earlier = EarlierCommit.start(BEFORE, Path(__file__).with_name("earlier_rendering.py"))
    print(
        f"seconds per 1,000 messages, median of {options.rounds} ({options.rows} conversations of 4 messages)"
    )
    print(f"{'template':<12}{'work':<10}{'before':>10}{'now':>10}{'ratio':>8}")
    for name, template in (("miniature", None), ("thoughts", THINKS)):
        tokenizer: Any = AutoTokenizer.from_pretrained(base_checkpoint())
        tokenizer.chat_template = template or tokenizer.chat_template
        talks = [_talk(number) for number in range(options.rows)]
        reader = Readers(tokenizer, [], TemplateChoice(), name).on(None)
        spans = ConversationSpans(reader)
        work: dict[str, Callable[[Any], Any]] = {
            "rows": lambda talk, reader=reader: complete(reader, talk[:-1], talk[-1], None),
            "spans": spans.render,
        }
        for which, render in work.items():
            asked = {
                "checkpoint": str(base_checkpoint()),
                "template": template,
                "work": which,
                "talks": talks,
            }
            _line(name, asked, earlier, render, options.rounds)
    _log_size()


def _line(
    name: str,
    asked: dict[str, Any],
    earlier: EarlierCommit | None,
    render: Callable[[Any], Any],
    rounds: int,
) -> None:
    talks = asked["talks"]
    each = 1000 / (4 * len(talks))
    old: list[float] = []
    new: list[float] = []
    for _ in range(rounds):  # by turns: what else the machine does slows both
        if earlier is not None:
            old.append(each * earlier.ask(asked))
        new.append(each * _seconds(render, talks))
    before = f"{median(old):>10.3f}" if old else f"{'-':>10}"
    ratio = f"{median(new) / median(old):>8.2f}" if old else f"{'-':>8}"
    print(f"{name:<12}{asked['work']:<10}{before}{median(new):>10.3f}{ratio}")


def _seconds(render: Callable[[Any], Any], talks: list[Any]) -> float:
    for talk in talks[:5]:
        render(talk)
    begin = time.perf_counter()
    for talk in talks:
        render(talk)
    return time.perf_counter() - begin


def _talk(number: int) -> list[dict[str, Any]]:
    roles = ("system", "user", "assistant", "user")
    talk = [{"role": role, "content": f"{number} {WORDS}"} for role in roles]
    return [*talk, {"role": "assistant", "content": f"{number} {WORDS}"}][1:]


def _log_size() -> None:
    """Of a conversation of 3 and of 20 replies of 100 tokens each: bytes of its records, beside whole
    prompts.
    """
    print("\ntokens in a log, bytes per conversation (100 tokens a message)")
    print(f"{'replies':<10}{'kept so':>10}{'whole prompts':>16}")
    for replies in (3, 20, 140):
        log, prompt, kept, whole = TokenLog(), list(range(1000, 1100)), 0, 0
        for number in range(replies):
            written = [(7919 * number + 104729 * i) % 32000 for i in range(100)]
            earlier = [str(n) for n in range(number)]
            kept += len(json.dumps(log.record(str(number), prompt, written, earlier)))
            whole += len(json.dumps(TokenLog().record("x", prompt, written, [])))
            prompt = [*prompt, *written, *((31 * i + number) % 32000 for i in range(100))]
        print(f"{replies:<10}{kept:>10}{whole:>16}")


if __name__ == "__main__":
    main()
