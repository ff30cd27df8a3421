"""Reading the answer that a judge wrote: the whole number or word, or nothing.

An answer has to stand where answers stand: alone in the text, alone in its first or last line (a reason may
follow it), behind a label (`Rating: 8`, `{"rating": 8}`), in a statement (`I would give it an 8`), or in a
frame (`\\boxed{8}`, `<answer>8</answer>`). A number in the middle of a sentence is none, nor is one that
goes on: `8.5`, `85`, `-8`, `8%`, `8+`, `7-8`, `8/5`. Of a number out of something, the something must be
the top of the scale. Whole decimals (`8.0`), number words and digits of other scripts are read.

Where several places state an answer, they must state the same one. A label counts for more than a bare line,
a final one for more than others, and whoever labels something unreadable as the answer (`Rating: 8.5`) has
given none. What comes before the end of a thought is not looked at; a thought without an end hides all.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from scorers.judging.answer_forms import (
    END_OF_SENTENCE,
    FINAL,
    FRAMED,
    NO_OPINION,
    UNREADABLE,
    Forms,
    forms_for,
    is_label,
    reason_follows,
)

_THOUGHTS = "think|thinking|thoughts?|reasoning|analysis|scratchpad|reflection|seed:think"
_OPENS_THOUGHT = re.compile(
    rf"<(?:{_THOUGHTS})>|\[THINK\]|◁think▷|<\|START_THINKING\|>|<\|begin_of_thought\|>"
    r"|<\|channel\|>(?!final)\w+|<\|channel>thought",
    re.IGNORECASE,
)
_CLOSES_THOUGHT = re.compile(
    rf"</(?:{_THOUGHTS})>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<\|end_of_thought\|>"
    r"|<\|channel\|>final(?:<\|message\|>)?|<channel\|>",
    re.IGNORECASE,
)
_NO_WORDS = re.compile(
    r"<\|[^<>|\n]{0,40}\|>|<｜[^<>｜\n]{0,40}｜>|</?(?:s|eos|bos|pad|unk|end|end_of_turn|start_of_turn)>"
    r"|</?(?:b|i|em|strong|p|br|div|span|code)\s*/?>|\[/?INST\]|\\[()\[\]]",
    re.IGNORECASE,
)
"""Control strings and markup that say nothing."""

_FENCE = re.compile(r"```[ \t]*(?:json|text|txt|yaml|xml|markdown|plaintext)?", re.IGNORECASE)
_HEADING = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|[•·][ \t]*|[*+-][ \t]+(?=[\"'*_]*[A-Za-z]))", re.MULTILINE)
_MATHS = re.compile(r"\$([^$\n]{1,40})\$")
_BREAK = re.compile(r"\n+|[{}|;]|,(?=\s*[\"']?[A-Za-z][A-Za-z _']{0,30}[\"']?\s*[:=])")
_SENTENCE = re.compile(
    r"(?<=[.!?])(?<!\bno\.)(?<!\bnr\.)(?<!\bp\.)(?<!\bpp\.)(?<!\bvs\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bca\.)"
    r"(?<!\bapprox\.)(?<!\bfig\.)(?<!\bcf\.)(?<!\bch\.)(?<!\bvol\.)\s+|(?<=[.!?])\s+(?=\D)|(?<=。)",
    re.IGNORECASE,
)
"""Between sentences; an abbreviation before a number ends none."""

_DIGITS = re.compile(r"\d+")
_NUMBER = re.compile(r"\W*\d+\W*")
_NO_LETTERS = re.compile(r"[\W\d]*\d[\W\d]*")
_LIST_NUMBER = re.compile(r"\s*\d+[.)]\s*\Z")


class Found(NamedTuple):
    """An answer in a text."""

    answer: str
    """As the scale writes it."""

    start: int
    end: int
    """Its place in the text, without what it is out of."""


class _Sentence(NamedTuple):
    text: str
    at: int
    """Its offset in the judge's text."""

    ends_line: bool


def parse_answer(text: str, support: Mapping[str, float]) -> str | None:
    """The answer that `text` gives, as the scale writes it; None if it gives none, or more than one.

    Args:
        text: All that the judge wrote.
        support: Answer -> value.
    """
    found = find_answer(text, support)
    return found.answer if found else None


def find_answer(text: str, support: Mapping[str, float]) -> Found | None:
    """`parse_answer`, with one place where the answer stands."""
    return _find(text, tuple(support))


def after_thought(text: str) -> int:
    """Where the answer may begin: behind the last thought; at the end of the text if a thought has no end."""
    closed = max((m.end() for m in _CLOSES_THOUGHT.finditer(text)), default=0)
    return len(text) if _OPENS_THOUGHT.search(text, closed) else closed


