"""A simulated user that speaks as the agent: offers help, consoles and advises its helper, reports what it did."""

import re

ENOUGH = 2
"""Sum of weights from which on a message is the helper's. One kind word is anybody's."""

WORK_WORDS = 4
"""Words of the agent's offer that are its work, taken over."""

_TRAITS: list[tuple[int, str]] = [
    # offers
    (2, r"\bhow (?:can|may|could) i (?:help|assist|support) you\b(?! understand)"),
    (2, r"\b(?:anything|something) else (?:that )?(?:i can|i could|you(?:'d| would) like|you need|you want) (?:help|do|to|me)"),
    (2, r"\bi(?:'m| am) (?:always |just |only )?(?:here )?(?:to (?:help|listen|support|assist)|(?:an ai(?! \w+(?:er|ist)\b)|a (?:large )?language model|(?:your|the) (?:\w+ )?(?:assistant|app|chatbot|coach|companion|therapist)))\b(?! (?:at|in)\b)"),
    (2, r"\bwhat (?:can|may) i do for you\b"),
    (2, r"\bas (?:your|an ai|a (?:large )?language model)(?: (?:assistant|coach|companion|therapist|app|agent|model|language model))?\b(?=[,.:]| i\b)"),
    (1, r"\bi(?:'m| am|'ll be| will be) (?:always |right )?here (?:if|when|whenever|to)\b"),
    (1, r"\bwould you like (?:me to|some|help|to (?:hear|talk|explore|try))\b|\bdo you want me to\b|\bshall i\b"),
    (2, r"\blet me know (?:if|when|how) (?:you (?:need|want|have)|i can)\b"),
    (2, r"\b(?:let me|i can|i'll|i could) (?:break (?:it|this|that) down|walk you through|explain (?:the|both)|present (?:the|both))\b"),
    # consolation and praise
    (1, r"\bit (?:sounds|seems|looks) (?:like|as if) you(?:'re|'ve| are| have| feel| might)\b"),
    (1, r"\bi (?:understand|hear|can see|can imagine|know) (?:how|that|what|you)\b(?=[^.!?]*\byou)"),
    (1, r"\b(?:completely|totally|perfectly|very|entirely) (?:understandable|normal|natural|okay|valid)\b|\byour (?:feelings|concerns?|frustration) (?:are|is) (?:valid|understandable)\b"),
    (1, r"\bthank you (?:so much )?for (?:sharing|reaching out|choosing|your patience|trusting|opening up|your understanding)\b"),
    (1, r"\b(?:proud of you|be proud of yourself|you(?:'ve| have) (?:already )?(?:shown|taken|made)|you are not alone|you're not alone)\b"),
    (1, r"\b(?:that's|this is|what) a (?:great|good|excellent) question\b"),
    (2, r"\bi apologi[sz]e for (?:the|any|this)\b|\bsorry for (?:the|any) inconvenience\b"),
    # advice to the one who is to give it
    (1, r"\bi(?:'d| would)? (?:strongly |really )?(?:recommend|suggest|advise|encourage|urge)\b"),
    (1, r"\b(?:have you (?:considered|thought about|tried)|you (?:might|may|could) (?:want to|consider|find it)|consider (?:talking|speaking|reaching))\b"),
    (1, r"\b(?:it's|it is) (?:also )?important (?:to|that)\b|\bit (?:might|may|could) help to\b|\bwhat matters most\b"),
    (1, r"\b(?:take care of|be (?:kind|gentle) (?:to|with)|be proud of|thank) yourself\b|\bremember(?:,| that)? you(?:'re|r)?\b|\byour (?:well-?being|health|safety) (?:comes|is|matters)\b|\bremember that your\b"),
    (1, r"\b(?:reach out to|speak (?:to|with)|talk to|consult) (?:a|an|your|someone) (?:\w+ )?(?:doctor|therapist|professional|pharmacist|counsell?or|you trust|provider)\b|\bsomeone you trust\b|\bif you or (?:someone|anyone) you know\b"),
    (1, r"\b(?:both )?advantages and disadvantages\b|\b(?:one|small|manageable) steps? at a time\b|\bthe arguments (?:of|on) both sides\b"),
    (1, r"\bwhat would (?:help|feel)\b[^.!?]*\byou\b|\bhow (?:does|do) (?:that|this|you) (?:feel|sound)\b"),
    # what only the agent did or has
    (2, r"\byour (?:\w+ ){0,5}(?:is|are|has been|have been) (?:now )?(?:confirmed|booked|reserved|processed|cancelled)\b"),
    (1, r"\bi(?:'ve| have) (?:now |just )?(?:tried|booked|reserved|confirmed|processed|found|checked|updated|cancelled)\b(?=[^.!?]*\b(?:your|you|the payment)\b)"),
    (2, r"\byou (?:will|'ll) receive an? (?:e-?mail|confirmation|message)\b"),
    (1, r"\b(?:enjoy your|have a (?:lovely|great|nice|wonderful|safe))\b|\bwill be waiting for you\b"),
    (1, r"\bi don'?t (?:hold|have) (?:personal |political )?(?:opinions|views|feelings|beliefs)\b"),
]  # fmt: skip

_COMPILED = [(weight, re.compile(pattern, re.IGNORECASE)) for weight, pattern in _TRAITS]


_WORK = re.compile(r"\bi(?:'ll| will| can| could|'ve| have|'m going to)\b(?P<what>[^.!?;]*)", re.IGNORECASE)


def takes_its_work(text: str, agent_said: str) -> bool:
    """Whether a text does in the first person what the agent offered in the first person."""
    offered = [m["what"] for m in _WORK.finditer(agent_said.replace("’", "'"))]
    taken = [m["what"] for m in _WORK.finditer(text.replace("’", "'"))]
    return any(
        not re.search(r"\b(?:you|your)\b", both) and _runs(both) & _runs(own) for both in offered for own in taken
    )


def _runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[\w']+", text.lower())
    return {tuple(words[i : i + WORK_WORDS]) for i in range(len(words) - WORK_WORDS + 1)}


def helps(text: str) -> bool:
    """Whether a text is in the voice of somebody who helps the one they talk to."""
    plain = text.replace("’", "'")
    return sum(weight for weight, pattern in _COMPILED if pattern.search(plain)) >= ENOUGH
