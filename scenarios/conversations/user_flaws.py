"""What went wrong with the simulated user, counted over turns: what stands, and what was thrown away."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from scenarios.conversations.dialogue import UserMessage


@dataclass
class UserFlaws:
    """Messages of the simulated user and their flaws."""

    stand: int = 0
    """Messages in the conversation."""

    flawed: int = 0
    """Those of them with any flaw."""

    thrown_away: int = 0
    """Messages that were not taken; another one, or silence, came instead."""

    standing: Counter[str] = field(default_factory=Counter)
    """Flaw -> messages in the conversation that have it."""

    of_drafts: Counter[str] = field(default_factory=Counter)
    """Flaw -> messages thrown away that have it."""

    def add(self, messages: Iterable[UserMessage]) -> None:
        """Count some messages: turns and sessions, of logs of any version."""
        for turn in messages:
            # older logs keep no drafts: an empty one left its flaw at the message that came instead
            empty = turn.flaws.count("empty")
            own = [flaw for flaw in turn.flaws if flaw != "empty"]
            self.stand += turn.user is not None
            self.flawed += turn.user is not None and bool(own)
            self.thrown_away += len(turn.drafts) + empty
            self.standing.update(own)
            self.of_drafts.update(["empty"] * empty + [f for draft in turn.drafts for f in draft.flaws])
