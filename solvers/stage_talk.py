"""Words from behind the stage: a played person who weighs, announces or declines the part in place of playing it.

No phrase decides this, since people say all of these words. It is which kinds of words meet in one place
(`stage_words.yaml`): who is spoken of in the third person, whether the making of a text is planned, what form it
is to have, what was told about it; and where they stand, before the words or after them.
"""

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

import yaml

from solvers.turn_marks import Names

WINDOW = 3
"""Sentences in a row that are looked at together."""

KINDS_THAT_MEET = 3
"""Kinds of words, in so many sentences, that make a text about the text."""

_WORDS = Path(__file__).parent / "stage_words.yaml"

_SENTENCE = re.compile(r"(?<=[.!?…])[\"”')]*\s+|\n+")
_APART = re.compile(
    r"(?P<bracket>\([^()]{8,}\)|\[[^\]]{4,}\]|\*[^*\n]{8,}\*)\s*\Z|\n[ \t]*\n[\s\-*_]*(?P<paragraph>[^\n]+)\Z"
)
_LABELS = re.compile(
    r"(?:\A|(?<=[.!?\n]))\W*(tone|length|perspective|constraints?|style|reasoning|analysis|answer|output|goal|persona"
    r"|(?:draft|option|version) \d)\W*:",
    re.IGNORECASE,
)
_ASSENT = re.compile(
    r"\A\W*(?:sure|certainly|of course|okay|ok|alright|absolutely|great)\b(?: thing)?[!,.: —-]+", re.IGNORECASE
)
_ASIDE = re.compile(r"\*[^*\n]{4,}\*|\([^()\n]{4,}\)|\[[^\]\n]{4,}\]")
_HEAD = re.compile(r"[^\n:]{1,160}[:\n]|\([^()\n]{1,60}\)|\[[^\]\n]{1,60}\]")
_WRAPPED = re.compile(r"```.*```|\{\s*\"\w+\"\s*:.*\}", re.DOTALL)
_FORETOLD = re.compile(r"\b(?:he|she|they|someone|somebody)(?:'d| would| might| should| may| will)\b", re.IGNORECASE)
_BARE_REFUSAL = re.compile(
    r"(?:\A\W*|\bsorry\W+(?:but )?)i(?: can(?:no|['’])t| am unable to|['’]m unable to| won['’]t) "
    r"(?:help|assist|comply)(?: you)? with (?:that|this)\b(?: request)?\W*(?:\Z|[.!])"
    r"|\A\W*(?:i['’]m |i am )?(?:really |very )?sorry\W+(?:but )?i(?: can(?:no|['’])t|['’]m (?:not comfortable|unable)(?: to)?|am not comfortable)"
    r" continu(?:e|ing)(?: (?:with )?this conversation)?\W*\Z"
    r"|\brespectfully decline\b",
    re.IGNORECASE,
)
"""What nobody says who is being helped, and what stands without any reason of a person's."""

_TELLS = r"(?:\w+s\b[^.!?:\n\"“]{0,60}? )?(?:types|texts|writes|says|replies|responds|answers|sends|messages|adds)(?: back)?\W*[:,\"“]"


def thinks_aloud(text: str, names: Names) -> bool:
    """Whether a message weighs its task or its part; thoughts in tags are `solvers.thoughts`' matter."""
    said = without_quotes(unframed(text, names))
    if len({label.lower() for label in _LABELS.findall(said)}) > 1:
        return True
    sentences = [s for s in _SENTENCE.split(said) if s.strip()]
    return any(
        _is_about_the_making(" ".join(sentences[i : i + WINDOW]), names)
        for i in range(max(1, len(sentences) - WINDOW + 1))
    )


def _is_about_the_making(text: str, names: Names) -> bool:
    """Whether kinds of words meet that tell of a part or a text as something to be made."""
    named = _named(text, names)
    person, agent = named or _of_the_person(text, names), _of_the_agent(text, names)
    taken = bool(_kind("taken").search(text)) or _named_as_a_part(text, names)
    foretold = person and (bool(_FORETOLD.search(text)) or _foretold_by_name(text, names))
    planned, made = bool(_kind("duty").search(text)), bool(_kind("craft").search(text))
    form, prompt = bool(_kind("form").search(text)), bool(_kind("prompt").search(text))
    if made and not (form or person) and _kind("elsewhere").search(text):
        return False
    short = made and bool(_kind("short").search(text))
    # somebody's own name in the third person is said by nobody but who plays them
    kinds = [person, named, agent, taken, foretold, planned, made, form or short, prompt]
    return sum(kinds) >= KINDS_THAT_MEET and (planned or form or foretold or taken) and (person or prompt or form)


