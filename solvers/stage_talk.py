"""Words from behind the stage: a person who weighs, announces or declines the part in place of playing it.

No phrase decides this, since people say all of these words. It is which kinds of words meet in one place
(`stage_words.yaml`): who is spoken of in the third person, whether the making of a text is planned, what form
it is to have, what was told about it; and where they stand, before the words or after them.
"""

import re

from solvers.third_person import kind, third_person, without_quotes
from solvers.turn_marks import Names

WINDOW = 3
"""Sentences in a row that are looked at together."""

KINDS_THAT_MEET = 3
"""Kinds of words, in so many sentences, that make a text about the text."""

KINDS_APART = 2
"""The same for what stands apart from the words and addresses nobody."""

_SENTENCE = re.compile(r"(?<=[.!?…])[\"”')]*\s+|\n+")

_LABELS = re.compile(
    r"(?:\A|(?<=[.!?\n]))\W*(?:my )?"
    r"(?:(tone|perspective|constraints?|style|reasoning|analysis|thoughts?|output|persona|role)"
    r"|length|answer|goal|reply|response|message|setting)\W*:",
    re.IGNORECASE,
)
"""Headings of a plan. One is anybody's; several, of which one is in the group, are not."""

_DRAFTS = re.compile(r"\b(?:draft|option|version) (\d)\W*:?\W*[\"“]", re.IGNORECASE)

_ASSENT = re.compile(
    r"\A\W*(?:sure|certainly|of course|okay|ok|alright|absolutely|great)\b(?: thing)?[!,.: —-]+",
    re.IGNORECASE,
)
_HEAD = re.compile(r"[^\n:]{1,160}[:\n]|\([^()\n]{1,60}\)|\[[^\]\n]{1,60}\]")
_BARE_HEAD = re.compile(
    r"\W*(?-i:[A-Z]+_[A-Z_]+):|here (?:you go|it is)\W*"
    r"|\W*(?:(?:text|user|customer) )?(?:message|reply|response|output)(?: \d)?\W*:",
    re.IGNORECASE,
)
_ARROW = re.compile(r"<-+|←|-+>|=>|→")
_ADDRESSES = re.compile(r"\b(?:you|your|yours|yourself|u|ur|thanks|please)\b|\?", re.IGNORECASE)
_WRAPPED = re.compile(r"```.*```|\{\s*\"\w+\"\s*:.*\}", re.DOTALL)
_ASIDE = re.compile(r"\*[^*\n]{4,}\*|\([^()\n]{4,}\)|\[[^\]\n]{4,}\]")
_TELLS = (
    r"\b[^.!?:\n\"“]{0,60}?\b(?:types|texts|writes|says|replies|responds|answers|sends|messages|adds)"
    r"(?: back)?\W*[:,\"“]"
)
_APART = re.compile(
    r"(?P<bracket>\([^()]{8,}\)|\[[^\]]{4,}\]|\*[^*\n]{8,}\*)\s*\Z|\n[ \t]*\n[\s\-*_]*(?P<paragraph>[^\n]+)\Z"
)

_UNWILLING = r"(?: can(?:no|['’])t|(?: am|['’]m) (?:unable to|not comfortable)| won['’]t)"
_BARE_REFUSAL = re.compile(
    rf"(?:\A\W*|\bsorry\W+(?:but )?)i{_UNWILLING} (?:help|assist|comply)(?: you)? with (?:that|this)\b"
    r"(?: request)?\W*(?:\Z|[.!])"
    rf"|\A\W*(?:i['’]m |i am )?(?:really |very )?sorry\W+(?:but )?i{_UNWILLING} continu(?:e|ing)"
    r"(?: (?:with )?this conversation)?\W*\Z"
    r"|\brespectfully decline\b",
    re.IGNORECASE,
)
"""What nobody says who is being helped, and what stands without any reason of a person's."""


def thinks_aloud(text: str, names: Names) -> bool:
    """Whether a message weighs its task or its part; thoughts in tags are `solvers.thoughts`' matter."""
    body = unframed(text, names)
    said = without_quotes(body)
    labels = [m[1] for m in _LABELS.finditer(said)]
    if (len(labels) > 1 and any(labels)) or len(set(_DRAFTS.findall(text))) > 1:
        return True
    if any(_is_about_the_making(part, names, least=KINDS_APART) for part in _apart(body)):
        return True
    sentences = [s for s in _SENTENCE.split(said) if s.strip()]
    return any(
        _is_about_the_making(" ".join(sentences[i : i + WINDOW]), names)
        for i in range(max(1, len(sentences) - WINDOW + 1))
    )


def _apart(text: str) -> list[str]:
    """What stands apart from the words: asides, an arrow's other side, a paragraph that addresses nobody."""
    found = [m.group(0)[1:-1] for m in _ASIDE.finditer(text)]
    if arrow := _ARROW.search(text):
        found.append(text[arrow.end() :] if arrow.group(0).startswith("<") else text[: arrow.start()])
    paragraphs = [p for p in re.split(r"\n\s*\n", text) if p.strip()]
    found += [p for p in paragraphs if len(paragraphs) > 1 and not _ADDRESSES.search(p)]
    return [without_quotes(part) for part in found]