@lru_cache(maxsize=1 << 14)
def _find(text: str, answers: tuple[str, ...]) -> Found | None:
    begin = after_thought(text)
    forms = forms_for(answers)
    plain = forms.without_scale(_plain(text, begin))
    if not forms.occurs(plain):
        return None
    lines = [list(_sentences(plain, *line)) for line in _lines(plain, begin)]
    lines = [line for line in lines if line]
    if not lines:
        return None
    labelled = [*_framed(plain, begin, forms), *_labelled(lines, forms)]
    if labelled:
        return _agreed(labelled, _bare(lines, forms) if forms.numbers else [])
    if not forms.numbers and NO_OPINION.search(plain, begin):
        return None
    return _unlabelled(lines, forms)


# -- the text, as it is looked at -----------------------------------------------------------------


def _plain(text: str, begin: int) -> str:
    """The text with spaces for what says nothing and 0 to 9 for digits of all scripts; no place moves."""
    text = " " * begin + text[begin:]
    for says_nothing in (_NO_WORDS, _FENCE, _HEADING):
        text = says_nothing.sub(lambda m: " " * len(m[0]), text)
    text = _MATHS.sub(r" \1 ", text)
    if not text.isascii():
        text = "".join(map(_plain_character, text))
    text = re.sub(r"[*_`\r\t]", " ", text)
    text = re.sub(r"'([^'\n]{1,20})'(?!\w)", r" \1 ", text)
    quote = text.find('"')
    # 8" is eight inches; what stands behind a quotation mark is quoted
    if quote < 1 or not text[:quote].rstrip()[-1:].isdigit():
        text = text.replace('"', " ")
    return _without_loose_ends(text)


def _without_loose_ends(text: str) -> str:
    """The text with a character that no answer holds in place of brackets that nothing opened."""
    if ")" not in text and "]" not in text:
        return text
    opened = Counter[str]()
    characters = list(text)
    for place, character in enumerate(characters):
        if character in "([":
            opened[character] += 1
        elif character in ")]":
            opens = "(" if character == ")" else "["
            opened[opens] -= 1
            if opened[opens] < 0:
                characters[place], opened[opens] = "\0", 0
    return "".join(characters)


@lru_cache(maxsize=4096)
def _plain_character(character: str) -> str:
    if 0xFF01 <= ord(character) <= 0xFF5E:  # full-width forms
        return chr(ord(character) - 0xFEE0)
    if character in "“”„«»":
        return '"'
    if character in "‘’":
        return "'"
    if character in "−‐‑":
        return "-"
    if character in "⁄∕":
        return "/"
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    # spaces, invisible characters, and what makes a digit a picture of a key
    return " " if category in ("Zs", "Cf") or character in "\ufe0f\u20e3" else character


def _lines(plain: str, begin: int) -> Iterator[tuple[int, int]]:
    at = begin
    for found in _BREAK.finditer(plain, begin):
        yield at, found.start()
        at = found.end()
    yield at, len(plain)


def _sentences(plain: str, start: int, end: int) -> Iterator[_Sentence]:
    at = start
    line = plain[start:end]
    for found in [*_SENTENCE.finditer(line), None]:
        stop = end if found is None else start + found.start()
        if plain[at:stop].strip():
            yield _Sentence(plain[at:stop], at, ends_line=found is None)
        at = end if found is None else start + found.end()


# -- answers with a label, and in a frame -----------------------------------------------------------


class _Stated(NamedTuple):
    found: Found | None
    """None if what is stated as the answer cannot be read."""

    final: bool = False


def _framed(plain: str, begin: int, forms: Forms) -> Iterator[_Stated]:
    for frame in FRAMED.finditer(plain, begin):
        group = "boxed" if frame["boxed"] is not None else "tagged"
        content = forms.whole.match(frame[group])
        stated = forms.found(content, frame.start(group)) if content else None
        if stated is not None:
            yield _Stated(Found(*stated), final=True)
        elif UNREADABLE.match(frame[group]):
            yield _Stated(None, final=True)


def _labelled(lines: list[list[_Sentence]], forms: Forms) -> Iterator[_Stated]:
    for number, line in enumerate(lines):
        for place, sentence in enumerate(line):
            if found := forms.statement(sentence.text):
                yield _stated_in(found, sentence, forms)
            elif is_label(sentence.text) and sentence.ends_line and number + 1 < len(lines):
                below = lines[number + 1][0]
                if found := forms.bare.match(below.text):
                    yield _stated_in(found, below, forms, FINAL.search(sentence.text) is not None)
                elif UNREADABLE.match(below.text):
                    yield _Stated(None)
            elif place == 0 and forms.states_unreadable(sentence.text):
                yield _Stated(None, final=FINAL.search(sentence.text) is not None)


