"""Words that look like structure: marks of speakers, lines of other speakers, control strings of templates.

What a reader takes for structure is wider than what our marks are, so look-alikes are searched for in a
folded copy: compatible characters unified, accents and invisible characters dropped, letters of other
scripts that look Latin read as Latin, lower case. What is found too much costs nothing: such words are
shown with every letter in its place, only so that they cannot pass for structure.
"""

import re
import unicodedata
from functools import lru_cache

_LOOKS_LIKE = {
    "a": "аαɑⲁꓮᎪ", "b": "вьβⲃꓐᏴ", "c": "сⲥꓚᏟϲ", "d": "ԁꓓᎠ", "e": "еεєⲉꓰᎬ", "f": "ϝꓝ", "g": "ɡցꓖᏀ",
    "h": "һнհⲏꓧᎻ", "i": "іιⲓꓲᎥ", "j": "јꓙᎫ", "k": "кκⲕꓗᏦ", "l": "ӏⳑꓡᏞ", "m": "мⲙꓟᎷ", "n": "пηոⲛꓠɴ",
    "o": "оοσօⲟꓳ", "p": "рρⲣꓑᏢ", "r": "гⲅꓣᎡ", "s": "ѕςꓢᏚ", "t": "тτⲧꓔᎢ", "u": "υцսμꓴ", "v": "ѵνꓦᏙ",
    "w": "ԝωѡꓪᎳ", "x": "хχⲭꓫ", "y": "уγⲩꓬᎩ",
    ":": "∶꞉ː׃։܃", "[": "【〔〖〘〚⟦⦋⦍⦏❲⟬⁅⎡⌈", "]": "】〕〗〙〛⟧⦌⦎⦐❳⟭⁆⎤⌉", "<": "〈⟨❬❰⟪", ">": "〉⟩❭❱⟫",
    "|": "│┃ǀ∣❘⏐",
}  # fmt: skip
"""Characters by what they pass for, where Unicode's compatibility forms do not say it."""

_SAME = {odd: plain for plain, odds in _LOOKS_LIKE.items() for odd in odds}

_LATIN = re.compile(
    r"(?:LATIN|SYMBOL).* LETTER (?:SMALL CAPITAL |DOTLESS |LONG |SCRIPT )?([A-Z])(?: WITH .*)?$"
)
"""Names of characters that are a Latin letter in some dress: small capitals, circled, flags, tags."""

_ROUND = str.maketrans(
    {
        odd: plain
        for bracket, plain in {"[": "(", "]": ")", "<": "‹", ">": "›"}.items()
        for odd in (
            bracket,
            chr(ord(bracket) + 0xFEE0),
            *_LOOKS_LIKE[bracket],
        )  # the second is the full-width one
    }
)

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SPACED = re.compile(r"(?<![a-z0-9])(?:[a-z][ ._*-]{1,2}){3,}[a-z](?![a-z0-9])")
_DIGITS = re.compile(r"(?<=[a-z])[013457](?=[a-z])")
_AS_LETTERS = str.maketrans("013457", "oieast")


def _folded(words: str) -> str:
    """What `words` look like, in lower case, lines parted by line feeds."""
    if words.isascii() and not _UNPRINTABLE.search(words):
        text = words.lower()
    else:
        text = "".join(map(_seen_as, "\n".join(words.splitlines())))
    if _SPACED.search(text):
        text = _SPACED.sub(lambda m: re.sub(r"[^a-z]", "", m[0]), text)
    return _DIGITS.sub(lambda m: m[0].translate(_AS_LETTERS), text)


@lru_cache(maxsize=4096)
def _seen_as(character: str) -> str:
    if character in _SAME:
        return _SAME[character]
    if character == "\n" or " " <= character <= "~":
        return character.lower()
    if latin := _LATIN.search(unicodedata.name(character, "")):
        return latin[1].lower()
    found: list[str] = []
    for part in unicodedata.normalize("NFKD", character):
        if not _is_seen(part) or unicodedata.category(part) in ("Mn", "Me"):
            continue
        found.append(" " if part.isspace() else _SAME.get(part.casefold(), _SAME.get(part, part.casefold())))
    return "".join(found)


