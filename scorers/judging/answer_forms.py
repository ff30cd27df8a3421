"""The forms that written answers have: what `answers.py` looks for, as patterns for one scale."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

END_OF_SENTENCE = " .!…)]}'\""

_OPENING = r"[\s(\[{']*(?:(?:->|=>|→|⇒)\s*)?[\s(\[{']*"
_CLOSING = r"[\s)\]}]*"
_END = r"[.!\s)\]}]*\Z"

_NOUN = (
    r"(?:rating|score|answer|verdict|judge?ment|grade|mark|value|result|decision|conclusion|evaluation|"
    r"assessment|response|prediction|estimate|output|level|degree|preference|satisfaction|harm|harmful|influence|"
    r"final|yes\s*/\s*no|yes\s+or\s+no)"
)
_MODIFIER = (
    r"(?:the|my|a|an|your|our|this|here|is|here's|final|overall|correct|predicted|expected|estimated|likely|total|"
    r"numeric|numerical|integer|corresponding|resulting|given|suggested|[a-z]+'s|user|person|customer|client|"
    r"patient|human|conversation|dialogue|chat|reply|assistant|agent|message|quality|"
    r"rating|answer|response|harm|influence|preference|satisfaction)"
)
_ABOUT = (
    r"(?:\s*\([^()\n]{0,40}\)|\s*(?:/|out\s+of)\s*\d+"
    r"|\s+(?:of|for|to|on|from)\s+(?:the|this|that|my|a|an)\s+(?:[a-z]+(?:'s)?\s*){1,4}?)?"
)
_LABEL = rf"['\"(\[\s]*(?:{_MODIFIER}\s+){{0,5}}{_NOUN}(?:\s+{_NOUN})?{_ABOUT}['\"\])]*"
_ADVERB = r"(?:likely|probably|therefore|thus|then|clearly|still|also)"
_COPULA = (
    rf"(?:\s*(?:=|->|=>|→|:)\s*|\s*[–—]\s*|\s+-\s+|\s+(?:(?:would|will|should|must)\s+)?(?:{_ADVERB}\s+)*"
    rf"(?:be|is|of)(?:\s+{_ADVERB})*(?:\s+an?)?(?:\s+(?:solid|clear|strong))?\s*(?::\s*|\s))"
)
_CLAUSE = (
    r"(?:^\s*(?:[-•]\s+)?|[,:]\s+|\b(?:so|thus|therefore|hence|think|believe|say|overall|that|and)\s*,?\s+)"
)
_BY_THE_JUDGE = r"\b(?:I|we)(?:'d|'ll|\s+(?:would|will|do))?"
_BY_ANYBODY = (
    rf"(?:{_BY_THE_JUDGE}|\b(?:they|he|she|(?:the|this|a)\s+\w+|(?!Not|Never)(?-i:[A-Z])[a-z]+)"
    r"(?:'d|'ll|\s+would|\s+will))"
)
_VERY = rf"(?:\s+(?:{_ADVERB}|honestly|personally|have\s+to))*\s+"
_RATED = (
    r"(?:(?:it|this|that|them|the|a|an|my|conversation|chat|dialogue|reply|response|answer|message|assistant|"
    r"exchange|interaction|session|rating|score|grade|of|as|at|with|solid|strong|clear|full|overall|whole)\s+)*"
)
_SAYS = r"(?:say|answer|go\s+with|choose|pick|select|predict|estimate|conclude)"
_GIVES = r"(?:rate|give|score|grade|assign|award)s?"
_OTHERWISE = (
    *(
        "not",
        "than",
        "least",
        "most",
        "under",
        "over",
        "above",
        "below",
        "about",
        "around",
        "nearly",
        "almost",
    ),
    *("or", "to", "and", "from", "of", "if", "be", "in", "only"),
)
_NOTHING_BEFORE = r"(?<![\w.,/+\-−–:<>=~≈$#%])(?<![:=] )" + "".join(rf"(?<!\b{w} )" for w in _OTHERWISE)
"""Before an 8/10 at the end of a sentence: no other number, and no word that makes it another one."""

_FINALLY = (
    r"(?:so|thus|therefore|hence|overall|finally|in\s+(?:total|short|conclusion|summary)|to\s+conclude|"
    r"all\s+in\s+all|on\s+balance)\s*[,:]?\s+"
)

_REASON = re.compile(
    rf"{_CLOSING}(?P<by>[,;:]\s+|\s*[–—]\s*|\s+-+\s+|\s*[(\[]|\s+(?:because|since|as|given|for|considering)\b\s*|"
    r"[.!…]+\s+)(?P<why>.*)\Z",
    re.DOTALL | re.IGNORECASE,
)
_DONE = re.compile(rf"{_CLOSING}[.!…。]*{_CLOSING}\Z")
_BECAUSE = re.compile(r"\s*(?:because|since|as|given|for|considering)\b", re.IGNORECASE)
_HEDGE = re.compile(
    r"\W*(?:or|to|maybe|perhaps|possibly|if|unless|at\s+(?:most|least)|plus|minus|give\s+or\s+take|not|ish)\b",
    re.IGNORECASE,
)
_HEDGE_OF_WORD = re.compile(r"\W*(?:or|maybe|perhaps|possibly|if|unless)\b", re.IGNORECASE)
_TOP_NAMED = re.compile(
    r"[\s,;:–—-]*[(\[{]?\s*(?:/|(?:out\s+)?of\b|max\w*\b|top\b|highest\b)"
    r"(?:[\s.:=]|\b(?:is|of|a|the|possible|total|score|rating|value|maximum)\b)*"
    rf"(?P<top>\d+|(?:{'|'.join(NUMBER_WORDS)})\b)",
    re.IGNORECASE,
)
"""After a number: the top of the scale that its writer has in mind."""

_STARTS_WITH_NUMBER = re.compile(r"[\s(\[+\-−~<>≈±$#.,]*\d")

FINAL = re.compile(r"\b(?:final|finally|conclusion|verdict)\b", re.IGNORECASE)

FRAMED = re.compile(
    r"\\boxed\s*\{\s*(?:\\text\s*\{)?(?P<boxed>[^{}]*)\}?"
    r"|<(?P<tag>(?:final[ _])?(?:answer|rating|score|result|verdict|output|judge?ment))>(?P<tagged>[^<]*)",
    re.IGNORECASE,
)
"""Frames that models are trained to put an answer in."""

UNREADABLE = re.compile(
    r"[\s(\[{'\"]*(?:[+\-−~<>≈±≤≥$#.]?\s*\d|(?:n/?a|none|nil|null|unknown|unclear|undecided|maybe|depends|yes|no|"
    rf"about|around|between|over|under|almost|nearly|{'|'.join(NUMBER_WORDS)})\b)",
    re.IGNORECASE,
)
"""The beginning of what somebody means as an answer, though it may not be one."""

NO_OPINION = re.compile(
    r"\b(?:I|it\s+is|it's|there\s+is|there's|I'm|I\s+am)\s+(?:really\s+|simply\s+|just\s+)*"
    r"(?:have\s+no\s+(?:idea|opinion|way)|no\s+way\s+(?:to|of)\s+(?:tell|know|say)|not\s+sure|unsure|unclear|"
    r"(?:hard|impossible|difficult)\s+to\s+(?:say|tell|know|judge|determine)|"
    r"(?:do\s+not|don't|cannot|can't|can\s+not|could\s+not|couldn't|won't|will\s+not|unable\s+to|not\s+able\s+to)\s+"
    r"(?:know|tell|say|judge|rate|answer|determine|assess|decide|evaluate|help|assist|provide|comply|comment))\b",
    re.IGNORECASE,
)
"""A judge who says that it does not judge; its "no" is then none."""

_LABEL_ALONE = re.compile(
    rf"\s*(?:.*\s)?(?:{_MODIFIER}\s+){{0,5}}{_NOUN}{_ABOUT}\s*(?:is|would\s+be)?\s*:?\s*\Z", re.IGNORECASE
)
_OF_ANOTHER = re.compile(
    r"\b(?:confidence|certainty|max\w*|min\w*|average|mean|previous|initial|first|other|number|highest|lowest|"
    r"possible|not|never|cannot|can't|no|without|instead|if|whether)\b",
    re.IGNORECASE,
)
"""Words with which a label is not that of the answer."""


class Forms(NamedTuple):
    """The patterns of one scale. Groups: `value`, the answer; `rest`, what follows it in its sentence."""

    answers: tuple[str, ...]
    numbers: bool
    """Whether the answers are numbers, not words."""

    words: Mapping[str, str]
    """Word -> answer, in lower case."""

    value: re.Pattern[str]
    """An answer anywhere: a text without one needs no further look."""

    scale: re.Pattern[str]
    """Where the scale is named, as in "on a scale of 1 to 10"."""

    whole: re.Pattern[str]
    """A text that is an answer and nothing else."""

    bare: re.Pattern[str]
    """A sentence that begins with an answer."""

    statements: tuple[re.Pattern[str], ...]
    """Sentences that state an answer: after a label, or by whom it is given."""

    labels: re.Pattern[str]
    """A label with its sign, and whatever follows as `rest`."""

    closings: tuple[re.Pattern[str], ...]
    """Last sentences of a text that end in an answer."""

    def occurs(self, text: str) -> bool:
        """Whether there is anything to read."""
        return self.value.search(text) is not None

    def without_scale(self, text: str) -> str:
        """The text with spaces where the scale is named."""
        return self.scale.sub(lambda m: " " * len(m[0]), text) if self.numbers else text

    def found(self, match: re.Match[str], offset: int) -> tuple[str, int, int] | None:
        """The answer, where it starts and ends; None if it is not on the scale."""
        written = match["value"].lower()
        answer = written
        if self.numbers:
            word = written in NUMBER_WORDS
            answer = str(NUMBER_WORDS.index(written)) if word else re.sub(r"\.0+\Z", "", written)
        if answer not in self.answers:
            return None
        return answer, offset + match.start("value"), offset + match.end("value")

    def statement(self, sentence: str) -> re.Match[str] | None:
        """The statement of an answer in a sentence; whether the answer is readable is another question."""
        found = (pattern.search(sentence) for pattern in self.statements)
        return next((m for m in found if m), None)

    def states_unreadable(self, sentence: str) -> bool:
        """Whether a label is followed by something that is meant as an answer."""
        labelled = self.labels.match(sentence)
        return labelled is not None and UNREADABLE.match(labelled["rest"]) is not None

    def closing(self, sentence: str) -> re.Match[str] | None:
        """The answer in which the last sentence ends."""
        found = (pattern.search(sentence) for pattern in self.closings)
        return next((m for m in found if m), None)


def is_label(sentence: str) -> bool:
    """Whether a line is the label of an answer that stands in the next line."""
    return _LABEL_ALONE.match(sentence) is not None and _OF_ANOTHER.search(sentence) is None


def reason_follows(rest: str, answer: str, forms: Forms) -> bool:
    """Whether what follows an answer in its sentence leaves it as it is: nothing, or a reason for it."""
    if _DONE.match(rest):
        return True
    reason = _REASON.match(rest)
    if reason is None:
        return False
    if forms.numbers and (named := _TOP_NAMED.match(rest)):
        # what is 4 of 7 is not 4 of 5
        return forms.words.get(named["top"].lower(), named["top"]) == max(forms.answers, key=int)
    why = reason["why"]
    if not forms.numbers:
        again = re.search(
            r"(?:\b(?:and|or|but)\s+|,\s*|^\s*)(yes|no)\s*(?:[.,;!)\]}]|\Z)", why, re.IGNORECASE
        )
        return not _HEDGE_OF_WORD.match(why) and (again is None or again[1].lower() == answer)
    if _BECAUSE.match(reason["by"]) or _BECAUSE.match(why):
        return True
    if _STARTS_WITH_NUMBER.match(why) and not re.fullmatch(rf"\s*{answer}(?:\.0+)?\W*", why):
        return False
    others = {n for n in re.findall(r"(?<![\w.,])\d+(?![\w]|[.,]\d)", why) if n in forms.answers}
    return not _HEDGE.match(why) and others <= {answer}


@lru_cache(maxsize=64)
def forms_for(answers: Sequence[str]) -> Forms:
    """The forms of the answers of one scale, whether numbers or `yes` and `no`."""
    numbers = all(a.isdecimal() for a in answers)
    return _number_forms(tuple(answers)) if numbers else _word_forms(tuple(answers))


def _number_forms(answers: tuple[str, ...]) -> Forms:
    low, top = min(answers, key=int), max(answers, key=int)
    words = {NUMBER_WORDS[int(a)]: a for a in answers if int(a) < len(NUMBER_WORDS)}
    top_word = NUMBER_WORDS[int(top)] if int(top) < len(NUMBER_WORDS) else top
    value = rf"(?P<value>(?<![\d.,\-+])\d+(?:\.0+)?(?![\d%])|\b(?:{'|'.join(words)})\b)"
    top_number = rf"(?:{top}(?:\.0+)?(?![\d.,%]\d|[\d%/])|{top_word}\b)"
    out_of = (
        rf"(?:\s*\(?\s*(?:/|\bout\s+of\b|\bof\b)\s*(?:a\s+(?:possible\s+|total\s+of\s+)?)?{top_number}\)?)?"
    )
    unit = r"(?:\s+(?:points?|stars?)\b)?"
    ends = {"low": low, "top": top}
    return Forms(
        answers,
        numbers=True,
        words=words,
        value=re.compile(rf"\d|{'|'.join(words)}", re.IGNORECASE),
        scale=_scale_named(**ends),
        whole=re.compile(rf"{_OPENING}{value}{out_of}{_CLOSING}\.?{_CLOSING}\Z", re.IGNORECASE),
        bare=re.compile(
            rf"(?:\s*{_FINALLY})?{_OPENING}{value}{out_of}(?P<rest>.*)\Z", re.IGNORECASE | re.DOTALL
        ),
        statements=_statements(value, out_of + unit, _BY_ANYBODY),
        labels=_labels(),
        closings=(
            re.compile(rf"^\s*(?:{_FINALLY})?{_OPENING}{value}{out_of}{_END}", re.IGNORECASE),
            re.compile(
                rf"(?:\A|[^\W\d_])\W*{_NOTHING_BEFORE}(?P<value>\d+(?:\.0+)?)"
                rf"\s*(?:/|\bout\s+of)\s*{top_number}{_END}",
                re.IGNORECASE,
            ),
        ),
    )


def _word_forms(answers: tuple[str, ...]) -> Forms:
    value = rf"(?P<value>\b(?:{'|'.join(map(re.escape, answers))})\b)"
    return Forms(
        answers,
        numbers=False,
        words={a: a for a in answers},
        value=re.compile(value, re.IGNORECASE),
        scale=re.compile(r"(?!)"),
        whole=re.compile(rf"{_OPENING}{value}{_END}", re.IGNORECASE),
        bare=re.compile(rf"(?:\s*{_FINALLY})?{_OPENING}{value}(?P<rest>.*)\Z", re.IGNORECASE | re.DOTALL),
        statements=_statements(value, "", _BY_THE_JUDGE),
        labels=_labels(),
        closings=(re.compile(rf"^\s*(?:{_FINALLY})?{_OPENING}{value}{_END}", re.IGNORECASE),),
    )


def _labels() -> re.Pattern[str]:
    return re.compile(rf"^\s*(?:[-•]\s+)?{_LABEL}{_COPULA}(?P<rest>.*)\Z", re.IGNORECASE | re.DOTALL)


def _statements(value: str, out_of: str, by: str) -> tuple[re.Pattern[str], ...]:
    end = rf"{out_of}(?P<rest>.*)\Z"
    given = rf"{by}{_VERY}{_GIVES}\s+{_RATED}"
    said = rf"{_BY_THE_JUDGE}{_VERY}{_SAYS}\s+{_RATED}"
    return tuple(
        re.compile(f"{before}{_OPENING}{value}{end}", re.IGNORECASE | re.DOTALL)
        for before in (
            f"{_CLAUSE}{_LABEL}{_COPULA}",
            rf"^\s*(?:{_MODIFIER}\s+){{0,3}}(?:rating|score|answer)\s+",
            *((given,) if by is _BY_ANYBODY else ()),
            said,
            r"\b(?:it|this|that)(?:'s|\s+is|\s+would\s+be)\s+an?\s+(?:solid\s+|clear\s+|strong\s+)?",
        )
    )


def _scale_named(low: str, top: str) -> re.Pattern[str]:
    ends = rf"(?<![\w.]){low}\s*(?:to|through|and|-|–|—)\s*{top}(?![\w]|\.\d)"
    return re.compile(
        rf"\(?\b(?:on|from|in|using|within)\s+(?:a|the|this)\s+(?:scale|range)\s*(?:of|from)?\s*{ends}\)?"
        rf"|\(\s*(?:scale\s*:?\s*)?(?:from\s+)?{ends}\s*(?:scale)?\s*\)"
        rf"|\b(?:from|between)\s+{ends}|{ends}\s+scale\b|\bscale\s*(?:of|:|from)?\s*{ends}",
        re.IGNORECASE,
    )
