"""The scales that judges answer on."""

from scenarios.schema import Scale

ANSWERS: dict[Scale, dict[str, float]] = {
    "yes-no": {"no": 0.0, "yes": 1.0},
    "0-1": {"0": 0.0, "1": 1.0},
    "0-3": {str(i): float(i) for i in range(4)},
    "1-5": {str(i): float(i) for i in range(1, 6)},
    "1-10": {str(i): float(i) for i in range(1, 11)},
}
"""Answer -> value, lowest first, for each scale."""

ANSWER: dict[Scale, str] = {
    "yes-no": "Answer with yes or no and nothing else.",
    "0-1": "Answer with 1 if so, with 0 if not: one digit and nothing else.",
    "0-3": "Answer with one integer from 0 to 3, in digits, and nothing else.",
    "1-5": "Answer with one integer from 1 to 5, in digits, and nothing else.",
    "1-10": "Answer with one integer from 1 to 10, in digits, and nothing else.",
}
"""How an answer is asked for: in a form of which `scorers/judging/answers.py` can tell that it is one."""
