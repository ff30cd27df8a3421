"""Seeds for calls: the same from run to run, different for repeats of the same call."""

import hashlib
import random
from collections import Counter


class CallSeeds:
    """Gives each call a seed from the wanted seed, its prompt, and how often the two came together before.

    Repeats of a prompt (epochs, sampled judgements) must differ from one another, but not between runs.
    """

    def __init__(self) -> None:
        self._repeats: Counter[bytes] = Counter()

    def draw(self, seed: int | None, prompt: object) -> int:
        """A number from 0 to 2^63 - 1; unpredictable if `seed` is None."""
        if seed is None:
            return random.SystemRandom().getrandbits(63)
        key = hashlib.blake2b(f"{seed}:{prompt}".encode(), digest_size=8).digest()
        self._repeats[key] += 1
        digest = hashlib.blake2b(key + str(self._repeats[key]).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1