def _is_seen(character: str) -> bool:
    return character == "\t" or (
        unicodedata.category(character) not in ("Cc", "Cf") and character not in "\u115f\u1160\u3164\uffa0"
    )


# -- what is looked for, in the folded copy --------------------------------------------------------

_ELSEWHERE = (
    "nutzer|nutzerin|benutzer|mensch|assistent|assistentin|utilisateur|utilisatrice|l'assistant|usuario|usuaria"
    "|persona|asistente|usuário|assistente|utente|пользователь|человек|ассистент|用户|用戶|人类|助手|ユーザー"
    "|アシスタント|사용자"
)
"""The speakers in some other languages."""

_SPEAKER = (
    "(?:person|user|human|assistant|ai|chat ?bot|bot|system|developer|judge|rater|grader|evaluator"
    f"|{_folded(_ELSEWHERE)})"
)
_OTHER_NAME = "(?:customer|client|patient|caller|guest|therapist|counsell?or|agent|model|app|companion|coach)"
_PART = rf"(?:{_SPEAKER}|tool(?: |_)?(?:calls?|results?|response|output)?|function|observation|notes?)"
_SPEAKS = (
    r"(?:(?:'s)?\s(?:(?:next|last|first|final|previous)\s)?"
    r"(?:message|reply|response|turn|answer|words|input|output|prompt|says|said|replies|replied|writes|wrote"
    r"|responds|responded|answers|answered|again|now|then|[a-z]|\d+)\b){0,3}[_ ]?\d{0,3}"
    r"(?:\s?\([^()\n]{0,80}\)|,\s[^:\n]{1,40}(?=:))?"
)
_LEAD = (
    r"[^\w\n]{0,200}(?:(?:(?:turn|message|round|step)\s?)?#?\d{1,4}[^\w\n]{1,10}){0,2}"
    r"(?:(?:the|a|this|simulated|real|next|new)\s){0,3}"
)
_TALK = r"(?:conversation|transcript|dialog(?:ue)?|chat|excerpt)"
_EDGE = r"(?:end|start|begin|beginning)"
_SHUT = r"\s{0,5}[*_`~#\])}>\"]{0,6}\s{0,5}"

_TAG = (
    r"s|sys|bos|eos|pad|unk|sep|cls|s?mask|sop|eop|eod|eot|eom|end|start|think\w*|thought\w*|reason\w*|analysis|final"
    r"|answer|tools?|tool_\w+|functions?|function_\w+|parameters?|invoke|turn|\w+_of_\w+|extra_id_\d+|reserved_\w+"
    r"|unused\d+|image|img|audio|video|(?:minimax|arg)_\w+|\w+:\w+|recipient|instructions?|messages?|conversation|transcript"
    r"|dialog(?:ue)?|chat"
)
"""Names in angle brackets that some template or tokenizer gives a meaning. Speakers are below."""

_CONTROL = re.compile(
    rf"<\||\|>|<<\s?/?\s?sys|</?(?:{_TAG})(?:[=\s][^<>\n]{{0,200}})?/?>"
    r"|\[/?(?:inst|sys|system|system_prompt|available_tools|tool_calls?|tool_results?|tool_content|args|call_id"
    r"|gmask|s?mask|cls|sep|unk|pad|bos|eos|img|img_break|img_end|think|prefix|suffix|middle"
    r"|begin_audio|audio|model_settings|control_\d+|token_\d+|multimodal)\]"
    r"|\]~!?b[\[\]]|\[e~\["
    r"|\b(?:im_start|im_end|start_of_turn|end_of_turn|endoftext|eot_id|start_header_id|end_header_id"
    r"|begin_of_text|end_of_text|start_of_role|end_of_role)\b"
)
"""Control strings of chat templates: a tokenizer may read them in words as what they are."""