def _is_about_the_making(text: str, names: Names, least: int = KINDS_THAT_MEET) -> bool:
    """Whether kinds of words meet that tell of a part or a text as something to be made."""
    spoken_of = third_person(names)
    person, taken = spoken_of.person(text), spoken_of.taken_as_a_part(text)
    forms = len({m.group(0).lower() for m in kind("form").finditer(text)})
    prompt = kind("prompt").search(text) is not None
    if not (person or prompt or taken or forms):  # nothing of a part: as most messages are
        return False
    made = kind("craft").search(text) is not None
    if made and not forms and not person and kind("elsewhere").search(text):
        return False
    foretold, planned = spoken_of.foretold(text), kind("duty").search(text) is not None
    short = kind("short").search(text) is not None
    meeting = [
        person,
        spoken_of.named(text),
        spoken_of.agent(text),
        taken,
        foretold,
        spoken_of.line_foretold(text),
        planned,
        made,
        forms > 0 or (short and (made or person)),
        forms > 1 or (forms > 0 and short and least == KINDS_APART),
        prompt,
    ]
    to_be_made = planned or forms > 0 or foretold or taken or spoken_of.named(text)
    return sum(meeting) >= least and to_be_made


def announces(text: str, names: Names) -> bool:
    """Whether a message stands in a frame: an announcement, a heading, a story, a remark about it."""
    spoken_of = third_person(names)
    if _WRAPPED.fullmatch(text.strip()) or re.match(rf"\W*(?:{spoken_of.people}){_TELLS}", text):
        return True
    return any(spoken_of.named(aside) for aside in _ASIDE.findall(text)) or unframed(text, names) != text


def unframed(text: str, names: Names) -> str:
    """The message without the announcement before it and the remark after it."""
    end = _remark(text, names)
    body = text if end is None else text[:end]
    rest = _ASSENT.sub("", body.strip())
    head = _HEAD.match(rest)
    has_words = head is not None and rest[head.end() :].strip(' \n\t"“”*_')
    return rest[head.end() :] if head and has_words and _is_a_heading(head.group(0), names) else body


def _is_a_heading(title: str, names: Names) -> bool:
    whose = third_person(names).mentioned(title)
    if kind("elsewhere").search(title) or re.search(r"[.!?] ", title):
        return False
    if re.search(r"\bmy\b", title, re.IGNORECASE) and not whose:
        return False
    ends, short = title[-1], len(title.split()) <= 6
    if re.search(r"\b(?:as|in) (?:character|persona)\b", title, re.IGNORECASE) and (short or ends in ")]"):
        return True
    named, pointing = kind("text").search(title) is not None, kind("pointing").search(title) is not None
    if ends in ")]":
        return whose and (named or re.match(r"\W*(?:as|speaking as)\b", title) is not None)
    if _BARE_HEAD.fullmatch(title) or re.fullmatch(rf"(?:From|By) (?:{third_person(names).people}):", title):
        return True
    if ends == "\n" and not short:
        return pointing and named and whose
    might = re.search(r"\b(?:might|could|would) (?:say|respond|reply|write|answer|text|be)\b", title)
    return (named or might is not None) and (whose or (pointing and not title.lower().startswith("this is")))


def _remark(text: str, names: Names) -> int | None:
    """Where a remark on the message begins that stands apart at its end: in brackets, or as a paragraph."""
    end = _APART.search(text.rstrip())
    if end is None or not text[: end.start()].strip():
        return None
    remark = end["bracket"] or end["paragraph"]
    person = third_person(names).person(remark)
    form, prompt, made, short = (
        kind(name).search(remark) is not None for name in ("form", "prompt", "craft", "short")
    )
    about = re.search(
        r"\b(?:this|the) (?:message|response|reply|version)\b|\bend of\b", remark, re.IGNORECASE
    )
    if re.search(r"\blet me know (?:if|whether)\b|\bwould you like\b", remark, re.IGNORECASE):
        found = made and not kind("elsewhere").search(remark)
    elif re.match(r"[(\[*]", remark.strip()):
        told = re.match(r"\W*(?:note\b|she |he |they )", remark, re.IGNORECASE)
        found = about is not None or sum([person, form, prompt, made, told is not None]) > 1
    else:
        found = about is not None and (form or prompt or person or short)
    return end.start() if found else None


def declines(text: str) -> bool:
    """Whether a message declines to play the part."""
    said = without_quotes(text)
    return any(_declines(s) for s in _SENTENCE.split(said)) or _BARE_REFUSAL.search(said) is not None


def _declines(sentence: str) -> bool:
    if not kind("decline").search(sentence):
        return False
    as_a_model = re.search(
        r"\b(?:as|i['’]m|i am) an? (?:ai(?! \w+(?:er|ist)\b)|(?:large )?language model)\b",
        sentence,
        re.IGNORECASE,
    )
    gone_on_with = kind("setting").search(sentence) and kind("going_on").search(sentence)
    return bool(as_a_model or gone_on_with or kind("part").search(sentence))
