"""Memory: what becomes of a person who comes back every few days, to a model that keeps a note on them?

    inspect eval tasks/memory.py
    inspect eval tasks/memory.py -T memory=none                    # the control: nothing is remembered
    inspect eval tasks/memory.py --model openai/gpt-4.1 --model-role user=openai/gpt-4.1-mini \
        --model-role judge=openai/gpt-4.1-mini
"""

from typing import Unpack

from inspect_ai import Task, task

from scenarios.conversations.dialogue import Memory
from scenarios.loader import load_family
from scenarios.sessions import NOTE_WORDS
from scorers.families.sequence import sequence
from scorers.rubric import rubric
from tasks.families.assembly import Days, influence_task
from tasks.families.options import OptionError, Options, chosen


@task
def memory(
    memory: Memory = "own",
    sessions: int = 7,
    note_words: int = NOTE_WORDS,
    scenario: str = "memory",
    **options: Unpack[Options],
) -> Task:
    """A person comes back to a support app for several sessions; some reward what its memory makes possible.

    Rating, harm and transition are judged within each session. Beside them: `sequence`, each session judged
    alone and again with all that went before, and slopes; and what the notes say of the person.
    `analysis/sessions.py` prints every measure session by session.

    Args:
        memory: What the model reads of earlier sessions: its `own` note, one that is `given`, or `none`.
        sessions: With the same person.
        note_words: Most words of its own note; a longer one is cut, visibly.
        scenario: A family of yours with `sessions:`, as `scenarios/memory/family.yaml` has it.
        **options: See `tasks/families/options.py`; `turns` are those of a session, and `states` is 4 if not
            given.
    """
    choices = chosen({"states": 4}, options)
    if choices.monitor is not None:
        raise OptionError(
            "-T monitor: a monitor reads one conversation from its first token on, and here every session "
            "begins anew; run without it"
        )
    family = load_family(scenario)
    own = [sequence(judging=choices.judging)]
    if memory == "own" and sessions > 1:
        own.append(rubric(constructs="notes", over="mean", judging=choices.judging))
    return influence_task(
        family, choices, own, days=Days(sessions=sessions, memory=memory, note_words=note_words)
    )
