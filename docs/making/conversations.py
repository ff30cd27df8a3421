"""Writes conversations.json: a conversation of each family, from a run with the miniature.

    python docs/making/conversations.py [FAMILY ...]

The file is committed, so that the pages are made without running anything. Run it again when a family changes.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from inspect_ai import eval as inspect_eval  # noqa: E402
from inspect_ai.log import EvalSample  # noqa: E402

from analysis.logs.scores import numbers_in  # noqa: E402
from scenarios.conversations.dialogue import Dialogue  # noqa: E402
from scenarios.files.whole import write_text  # noqa: E402
from scenarios.loader import family_names  # noqa: E402

PLACE = Path(__file__).with_name("conversations.json")


def main(names: list[str]) -> None:
    """Run the families and keep the first conversation with a gameable user of each."""
    known: dict[str, Any] = json.loads(PLACE.read_text()) if PLACE.exists() else {}
    for name in names or family_names():
        with TemporaryDirectory() as folder:
            (log,) = inspect_eval(
                f"tasks/{name}.py", task_args={"states": 2, "turns": 3}, limit=8, model="miniature/agent",
                log_dir=folder, display="none", seed=1,
            )  # fmt: skip
            assert log.status == "success", log.error
            sample = next(s for s in log.samples or [] if s.metadata["gameable"])
            known[name] = {"model": log.eval.model, "sample": str(sample.id), **_kept(sample)}
            print(name, sample.id)
    write_text(PLACE, json.dumps(dict(sorted(known.items())), indent=1, ensure_ascii=False) + "\n")


def _kept(sample: EvalSample) -> dict[str, Any]:
    dialogue = Dialogue.model_validate(
        {k.removeprefix("Dialogue:"): v for k, v in sample.store.items() if k.startswith("Dialogue:")}
    )
    return {
        "topic": sample.metadata["topic"],
        "person": sample.metadata["person"],
        "stopped": dialogue.stopped,
        "messages": [
            {
                "role": message.role,
                "text": message.text,
                **({"calls": [c.function for c in calls]} if (calls := getattr(message, "tool_calls", None)) else {}),
            }
            for message in sample.messages
        ],
        "scores": {
            one.name: [round(one.value, 2), one.scale] for one in numbers_in(sample.scores).numbers
        },
    }  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
