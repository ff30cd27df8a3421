"""Writes selected rows in the formats that hosted services train on.

    python training/export.py logs/ei/iteration_00/examples.jsonl --format openai_sft --out train.jsonl

`openai_sft` and `openai_dpo` are OpenAI's chat formats, which Azure and Fireworks read too; `together` is
Together's; `messages` is plain messages as chat templates take them, with label and tools, for anything else.
Rows of worst conversations go into `openai_dpo` and `messages` alone: the other formats have no label.
"""

from scenarios.commands import starting  # noqa: F401

# isort: split

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from scenarios.commands.command_line import read_settings
from scenarios.commands.exits import exit_status
from scenarios.files.strict_json import read_jsonl
from scenarios.files.whole import write_jsonl
from scenarios.schema import Frozen
from training.errors import RunError
from training.examples.example import Example
from training.examples.pairs import pairs_of, reply_of

Format = Literal["openai_sft", "openai_dpo", "together", "messages"]
Message = dict[str, Any]

OPENAI_LEAST = 10
"""Examples in a file; OpenAI refuses fewer."""

REQUIRED = ("prompt", "completion", "label")


class ExportOptions(Frozen):
    """Options of the command."""

    examples: Path = Field(description="rows as the loop writes them; may be given without the flag")
    out: Path = Field(description="file to write")
    format: Format = Field("openai_sft", description="openai_sft, openai_dpo, together or messages")


class ExportError(RunError):
    """Rows that cannot be exported."""


class Exported(NamedTuple):
    """What an export wrote."""

    rows: int
    left_out: Counter[str]
    """Reason -> rows that are not in the file."""

    warnings: list[str]

    def lines(self) -> list[str]:
        """The same for people."""
        told = ", ".join(f"{reason} {count}" for reason, count in sorted(self.left_out.items()))
        return [f"{self.rows} written" + (f"; rows left out: {told}" if told else ""), *self.warnings]


def export(examples: Path, out: Path, form: Format) -> Exported:
    """Write the rows of a file in another format, whole or not at all.

    Args:
        examples: JSONL, see `training/examples/from_logs.py`.
        out: File to write.
        form: `openai_sft`, `together`: one example for each row of a best conversation, with weight 1 for
            the reply that the row is about and 0 for the agent's earlier ones. `openai_dpo`: one for
            each pair of replies of a best and a worst conversation of one state to the same prompt.
            `messages`: every row.

    Returns:
        Counts. Rows are left out because they are `worst`, `unlabelled`, not in the order of roles that
        the format asks for (`role_order`), or in no pair (`no_partner`, `tie`, `other_prompt`,
        `same_reply`, `around_the_pair`, as in training).

    Raises:
        ExportError: The file is missing or holds other rows, or nothing is left to write.
    """
    rows = _read_examples(examples)
    left_out: Counter[str] = Counter()
    made, warnings = FORMS[form](rows, left_out)
    if not made:
        told = ", ".join(f"{reason} {count}" for reason, count in sorted(left_out.items())) or "no rows"
        raise ExportError(f"{examples}: nothing to write as {form}: {told}; {ADVICE[form]}")
    if form.startswith("openai") and len(made) < OPENAI_LEAST:
        warnings.append(f"OpenAI refuses files of fewer than {OPENAI_LEAST} examples")
    write_jsonl(out, made)
    return Exported(len(made), left_out, warnings)


def _read_examples(path: Path) -> list[Example]:
    if not path.exists():
        raise ExportError(f"{path}: no such file; name an examples.jsonl of a run")
    try:
        rows = read_jsonl(path)
    except ValueError as error:
        raise ExportError(str(error)) from None
    for number, row in enumerate(rows, start=1):
        missing = [n for n in REQUIRED if n not in row] if isinstance(row, dict) else list(REQUIRED)
        if missing:
            raise ExportError(f"{path}: row {number} has no {missing[0]!r}; give an examples.jsonl of a run")
        if not row["completion"] or row["completion"][-1].get("role") != "assistant":
            raise ExportError(f"{path}: row {number}: completion: expected a message of the assistant")
    return rows


Made = tuple[list[dict[str, Any]], list[str]]


def _openai_sft(rows: Sequence[Example], left_out: Counter[str]) -> Made:
    best = [row for row in _best(rows, left_out) if _usable(row, left_out, alternate=False)]
    made = []
    for row in best:
        messages = [openai_message(m) for m in (*row["prompt"], *row["completion"])]
        spoken = [m for m in messages if m["role"] == "assistant"]
        for message in spoken:
            message["weight"] = int(message is spoken[-1])
        made.append(_with_tools({"messages": messages}, row))
    return made, _lost_reasoning(best)