def announces(text: str, names: Names) -> bool:
    """Whether a message stands in a frame: an announcement, a heading, a story around it, a remark about it."""
    if _WRAPPED.fullmatch(text.strip()) or re.match(rf"\W*(?:{_people(names)}) {_TELLS}", text):
        return True
    if any(_named(aside, names) for aside in _ASIDE.findall(text)):
        return True
    return unframed(text, names) != text


def unframed(text: str, names: Names) -> str:
    """The message without the announcement before it and the remark after it."""
    end = _remark(text, names)
    body = text if end is None else text[:end]
    rest = _ASSENT.sub("", body.strip())
    head = _HEAD.match(rest)
    if head is not None and rest[head.end() :].strip(" \n\t\"“”*_"):
        title, ends = head.group(0), head.group(0)[-1]
        if _is_a_heading(title, ends, names):
            return rest[head.end() :]
    return body


def _is_a_heading(title: str, ends: str, names: Names) -> bool:
    if _kind("elsewhere").search(title) or re.search(r"\bmy\b", title, re.IGNORECASE):
        return False
    whose = _of_the_person(title, names) or _mentions(title, names) or bool(_played(names, bare=True).search(title))
    pointing, named = bool(_kind("pointing").search(title)), bool(_kind("text").search(title))
    short = len(title.split()) <= 6
    if re.search(r"\b(?:as|in) (?:character|persona)\b", title, re.IGNORECASE) and (short or ends in ")]"):
        return True
    if ends in ")]":
        return whose and (named or re.match(r"\W*(?:as|speaking as)\b", title) is not None)
    if re.fullmatch(r"\W*(?:(?:text|user|customer) )?(?:message|reply|response|output)\W*:", title, re.IGNORECASE):
        return True
    if re.fullmatch(r"here (?:you go|it is)\W*", title, re.IGNORECASE):
        return True
    if ends == "\n" and not short:
        return pointing and named and whose
    might = re.search(r"\b(?:might|could|would) (?:say|respond|reply|write|answer|text|be)\b", title)
    this_is = title.lower().startswith("this is")
    return (named or bool(might)) and (whose or (pointing and not this_is))


def _remark(text: str, names: Names) -> int | None:
    """Where a remark on the message begins that stands apart at its end: in brackets, italics, a paragraph."""
    end = _APART.search(text.rstrip())
    if end is None or not text[: end.start()].strip():
        return None
    remark = end["bracket"] or end["paragraph"]
    person = _of_the_person(remark, names)
    form, prompt, made = (bool(_kind(k).search(remark)) for k in ("form", "prompt", "craft"))
    about = re.search(r"\b(?:this|the) (?:message|response|reply|version)\b|\bend of\b", remark, re.IGNORECASE)
    if re.search(r"\blet me know (?:if|whether)\b|\bwould you like\b", remark, re.IGNORECASE):
        found = made and not _kind("elsewhere").search(remark)
    elif end["bracket"]:
        told = re.match(r"\W*(?:note\b|she |he |they )", remark, re.IGNORECASE)
        found = bool(about) or sum([person, form, prompt, made, bool(told)]) > 1
    else:
        found = bool(about) and (form or prompt or person or bool(_kind("short").search(remark)))
    return end.start() if found else None


def declines(text: str) -> bool:
    """Whether a message declines to play the part."""
    said = without_quotes(text)
    for sentence in _SENTENCE.split(said):
        as_a_model = re.search(r"\bas an? (?:ai|(?:large )?language model)\b", sentence, re.IGNORECASE)
        if _kind("decline").search(sentence) and (as_a_model or _kind("part").search(sentence)):
            return True
    return _BARE_REFUSAL.search(said) is not None


def without_quotes(text: str) -> str:
    """A text without what stands in double quotes in it; a text that is one quotation is left whole."""
    inner = text.strip()
    if re.fullmatch(r"[\"“][^\"“”]*[\"”]", inner):
        return inner[1:-1]
    return re.sub(r"[\"“„«][^\"“”„«»\n]*[\"”»“]", " … ", text)


