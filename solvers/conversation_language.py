"""Whether a message is in another language than the conversation: by its letters, then by its small words.

A language identifier would do more, and is wrong on short messages; these two signs are enough to find a
model that slipped into another language, and say nothing where there is little to go by.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

LEAST_LETTERS = 4
"""Letters of a foreign script from which on it counts."""

LEAST_WORDS = 4
"""Small words of another language from which on it counts."""

SMALL_WORDS = {
    "en": "the and you that it is was for not are but have this with they what can my your just would do don't so me be to of if or when from how i'm it's",
    "de": "und ich nicht das ist ein eine mit der die den zu auf für es wir sie er aber wenn dann was schon auch nur noch mir dir mich kein oder wie hast habe bin",
    "es": "que el la los las una uno por para con pero muy está yo mi tu esto eso ya más cuando como lo le nunca siempre hay también qué quiero así nada",
    "fr": "le la les est une des que je vous pas pour dans avec mais sur ce cette mon votre nous au qui être si plus suis ai c'est j'ai n'est très",
    "it": "che il la di una non per con sono ma mi più della questo anche come cosa lo gli ho hai è poi io dei nel sì perché",
    "pt": "que o os uma não para com por mas eu meu minha você isso está muito já mais como também nunca quando se em ele foi sim",
    "nl": "de het een en ik niet dat is van je met voor op maar zijn heb naar ook nog wat dan mijn er wel kan hoe omdat",
    "da": "og jeg det ikke at en er til med for på men har mig af den kan noget så ingen vil min skal hvad hvor",
    "sv": "och jag det inte att en är till med för på men har mig av den kan något så ingen vill min ska vad hur",
    "pl": "i nie się to na że jest jak ale mi do tak co mam już tylko za jestem dla może po czy przez ja mnie",
    "tr": "bir ve bu için ben çok ama ne değil da de mi var gibi daha sen kadar beni bana şey evet hayır nasıl",
    "id": "yang dan di tidak saya ini itu untuk dengan ada aku kamu tapi akan sudah bisa juga dari ke apa lagi",
}  # fmt: skip
"""Language (ISO 639-1) -> words that nearly every sentence of it has some of."""

_SETS = {language: frozenset(words.split()) for language, words in SMALL_WORDS.items()}


def other_language(text: str, conversation: Sequence[str]) -> bool:
    """Whether `text` is in a language that nobody in the conversation has used.

    Args:
        text: The message.
        conversation: What was said before it, by either side. Without words nothing can be told.
    """
    before = " ".join(conversation)
    if not _words(before):
        return False
    scripts, known = _scripts(text), _scripts(before)
    foreign = sum(n for script, n in scripts.items() if known[script] < LEAST_LETTERS)
    if foreign >= LEAST_LETTERS and 2 * foreign >= scripts.total():
        return True
    found, spoken = _languages(text), {name for said in conversation for name in _languages(said)[:1]}
    return bool(found and spoken) and found[0] not in spoken


@lru_cache(maxsize=256)
def _languages(text: str) -> list[str]:
    """Languages whose small words the text has clearly more of than any other's; at most one."""
    words = _words(text)
    counts = Counter({name: sum(w in small for w in words) for name, small in _SETS.items()})
    (first, most), (_, second) = counts.most_common(2)
    enough = most >= LEAST_WORDS and most >= 0.2 * len(words) and most > 1.3 * second
    return [first] if enough else []


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower().replace("’", "'"))


def _scripts(text: str) -> Counter[str]:
    """Script -> letters of it. Chinese and Japanese signs are one script here."""
    found: Counter[str] = Counter()
    for letter in text:
        if letter.isalpha():
            script = unicodedata.name(letter, "? ").split()[0]
            found["CJK" if script in ("HIRAGANA", "KATAKANA") else script] += 1
    return found
