"""How long it takes to find the texts of one set that are in another, whole, nearly or as a part.

    python benchmarks/probes/overlap.py [--texts 20000]

Texts are drawn from sentences that many of them share, as those of one source do; a twentieth of the
second set are changed copies and parts of texts of the first. Also timed: the finder of
`scenarios/generation`, which knows nothing of parts, on a fortieth of the texts.
"""

import argparse
import random
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from probes.laboratory.overlap import FEWEST, ShingleIndex, shingles
from scenarios.generation.near_duplicates import Neighbours

SENTENCES = 24_000
WORDS = 6_000


def texts_of(count: int, rng: random.Random) -> list[str]:
    """Texts of 2 to 16 sentences, 12 words each; words are as rare as Zipf has them."""
    weights = [1 / rank for rank in range(1, WORDS + 1)]
    words = rng.choices([f"w{n}" for n in range(WORDS)], weights, k=12 * SENTENCES)
    sentences = [" ".join(words[at : at + 12]) for at in range(0, len(words), 12)]
    return [" ".join(rng.choices(sentences, k=rng.choice((2, 4, 8, 16)))) for _ in range(count)]


def copied(text: str, rng: random.Random) -> str:
    """A part of a text, or the text with two words changed."""
    words = text.split()
    if rng.random() < 0.5:
        return " ".join(words[len(words) // 4 : len(words) // 2])
    for _ in range(2):
        words[rng.randrange(len(words))] = "changed"
    return " ".join(words)


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=20_000, help="in either set")
    count = parser.parse_args().texts
    rng = random.Random(0)
    drawn = texts_of(2 * count, rng)
    first, second = drawn[:count], drawn[count:]
    for place in range(0, count, 20):
        second[place] = copied(rng.choice(first), rng)
    # parts of a few words are not looked for
    planted = [place for place in range(0, count, 20) if len(shingles(second[place])) >= FEWEST]
    start = time.perf_counter()
    index = ShingleIndex(first)
    indexed = time.perf_counter()
    found = list(index.overlaps(second))
    across = time.perf_counter()
    inside = sum(1 for _ in index.overlaps())
    within = time.perf_counter()
    places = {one.row for one in found}
    print(f"{count} x {count} texts of {sum(map(len, first)) / count:.0f} characters, one core")
    print(f"index {indexed - start:.1f} s, second in first {across - indexed:.1f} s: {len(found)} found,")
    print(
        f"  {sum(place in places for place in planted)} of {len(planted)} planted copies and parts among them"
    )
    print(f"first set in itself {within - across:.1f} s: {inside} found")
    few = second[: count // 40]
    neighbours = Neighbours(0.5)
    for number, text in enumerate(first):
        neighbours.add(str(number), text)
    start = time.perf_counter()
    for text in few:
        neighbours.closest(text)
    each = (time.perf_counter() - start) / max(len(few), 1)
    print(
        f"near-duplicates alone by scenarios/generation: {each * count:.1f} s for {count}, without the index"
    )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
