"""Seconds per 1,000 messages of the one renderer, beside the two that it replaced (at 0b481ea), in one run.

    python benchmarks/providers/rendering.py [--rows 400] [--rounds 3]

Rows of training (prompt and reply) and conversations with the spans of their messages, each of four messages
and some 400 characters, through the template of the miniature and through one that tells thoughts apart. The
earlier renderers are read from this repository's history; without one, the new figures stand alone. Printed
with them: what keeping the tokens of generations adds to a log.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from miniature.checkpoint import base_checkpoint
from providers.chat.choice import Readers, TemplateChoice
from providers.chat.completion import complete
from providers.chat.spans import ConversationSpans
from providers.chat.token_record import TokenLog

ROOT = Path(__file__).resolve().parents[2]
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

    old_rows, old_spans = _module("training/algorithms/chat_text.py"), _module("probes/message_spans.py")
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
        pairs: list[tuple[str, Callable[[Any], Any] | None, Callable[[Any], Any]]] = [
            (
                "rows",
                _rows_before(old_rows, tokenizer),
                lambda talk, reader=reader: complete(reader, talk[:-1], talk[-1], None),
            ),
            ("spans", _spans_before(old_spans, tokenizer), lambda talk, spans=spans: spans.render(talk)),
        ]
        for work, before, now in pairs:
            _line(name, work, before, now, talks, options.rounds)
    _log_size()


def _line(
    name: str,
    work: str,
    before: Callable[[Any], Any] | None,
    now: Callable[[Any], Any],
    talks: list[Any],
    rounds: int,
) -> None:
    both: list[tuple[float | None, float]] = []
    for _ in range(rounds):
        both.append((None if before is None else _seconds(before, talks), _seconds(now, talks)))
    new = median(n for _, n in both)
    old = None if before is None else median(o for o, _ in both if o is not None)
    told = f"{old:>10.3f}" if old is not None else f"{'-':>10}"
    ratio = f"{new / old:>8.2f}" if old is not None else f"{'-':>8}"
    print(f"{name:<12}{work:<10}{told}{new:>10.3f}{ratio}")


def _seconds(render: Callable[[Any], Any], talks: list[Any]) -> float:
    for talk in talks[:5]:
        render(talk)
    begin = time.perf_counter()
    for talk in talks:
        render(talk)
    return (time.perf_counter() - begin) / (4 * len(talks)) * 1000


def _talk(number: int) -> list[dict[str, Any]]:
    roles = ("system", "user", "assistant", "user")
    talk = [{"role": role, "content": f"{number} {WORDS}"} for role in roles]
    return [*talk, {"role": "assistant", "content": f"{number} {WORDS}"}][1:]


def _module(path: str) -> types.ModuleType | None:
    """A file as it was, or None where there is no history."""
    shown = subprocess.run(
        ["git", "show", f"{BEFORE}:{path}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if shown.returncode:
        return None
    module = types.ModuleType(f"before_{Path(path).stem}")
    sys.modules[module.__name__] = module
    exec(compile(shown.stdout, path, "exec"), module.__dict__)
    return module


def _rows_before(module: types.ModuleType | None, tokenizer: Any) -> Callable[[Any], Any] | None:
    if module is None:
        return None
    chat = module.ChatText(tokenizer, "x")
    return lambda talk: chat.row({"prompt": talk[:-1], "completion": talk[-1:], "tools": None}, "row")


def _spans_before(module: types.ModuleType | None, tokenizer: Any) -> Callable[[Any], Any] | None:
    if module is None:
        return None
    return module.ChatText(tokenizer, None, {}, "x").render


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