_STRUCTURE = re.compile(
    "|".join(
        (
            # a bracketed line, whatever is in it: that is how our marks look
            r"^[^\w\n\[(]{0,200}\[{1,3}[^\[\]\n]{1,500}\]{1,3}[^\w\n]{0,200}$",
            rf"^[^\w\n]{{0,200}}\[[^\[\]\n]{{1,60}}\]{_SHUT}:",
            # a speaker in brackets, wherever it stands
            rf"[\[<{{]\s?/?\s?(?:{_EDGE} of )?(?:(?:turn|message) \d+\W{{1,3}})?(?:the |a |new )?"
            rf"(?:{_PART}|thoughts?)\b"
            r"[^\[\]<>{}\n]{0,60}[\]>}]",
            rf"[\[<{{(]\s?/?\s?(?:the )?{_EDGE} of (?:the |this )?{_TALK}[^\n]{{0,20}}[\]>}})]",
            # the head of a speaker's line
            rf"^{_LEAD}{_SPEAKER}{_SPEAKS}{_SHUT}(?::|=>|->|>|\|)",
            rf"^{_LEAD}(?:role|speaker|from|sender|author)\s?[:=]\s?[\"']?{_PART}\b",
            rf"^{_LEAD}(?:tool[ _](?:calls?|results?|response|output)|observation){_SHUT}:",
            rf"^{_LEAD}(?:you|me|[hup]){_SHUT}:\s",
            # fields of a form have these names too; speech is longer
            rf"^{_LEAD}{_OTHER_NAME}{_SPEAKS}{_SHUT}:[^\S\n]*\S+(?:[^\S\n]+\S+){{2}}",
            rf"^{_LEAD}(?:person|user|human|assistant){_SPEAKS}\s[-\u2010-\u2015]{{1,3}}\s",
            r"[.!?\"'*)\]]\s{1,5}[^\w\n]{0,10}(?:the\s)?"
            rf"(?:person|user|human|assistant|ai|chatbot){_SPEAKS}{_SHUT}:",
            # ... or alone on its line
            rf"^{_LEAD}{_PART}{_SPEAKS}[^\w\n]{{0,200}}$",
            r"^#{2,6}\s?(?:instructions?|response|input|output|question|task|rating|verdict)\b[^\w\n]{0,20}$",
            r"[\"'](?:role|speaker|sender)[\"']\s?:",
            # the end, before other words go on as if they were ours
            rf"^[^\w\n]{{0,200}}(?:the )?{_EDGE} (?:of )?(?:the |this )?{_TALK}[^\w\n]{{0,200}}$",
            rf"^[^\w\n]{{0,200}}(?:the )?{_TALK} (?:ends?|ended|is over)(?: here)?[^\w\n]{{0,200}}$",
            # what a simulated user is told beside words
            r"^[^\w\n]{0,200}(?:for you alone|result of a tool|what the assistant thought"
            r"|the assistant(?:'s words| used a tool))\b",
            r"not said by anyone|each line after a bar",
        )
    ),
    re.MULTILINE,
)

_HIDING = re.compile("[\u202d\u202e\U000e0000-\U000e007f]")
"""Text that runs backwards, and letters that no reader but a model sees."""


@lru_cache(maxsize=4096)
def imitates(words: str) -> bool:
    """Whether a reader could take something in `words` for another speaker, the end, or a control string."""
    folded = _folded(words)
    return bool(_HIDING.search(words) or _CONTROL.search(folded) or _STRUCTURE.search(folded))


def made_plain(words: str) -> str:
    """`words` with square and angle brackets made round or quotation marks, without invisible characters.

    Line breaks of every sort become ordinary ones. No control string and no bracketed mark is left.
    """
    return "\n".join("".join(c for c in line if _is_seen(c)) for line in words.translate(_ROUND).splitlines())


def without_control_strings(words: str) -> str:
    """`words`, made plain if they hold a control string: for words that go into a template by themselves."""
    return made_plain(words) if _CONTROL.search(_folded(words)) else words
