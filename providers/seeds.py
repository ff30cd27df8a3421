"""Seeds for calls: the same from run to run, different for repeats of the same call."""

import hashlib
import random
from collections import Counter

# no public way to ask which sample is running, nor with which settings
from inspect_ai.log._samples import sample_active
from inspect_ai.model._generate_config import active_generate_config


class CallSeeds:
    """Gives each call a seed from the wanted seed, sample, epoch, prompt, and how often it came before.

    Repeats of a prompt (epochs, sampled judgements) must differ from one another, but not between runs:
    a sample that is run alone, when an interrupted eval is taken up again, draws what it would have drawn.
    """

    def __init__(self) -> None:
        self._repeats: Counter[bytes] = Counter()

    def draw(self, seed: int | None, prompt: object) -> int:
        """A number from 0 to 2^63 - 1.

        Args:
            seed: None: the eval's own, which Inspect gives to the evaluated model alone, and not to users and
                judges; if it has none, the number is unpredictable.
            prompt: What is asked.
        """
        if seed is None:
            seed = active_generate_config().seed
        if seed is None:
            return random.SystemRandom().getrandbits(63)
        key = hashlib.blake2b(f"{seed}:{prompt}".encode(), digest_size=8).digest()
        sample, run = _place()
        count = key + run
        self._repeats[count] += 1
        digest = hashlib.blake2b(key + sample + str(self._repeats[count]).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1


def _place() -> tuple[bytes, bytes]:
    """The running sample and epoch; and the same for this very run of it, which begins counting anew."""
    active = sample_active()
    if active is None:
        return b"", b""
    return f"{active.sample.id}:{active.epoch}".encode(), active.sample_uuid.encode()