def _proper(names: frozenset[str]) -> Iterator[str]:
    yield from (re.escape(n) for n in sorted(names) if n[:1].isupper())


def _people(names: Names) -> str:
    return "|".join([*_proper(names.person), "[Tt]he (?:person|user|customer|character)"])


def _mentions(text: str, names: Names) -> bool:
    own = "|".join(_proper(names.person))
    return bool(own) and re.search(rf"\b(?:{own})\b", text) is not None


@lru_cache(maxsize=512)
def _named_pattern(names: Names) -> re.Pattern[str] | None:
    own = "|".join(_proper(names.person))
    if not own:
        return None
    verbs = r"(?:'d|'ll|'s (?:reply|message|response|perspective|view|voice)| (?:is|was|has|had|would|might|may|should|will|just|also|never|always|wants|\w+s)\b)"
    # not where people name themselves: "I'm Kim", "Kim here", a signature
    return re.compile(
        rf"(?<!i'm )(?<!i am )(?<!it's )(?<!name is )\b(?:{own}){verbs}(?![^.!?\n]*\bhere\b)"
        rf"|\b(?:[Aa]s|als|como|comme|come|[Cc]onsider|portray|[Pp]laying|perspective of) (?:{own})\b(?!'s)"
    )


def _of_the_person(text: str, names: Names) -> bool:
    """Whether the person is spoken of: by what they are, by what the prompt calls them, by name."""
    found = _kind("person").search(text) or _played(names).search(text)
    return found is not None or _named(text, names) or _named_as_a_part(text, names)


@lru_cache(maxsize=512)
def _played(names: Names, *, bare: bool = False) -> re.Pattern[str]:
    """What the prompt calls the person ("You play a customer"), in the third person."""
    nouns = "|".join(re.escape(n) for n in sorted(names.person) if n.islower() and n not in ("person", "user"))
    if not nouns:
        return re.compile(r"(?!)")
    if bare:
        return re.compile(rf"\b(?:{nouns})\b", re.IGNORECASE)
    return re.compile(
        rf"\b(?:(?:the|this|as an?) (?:{nouns})\b(?! (?:at|in|from|who|that)\b)|(?:{nouns})'s\b)", re.IGNORECASE
    )


@lru_cache(maxsize=512)
def _named_pattern(names: Names) -> re.Pattern[str] | None:
    own = "|".join(_proper(names.person))
    if not own:
        return None
    verbs = r"(?:'d|'ll| (?:is|was|has|had|would|might|may|should|will|just|also|never|always|\w+s)\b)"
    # not where people name themselves: "I'm Kim", "Kim here", a signature
    return re.compile(
        rf"(?<!i'm )(?<!i am )(?<!it's )(?<!name is )\b(?:{own}){verbs}(?![^.!?\n]*\bhere\b)", re.IGNORECASE
    )


def _named(text: str, names: Names) -> bool:
    """Whether the person's own name is the subject of a sentence."""
    pattern = _named_pattern(names)
    return pattern is not None and pattern.search(text) is not None


def _named_as_a_part(text: str, names: Names) -> bool:
    own = "|".join(_proper(names.person))
    pattern = rf"\b(?:[Aa]s|als|como|comme|come|[Cc]onsider|[Pp]ortray|[Pp]laying|perspective of) (?:{own})\b(?!'s)"
    return bool(own) and re.search(pattern, text) is not None


def _foretold_by_name(text: str, names: Names) -> bool:
    people = "|".join([*_proper(names.person), *(rf"[Tt]he {n}" for n in {*names.person, "user", "person"} if n.islower())])
    return re.search(rf"\b(?:{people})(?:'d| would| might| should| may| will)\b", text) is not None


def _of_the_agent(text: str, names: Names) -> bool:
    if _kind("agent").search(text):
        return True
    agent = "|".join(_proper(names.agent))
    verb = r"(?:just |has |is |had )?\w+(?:ed|s|ing|ld|ve)\b"
    return bool(agent) and re.search(rf"\b(?:{agent}) {verb}", text) is not None


@cache
def _kind(name: str) -> re.Pattern[str]:
    words = yaml.safe_load(_WORDS.read_text(encoding="utf-8"))[name].split("\n")
    return re.compile(rf"(?<![\w'])(?:{'|'.join(filter(None, words))})(?!\w)", re.IGNORECASE)
