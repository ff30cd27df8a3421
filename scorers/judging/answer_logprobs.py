"""Reading the distribution over a judge's answers from the log-probabilities of one sampled answer.

Of the tree of all that the judge might have written, one path is known, with the alternatives beside each of
its tokens. The answer is the whole number or word (`scorers/judging/answers.py` reads it, here as there), so:

* What follows on the path is looked at: `8` `5` is 85 and `0` `.` `7` is 0.7, so the 8 and the 0 are no
  answers; beside the 5 the alternatives still are what they are ("8" and the end is an 8).
* What follows an alternative is not known. Numbers beside the path are taken to go on as the path does: if a
  share of the path's own number goes on to be no answer, so does that share of them.
* A "1" on a scale with a 10 is both, unless the tokenizer is seen to write several digits in one token. Where
  the path goes through the "1", what follows is known. Where it does not, the probability is `unsplit_one`.
* What comes before the answer (marks, labels, a brace) is passed over. Starts that are no answer are taken to
  lead where the path's own start leads. Of a thought nothing is looked at: all probabilities are given it.

Nothing here depends on how a tokenizer cuts: pieces are compared as text, with spaces in any spelling.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from inspect_ai.model import Logprob

from scorers.judging.answer_forms import forms_for
from scorers.judging.answer_tokens import Step, answer_tokens, joins_digits, place_of, steps_of
from scorers.judging.answers import Found, find_answer, parse_answer

CERTAIN = 0.998
"""From this probability on, a token without alternatives is all there is: no rating is moved by .02."""

LEAD_IN = 8
"""Tokens before an answer that are looked at for alternatives that are answers; others are prose."""

_OPEN_ENDED = re.compile(r"[\s(/,.:;!–—-]*(?:out|of|out of)?\s*", re.IGNORECASE)
_END = re.compile(r"(?:<\|?[^<>|\n]{0,40}\|?>|<｜[^<>｜\n]{0,40}｜>)*")
_ODD_NUMBER = re.compile(r"\W*\d+\s*(?:%|\+|[.,]\d|[-–/:]\s*\d)")


class Reading(NamedTuple):
    """What was read from one sampled answer."""

    probabilities: dict[str, float]
    """Valid answer -> probability as the model gave it, not renormalised."""

    unsplit_one: float = 0.0
    """Probability of a "1" of which it is not known whether a "0" follows."""

    after_one: dict[str, float] | None = None
    """Answer -> share of the probability of "1", where the path went through one and shows what followed."""

    end_hidden: bool = False
    """The path ended after a "1" without a token for the end: a "0" may have been as likely."""

    unseen: float = 0.0
    """The highest probability of an alternative of which only the first token is known."""

    unlisted: float = 0.0
    """Probability of first tokens of the answer that were not among the alternatives."""

    least_listed: float = 1.0
    """Probability of the least likely of them, which those that were not listed do not exceed."""

    alone: float | None = None
    """Probability of a token of the answer that came without alternatives, though there must be others."""

    joins_digits: bool = False
    """The tokenizer writes several digits in one token, so a "1" is no beginning of a 10."""

    lead_in: str = ""
    """What the path says before the answer."""

    lead_in_tokens: int = 0

    thought: bool = False
    """Tokens before the answer were a thought: another draw would have another one."""


def read_answer(tokens: Sequence[Logprob], support: Mapping[str, float], text: str | None = None) -> Reading:
    """Probabilities of the valid answers, as one sampled answer shows them.

    Args:
        tokens: The generated tokens with their alternatives, a thought included; natural logs.
        support: Answer -> value.
        text: What the judge said, without its thought; by default what the tokens say. Parts of it that no
            token accounts for are taken to be certain (see `answer_tokens`).
    """
    kept, thought = answer_tokens(tokens, text)
    steps = steps_of(kept)
    joined = joins_digits(tokens)
    if not any(s.piece.strip() for s in steps):
        return Reading({}, joins_digits=joined, thought=thought)
    return _Reader(steps, support, joined).read()._replace(thought=thought)


# -- the tree around the path ---------------------------------------------------------------------


class _Reader:
    """Walks along the path once and adds up what the answers beside it and on it are worth."""

    def __init__(self, steps: Sequence[Step], support: Mapping[str, float], joins_digits: bool) -> None:
        self.pieces = [s.piece for s in steps]
        self.steps = steps
        self.support = support
        self.forms = forms_for(tuple(support))
        self.joins_digits = joins_digits
        longer = {a for a in support if any(b != a and b.startswith(a) for b in support)}
        self.extendable = set() if joins_digits else longer
        self.beside: dict[str, float] = defaultdict(float)
        self.on_path: dict[str, float] = defaultdict(float)
        self.unsplit = 0.0
        self.unseen = 0.0
        self.in_parts = False
        """The path writes its answer in several tokens."""

    def read(self) -> Reading:
        """The reading of the whole path."""
        whole = find_answer("".join(self.pieces), self.support)
        start = place_of(self.pieces, whole.start) if whole else self._attempt()
        weight = self._pass_lead_in(start)
        first = self.steps[start]
        self.in_parts = whole is not None and place_of(self.pieces, whole.end - 1) > start
        self._take_beside("".join(self.pieces[:start]), first, weight)
        entered = weight * first.probability
        begun = find_answer("".join(self.pieces[: start + 1]), self.support)
        lost, after, hidden = 0.0, None, False
        if whole or begun:
            lost = self._follow(start, entered, begun, whole)
            if begun and begun.answer in self.extendable and self._may_go_on(start, begun):
                hidden = start + 1 == len(self.steps)
                after = None if hidden or not entered else {a: p / entered for a, p in self.on_path.items()}
        elif _ODD_NUMBER.match("".join(self.pieces[start:])):
            lost = entered
        gone = lost / entered if entered and self.forms.numbers else 0.0
        end = place_of(self.pieces, whole.end - 1) if whole else start
        return self._reading(max(0.0, 1.0 - gone), after)._replace(
            end_hidden=hidden,
            alone=self._alone(start, end),
            lead_in="".join(self.pieces[:start]),
            lead_in_tokens=start,
            least_listed=min(first.others.values(), default=1.0),
            unlisted=weight * max(0.0, 1.0 - first.probability - sum(first.others.values())),
        )

    def _reading(self, kept: float, after: dict[str, float] | None) -> Reading:
        """The sums, of the answers beside the path the share that is `kept`."""
        total: dict[str, float] = defaultdict(float, self.on_path)
        for answer, probability in self.beside.items():
            total[answer] += probability * kept
        unsplit = self.unsplit * kept
        if after is not None:
            for answer, share in after.items():
                total[answer] += unsplit * share
            unsplit = 0.0
        return Reading(dict(total), unsplit, after, unseen=self.unseen, joins_digits=self.joins_digits)

    def _attempt(self) -> int:
        """The token with which an answer that cannot be read begins.

        Behind marks and labels, the last at which there might have been an answer.
        """
        start, before = 0, ""
        for place, step in enumerate(self.steps[:12]):
            labelled = self.forms.labels.match(re.sub(r"[*_`\"{]", " ", before))
            if re.search(r"\w", labelled["rest"] if labelled else before):
                before += step.piece
                continue
            if any(parse_answer(before + piece, self.support) for piece in (step.piece, *step.others)):
                start = place
            before += step.piece
        return start

    def _pass_lead_in(self, start: int) -> float:
        """Take answers that stand beside the lead-in; what is left is the weight of the path's own start."""
        weight, before = 1.0, ""
        for step in self.steps[: min(start, LEAD_IN)]:
            weight *= max(0.0, 1.0 - self._take_beside(before, step, weight))
            before += step.piece
        return weight

    def _take_beside(self, before: str, step: Step, weight: float) -> float:
        """Take the alternatives that are answers; their probability at this token."""
        answers = 0.0
        for piece, probability in step.others.items():
            found = find_answer(before + piece, self.support)
            answer = found.answer if found else self._begun_word(before, piece)
            self.unseen = max(self.unseen, weight * probability)
            if answer is None:
                continue
            answers += probability
            if found and answer in self.extendable and found.end == len(before + piece):
                self.unsplit += weight * probability
            else:
                self.beside[answer] += weight * probability
        return answers

    def _begun_word(self, before: str, piece: str) -> str | None:
        """The answer in words that a token begins, if it begins one alone; a letter or two only as on the
        path."""
        begun = re.fullmatch(r"\W*([^\W\d_]+)", piece)
        if begun is None or not (self.in_parts or len(begun[1]) > 2):
            return None
        words = {w: a for w, a in self.forms.words.items() if w.startswith(begun[1].lower())}
        word, answer = next(iter(words.items()), ("", None))
        whole = before + piece[: begun.start(1)] + word
        return answer if len(words) == 1 and parse_answer(whole, self.support) == answer else None

    def _follow(self, start: int, entered: float, begun: Found | None, whole: Found | None) -> float:
        """Follow the path behind the first token of the answer; the probability that goes on to be none.

        Two tokens behind the value are looked at; what the rest makes of it is known of the path alone.
        """
        last = place_of(self.pieces, whole.end) + 1 if whole else start + 6
        before, weight, lost = "".join(self.pieces[: start + 1]), entered, 0.0
        value_end = begun.end if begun else 0
        base = begun.answer if begun else None
        if base is not None:
            self.on_path[base] += 0.0
        for step in self.steps[start + 1 : last + 1]:
            answer = parse_answer(before, self.support)
            if answer is None and whole is None:
                break
            base = answer or base
            for piece, probability in step.others.items():
                lost += self._branch(before + piece, value_end, base, weight * probability)
            if base is not None and step.others:  # a digit would be among the likeliest, and be listed
                self.on_path[base] += weight * max(0.0, 1.0 - step.probability - sum(step.others.values()))
            weight *= step.probability
            before += step.piece
        if whole is None:
            return lost + weight
        self.on_path[whole.answer] += weight
        return lost

    def _branch(self, text: str, value_end: int, base: str | None, probability: float) -> float:
        """Where the path might have gone on otherwise; returns what is no answer then."""
        answer = parse_answer(text, self.support)
        if answer is None and base is not None and _OPEN_ENDED.fullmatch(text, value_end):
            answer = base
        if answer is None:
            return probability
        self.on_path[answer] += probability
        if not _END.fullmatch(text, value_end):
            self.unseen = max(self.unseen, probability)
        return 0.0

    def _may_go_on(self, start: int, begun: Found) -> bool:
        """Whether the first token of the answer ends in its last digit, so that another may follow."""
        return sum(map(len, self.pieces[: start + 1])) == begun.end

    def _alone(self, start: int, end: int) -> float | None:
        lonely = (s for s in self.steps[start : end + 1] if not s.others and s.probability < CERTAIN)
        return next((s.probability for s in lonely), None)