def _stated_in(found: re.Match[str], sentence: _Sentence, forms: Forms, final: bool | None = None) -> _Stated:
    stated = forms.found(found, sentence.at)
    rest = found["rest"]
    if final is None:
        final = FINAL.search(found.string, 0, found.start("value")) is not None
    if stated is None or not reason_follows(rest, stated[0], forms):
        return _Stated(None, final)
    return _Stated(Found(*stated), final)


def _agreed(labelled: list[_Stated], bare: list[Found | None]) -> Found | None:
    final = [s for s in labelled if s.final]
    counted = final or labelled
    answers = {s.found.answer if s.found else None for s in counted}
    if not final:
        answers |= {b.answer for b in bare if b}
    return counted[-1].found if len(answers) == 1 else None


# -- bare answers ---------------------------------------------------------------------------------


def _bare(lines: list[list[_Sentence]], forms: Forms) -> list[Found | None]:
    """Answers with which the first or the last line begins, but no numbers of lists; None where there are
    more.

    Lines of nothing but a number next to them are as much of an answer.
    """
    found: list[Found | None] = []
    for end in (lines, lines[::-1][: len(lines) - 1]):
        if end is not lines and len(end) and lines[-2][-1].text.rstrip().endswith(":"):
            continue  # it belongs to the label above it
        for place, line in enumerate(end):
            if _numbers_a_list(line) or _is_next_in_a_list(line, lines):
                break
            if place and not (len(line) == 1 and _NUMBER.fullmatch(line[0].text)):
                break
            answer = _leading(line[0], forms)
            if answer or place or _NO_LETTERS.fullmatch(line[0].text):
                found.append(answer)
            if not answer:
                break
    return found


def _numbers_a_list(line: list[_Sentence]) -> bool:
    return len(line) > 1 and _LIST_NUMBER.match(line[0].text) is not None


def _is_next_in_a_list(line: list[_Sentence], lines: list[list[_Sentence]]) -> bool:
    """Whether a line is nothing but the number after that of another line: the list was cut there."""
    alone = _LIST_NUMBER.match(line[0].text) if len(line) == 1 else None
    numbers = [int(_DIGITS.findall(other[0].text)[0]) for other in lines if _numbers_a_list(other)]
    return alone is not None and int(_DIGITS.findall(line[0].text)[0]) - 1 in numbers


def _leading(sentence: _Sentence, forms: Forms) -> Found | None:
    match = forms.bare.match(sentence.text)
    if match is None:
        return None
    stated = forms.found(match, sentence.at)
    return Found(*stated) if stated and reason_follows(match["rest"], stated[0], forms) else None


def _unlabelled(lines: list[list[_Sentence]], forms: Forms) -> Found | None:
    lines = _without_questions(lines)
    if not lines:
        return None
    bare = _bare(lines, forms)
    if bare:
        answers = {b.answer if b else None for b in bare}
        if not forms.numbers:
            answers |= {f.answer for line in lines for s in line if (f := _leading(s, forms))}
        return bare[0] if len(answers) == 1 else None
    below_a_label = len(lines) > 1 and lines[-2][-1].text.rstrip().endswith(":") and len(lines[-1]) == 1
    if below_a_label or _is_next_in_a_list(lines[-1], lines):
        return None
    last = lines[-1][-1]
    if found := forms.closing(last.text):
        stated = forms.found(found, last.at)
        return Found(*stated) if stated else None
    return _numbered(lines, forms)


def _numbered(lines: list[list[_Sentence]], forms: Forms) -> Found | None:
    """The `8.` of "8. It helps.", if it is no number of a list."""
    listed = [s for line in lines for s in line[:-1] if _LIST_NUMBER.match(s.text)]
    if len(listed) != 1 or listed[0] != lines[0][0]:
        return None
    return _leading(listed[0], forms)


def _without_questions(lines: list[list[_Sentence]]) -> list[list[_Sentence]]:
    """The lines from where the judge no longer repeats the question."""
    flat = [(n, s) for n, line in enumerate(lines) for s in line]
    while flat and flat[0][1].text.rstrip(END_OF_SENTENCE).endswith("?"):
        flat.pop(0)
    kept: list[list[_Sentence]] = []
    for number in dict.fromkeys(n for n, _ in flat):
        kept.append([s for n, s in flat if n == number])
    return kept