def _together(rows: Sequence[Example], left_out: Counter[str]) -> Made:
    made = []
    for row in _best(rows, left_out):
        if not _usable(row, left_out, alternate=True):
            continue
        messages = [
            openai_message(m)
            | ({"reasoning_content": m["reasoning_content"]} if "reasoning_content" in m else {})
            for m in (*row["prompt"], *row["completion"])
        ]
        for message in messages:
            message["weight"] = int(message is messages[-1])
        made.append(_with_tools({"messages": messages}, row))
    return made, []


def _messages(rows: Sequence[Example], left_out: Counter[str]) -> Made:
    del left_out
    made = [
        _with_tools({"messages": [*row["prompt"], *row["completion"]], "label": row["label"]}, row)
        for row in rows
    ]
    return made, []


def _openai_dpo(rows: Sequence[Example], left_out: Counter[str]) -> Made:
    labelled = [row for row in rows if row["label"] is not None]
    if len(labelled) < len(rows):
        left_out["unlabelled"] += len(rows) - len(labelled)
    usable = [row for row in labelled if _usable(row, left_out, alternate=False)]
    pairs = pairs_of(map(reply_of, usable), left_out)
    made = [
        {
            "input": _with_tools({"messages": [openai_message(m) for m in best["prompt"]]}, best),
            "preferred_output": [openai_message(m) for m in best["completion"]],
            "non_preferred_output": [openai_message(m) for m in worst["completion"]],
        }
        for best, worst in pairs
    ]
    return made, _lost_reasoning([row for pair in pairs for row in pair])


FORMS: dict[Format, Callable[[Sequence[Example], Counter[str]], Made]] = {
    "openai_sft": _openai_sft,
    "openai_dpo": _openai_dpo,
    "together": _together,
    "messages": _messages,
}

ADVICE: dict[Format, str] = {
    "openai_sft": "it needs rows of best conversations, as ei, kto and dpo select them",
    "openai_dpo": "it needs best and worst of one state: algorithm=dpo, select_per=state, epochs=2 or more",
    "together": "it needs rows of best conversations, in which user and assistant alternate",
    "messages": "the file is empty",
}


def openai_message(message: Message) -> Message:
    """A message in OpenAI's form: arguments of tool calls are JSON strings, reasoning is not sent."""
    found: Message = {"role": message["role"], "content": message["content"]}
    if calls := message.get("tool_calls"):
        found["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {
                    "name": call["function"]["name"],
                    "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False),
                },
            }
            for call in calls
        ]
        if not found["content"]:
            del found["content"]
    if message["role"] == "tool":
        found["tool_call_id"] = message["tool_call_id"]
    return found


def _best(rows: Iterable[Example], left_out: Counter[str]) -> list[Example]:
    best = []
    for row in rows:
        if row["label"]:
            best.append(row)
        else:
            left_out["unlabelled" if row["label"] is None else "worst"] += 1
    return best


def _usable(row: Example, left_out: Counter[str], *, alternate: bool) -> bool:
    usable = in_order([*row["prompt"], *row["completion"]], alternate=alternate)
    left_out.update([] if usable else ["role_order"])
    return usable


def in_order(messages: Sequence[Message], *, alternate: bool) -> bool:
    """True if the roles follow each other as hosted services ask.

    The system prompt comes first, results of tools follow the calls that they answer, no call stays without
    a result, and the assistant has the last word.

    Args:
        messages: A prompt with its reply.
        alternate: The user also begins, and user and assistant take turns.
    """
    first = next((i for i, m in enumerate(messages) if m["role"] != "system"), len(messages))
    spoken = messages[first:]
    if not spoken or spoken[-1]["role"] != "assistant" or any(m["role"] == "system" for m in spoken):
        return False
    open_calls: set[str] = set()
    for message in spoken:
        if message["role"] == "tool":
            if message.get("tool_call_id") not in open_calls:
                return False
            open_calls.discard(message["tool_call_id"])
            continue
        if open_calls:
            return False
        open_calls = {call["id"] for call in message.get("tool_calls") or []}
    roles = [m["role"] for m in spoken]
    takes_turns = all(one != other or one == "tool" for one, other in pairwise(roles))
    return not alternate or (roles[0] == "user" and takes_turns)


def _with_tools(made: dict[str, Any], row: Example) -> dict[str, Any]:
    return made | {"tools": row["tools"]} if row.get("tools") else made


def _lost_reasoning(rows: Iterable[Example]) -> list[str]:
    lost = sum("reasoning_content" in row["completion"][-1] for row in rows)
    return [f"{lost} replies have reasoning, which OpenAI's format cannot hold; it is gone"] if lost else []


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit status as of `scenarios.commands.exits`."""
    return exit_status(lambda: _export(sys.argv[1:] if arguments is None else arguments))


def _export(arguments: Sequence[str]) -> int:
    given = list(arguments)
    if given and not given[0].startswith("-"):
        given = ["--examples", *given]
    options = read_settings(ExportOptions, given, __doc__ or "")
    exported = export(options.examples, options.out, options.format)
    print("\n".join([f"{options.out}:", *exported.lines()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
