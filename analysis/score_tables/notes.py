"""What stands under a log's table: how conversations ended, flaws of the user, cut messages, roles."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.logs.finding import LogFile
from analysis.logs.samples import SampleRecord
from analysis.logs.scores import ScoredConversation
from scenarios.conversations.dialogue import DialogueRecord
from scenarios.conversations.user_flaws import UserFlaws

_HINT = re.compile(r"--model-role '[^']+'")
"""The option that a judgement without a number names."""


class Share:
    """So many of so many."""

    def __init__(self) -> None:
        self.found = self.of = 0

    def count(self, happened: bool) -> None:
        """Count one."""
        self.found += happened
        self.of += 1


@dataclass
class Notes:
    """Counts over the samples of one log."""

    samples: int = 0
    ours: int = 0
    """Conversations that our solver held."""

    errors: int = 0
    scores_of_errors: int = 0
    """Conversations that ended in an error and have scores."""

    without_numbers: Counter[str] = field(default_factory=Counter)
    """Score -> conversations in which its value is a text or a list."""

    kindless: int = 0
    """Conversations that do not say whether their user is gameable."""

    ended: Counter[str] = field(default_factory=Counter)
    silences: Counter[tuple[str, str]] = field(default_factory=Counter)
    user: UserFlaws = field(default_factory=UserFlaws)
    vetoed: int = 0
    imitating: int = 0
    cut: dict[str, Share] = field(default_factory=dict)
    """Whose messages -> how many of them the token limit ended."""

    hints: dict[str, str] = field(default_factory=dict)
    """Judge -> option that gives it more room."""

    left_in_text: Counter[str] = field(default_factory=Counter)
    """`agent`, `user` -> messages in which the server had left the thoughts."""

    cast: set[tuple[str, str]] = field(default_factory=set)

    def add(self, conversation: ScoredConversation) -> None:
        """Count one conversation."""
        record = conversation.record
        self.samples += 1
        self.errors += record.error is not None
        self.scores_of_errors += conversation.left_out
        self.without_numbers.update(conversation.others)
        self.kindless += not isinstance(record.metadata.get("gameable"), bool)
        self.imitating += any((s.metadata or {}).get("neutralised") for s in (record.scores or {}).values())
        dialogue = record.dialogue()
        if dialogue is None:  # of another solver, which keeps no such record
            self.ended[record.problem or "their own solver"] += 1
            self._add_judges(DialogueRecord(), record)
        else:
            self.ours += 1
            self.ended[dialogue.stopped or record.problem or "unfinished"] += 1
            self._add_dialogue(dialogue, record)

    def _add_dialogue(self, dialogue: DialogueRecord, record: SampleRecord) -> None:
        if dialogue.stopped and dialogue.silence:
            self.silences[dialogue.stopped, dialogue.silence] += 1
        self.user.add(dialogue.drawn())
        self.vetoed += len(dialogue.vetoed)
        self.cast |= set(dialogue.cast.items())
        for turn in dialogue.turns:
            self._of("agent").count(turn.agent_stop == "max_tokens")
            self.left_in_text["agent"] += turn.agent_thought_in_text
        for drawn in dialogue.drawn():
            self.left_in_text["user"] += bool(drawn.user_thought)
            if drawn.user is not None or drawn.drafts:
                last = drawn.user_stop if drawn.user is not None else drawn.drafts[-1].stop
                self._of("user").count(last == "max_tokens")
        self._add_judges(dialogue, record)

    def _add_judges(self, dialogue: DialogueRecord, record: SampleRecord) -> None:
        scores = record.scores or {}
        for name, score in scores.items():
            facts = score.metadata or {}
            for judgement in _judgements(facts):
                self._judged(name, bool(judgement.get("cut")), judgement.get("problem"))
            if isinstance(facts.get("cut"), Mapping):
                self._constructs(name, facts)
        # answers of the run that no score repeats
        asked = [t.veto for t in dialogue.turns] + [v.judgement for v in dialogue.vetoed]
        if not any(name.startswith("transition") for name in scores):
            asked += [t.transition for t in dialogue.turns]
        for judgement in asked:
            if judgement is not None:
                self._judged(judgement.role, judgement.cut, judgement.problem)

    def _constructs(self, name: str, facts: Mapping[str, Any]) -> None:
        """A score of constructs keeps numbers only: answers by reply and judge, and how many were cut."""
        answers = sum(
            len(turns) * max(1, len(facts.get("judges", {}).get(n, ())))
            for n, turns in facts.get("turns", {}).items()
        )
        share = self._of(name)
        share.found, share.of = share.found + sum(facts["cut"].values()), share.of + answers
        problem = next((p for n, p in facts.get("unscored", {}).items() if n in facts["cut"]), "")
        if hint := _HINT.search(problem or ""):
            self.hints.setdefault(name, hint[0])

    def _judged(self, name: str, cut: bool, problem: str | None) -> None:
        self._of(name).count(cut)
        if cut and problem and (hint := _HINT.search(problem)):
            self.hints.setdefault(name, hint[0])

    def _of(self, who: str) -> Share:
        return self.cut.setdefault(who, Share())

    def lines(self, log: LogFile) -> Iterator[str]:
        """As text."""
        yield f"  conversations ended by: {_counted(self.ended)}; errors: {self.errors}"
        yield from self._left_out()
        yield from self._silent()
        if self.ours:
            yield from self._of_the_user()
        yield from self._cut(log.model)
        for who, number in self.left_in_text.items():
            if number:
                yield (
                    f"  thoughts stood in the words of the {who} in {number} messages and were taken out: "
                    "its server reads none (vLLM: --reasoning-parser)"
                )
        if self.vetoed:
            yield f"  replies vetoed before the user saw them: {self.vetoed}"
        if self.imitating:
            yield (
                f"  words imitate other speakers or control strings in {self.imitating} of {self.samples} "
                "conversations; judges were shown whose words they are"
            )
        if self.cast:
            yield f"  roles: {', '.join(f'{role} = {model}' for role, model in sorted(self.cast))}"
        if "miniature/" in " ".join([log.model, *(model for _, model in self.cast)]):
            yield "  The miniature is a demonstration world: these numbers are no evidence about real models."

    def _left_out(self) -> Iterator[str]:
        if self.scores_of_errors:
            yield f"  scores of {self.scores_of_errors} conversations that ended in an error are left out"
        if self.without_numbers:
            yield f"  scores that are texts or lists are left out: {_counted_of(self.without_numbers)}"
        if 0 < self.kindless < self.samples:
            yield (
                f"  {self.kindless} conversations do not say whether their user is gameable; they are in "
                "neither column"
            )

    def _silent(self) -> Iterator[str]:
        for (stopped, silence), number in sorted(self.silences.items()):
            who = "agent" if stopped == "agent_silent" else "user"
            yield f"  the {who} said nothing in {number}: {_SILENCES[silence]}"

    def _of_the_user(self) -> Iterator[str]:
        user = self.user
        yield (
            f"  simulated user: {user.stand} messages, "
            f"flaws found by rule: {_counted(user.standing) or 'none'}"
        )
        if user.thrown_away:
            yield f"  drafts of the user thrown away: {user.thrown_away} ({_counted(user.of_drafts)})"

    def _cut(self, agent: str) -> Iterator[str]:
        for who, share in self.cut.items():
            if share.found:
                what = {"agent": "replies of the agent", "user": "messages of the user"}.get(
                    who, f"answers of the judge of {who}"
                )
                yield (
                    f"  cut by the token limit: {share.found} of {share.of} {what}; "
                    f"give it more: {self._option(who, agent)}"
                )

    def _option(self, who: str, agent: str) -> str:
        """The option that raises the limit which was met."""
        served = dict(self.cast)
        thought = any(silence == "cut_in_thought" for _, silence in self.silences)
        if who == "agent":
            own = agent.startswith("local/") and thought
            return "--reasoning-tokens" if own else "--max-tokens"
        if who == "user":
            model = served.get("user", "")
            if model.startswith("local/") and thought:
                return f"--model-role 'user={{model: {model}, reasoning_tokens: ...}}'"
            return "-T user_tokens=..."
        role = next((r for r in served if who.startswith(r)), "judge")
        return self.hints.get(who) or f"--model-role '{role}={{model: ..., max_tokens: ...}}'"


_SILENCES = {
    "cut_in_thought": "the token limit came before the first word",
    "only_thoughts": "it thought, and ended without a word",
    "content_filter": "its provider held the words back",
    "nothing": "its model wrote nothing",
}


def _judgements(metadata: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The judge's answers that a score was made of, reply by reply."""
    turns = metadata.get("turns")
    if isinstance(turns, list):
        yield from (turn for turn in turns if isinstance(turn, Mapping) and "mode" in turn)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.most_common())


def _counted_of(counts: Counter[str]) -> str:
    return ", ".join(f"{name} in {n}" for name, n in counts.most_common())
