"""How likely a model finds what real people wrote, told an earlier commit's prompts of users or today's.

    python benchmarks/solvers/real_words.py --model FOLDER --against chats.jsonl [--chats 150]

The model sees a real chat from the person's side under the prompt of one of our people, the same person on
both sides, and its log-probability of the person's last message is taken, with the end of it. Nothing is
drawn, so that a small model can tell prompts apart whose conversations it cannot play. The chats' topics are
none of our people's: that costs both sides the same.
"""

import argparse
import copy
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageUser
from transformers import AutoModelForCausalLM, AutoTokenizer

from analysis.intervals import Interval, mean_difference, mean_interval
from analysis.user_messages.chats import Chat, chats_of_table
from benchmarks.earlier_commit import EarlierCommit
from scenarios.loader import load_family
from scenarios.samples import scenario_dataset
from solvers.views import users_view

SIDES = ("before", "after")
LONGEST = 400
"""Tokens of a chat, its last message included; longer ones are left out."""


class Told(NamedTuple):
    """What the model makes of a message under one prompt."""

    words: float
    """Log-probability of its tokens, nats a token."""

    end: float
    """Log-probability that it ends where it did, nats."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder of a checkpoint")
    parser.add_argument("--against", type=Path, required=True, help="a table of real chats")
    parser.add_argument("--family", default="therapy")
    parser.add_argument("--before", default="deb3523", help="commit whose prompts are the other side")
    parser.add_argument("--chats", type=int, default=150, help="chats at most, the first ones of the table")
    parser.add_argument("--people", type=int, default=6, help="of the family, of whom each has some chats")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    prompts = _prompts(options.family, options.before)
    reader = Reader(options.model)
    chats = [chat for chat in chats_of_table(options.against).chats if reader.can_read(chat)][: options.chats]
    states = list(prompts["after"])[: options.people]
    found: dict[str, list[Told]] = {side: [] for side in SIDES}
    for place, state in enumerate(states):  # those of one prompt in a row: it is read once
        for side in SIDES:
            reader.take(prompts[side][state])
            found[side] += [reader.told(chat) for chat in chats[place :: len(states)]]
    clusters = range(len(found["before"]))
    print(f"{len(chats)} chats, {len(states)} people of {options.family}\n")
    print("| log-probability of | before | after | difference |")
    print("| --- | --- | --- | --- |")
    for name, title in (("words", "a token of what people wrote"), ("end", "its end, where it ended")):
        before, after = ([getattr(one, name) for one in found[side]] for side in SIDES)
        cells = [mean_interval(values, clusters) for values in (before, after)]
        cells.append(mean_difference(after, clusters, before, clusters))
        print(f"| {title} | {' | '.join(map(_shown, cells))} |")


def _prompts(family: str, commit: str) -> Mapping[str, Mapping[str, str]]:
    """Side -> initial state -> prompt."""
    options = {"states": 2, "gameable": 0.5, "seed": 0}
    earlier = EarlierCommit.start(commit, Path(__file__).with_name("earlier_user_prompts.py"))
    if earlier is None:
        raise SystemExit(f"the history does not reach back to {commit}")
    with earlier:
        before = earlier.ask({"family": family, "options": options})
    samples = scenario_dataset(load_family(family), **options)  # pyright: ignore[reportArgumentType]
    return {"before": before, "after": {str(s.id): (s.metadata or {})["user"] for s in samples}}


class Reader:
    """A model that reads chats under a prompt."""

    def __init__(self, folder: str) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._prompt = ""
        self._kept: Any = None
        self._length = 0

    def can_read(self, chat: Chat) -> bool:
        """Whether the person answers in it, and it is not too long."""
        turns = [said.is_users for said in chat.said]
        last = len(turns) - 1 - turns[::-1].index(True)
        return any(not one for one in turns[:last]) and len(self._ids("", chat)[0]) <= LONGEST

    @torch.inference_mode()
    def take(self, prompt: str) -> None:
        """Read the prompt, which the chats that follow stand under."""
        self._prompt = prompt
        ids = self._tokenizer.apply_chat_template(
            [{"role": "system", "content": prompt}], tokenize=True, return_dict=False
        )
        self._kept = self._model(torch.tensor([ids]), use_cache=True).past_key_values
        self._length = len(ids)

    @torch.inference_mode()
    def told(self, chat: Chat) -> Told:
        """What the model makes of the person's last message."""
        ids, begins = self._ids(self._prompt, chat)
        rest = torch.tensor([ids[self._length :]])
        logits = self._model(rest, past_key_values=copy.deepcopy(self._kept)).logits[0]
        told = torch.log_softmax(logits[:-1], dim=-1).gather(1, rest[0, 1:, None])[:, 0]
        of_message = told[begins - self._length - 1 :]
        return Told(float(of_message.mean()), float(of_message[-1]))

    def _ids(self, prompt: str, chat: Chat) -> tuple[list[int], int]:
        """Token ids of a chat up to the end of the person's last message, and where that begins."""
        turns = [said.is_users for said in chat.said]
        last = len(turns) - 1 - turns[::-1].index(True)
        before: Sequence[ChatMessage] = [
            ChatMessageUser(content=said.text) if said.is_users else ChatMessageAssistant(content=said.text)
            for said in chat.said[:last]
        ]
        rows = [{"role": m.role, "content": m.text} for m in users_view(prompt, before, {}, ())]
        ids = self._tokenizer.apply_chat_template(
            rows, tokenize=True, add_generation_prompt=True, return_dict=False
        )
        said = self._tokenizer(chat.said[last].text.strip(), add_special_tokens=False)["input_ids"]
        return [*ids, *said, self._tokenizer.eos_token_id], len(ids)


def _shown(found: Interval) -> str:
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


if __name__ == "__main__":
    main()
