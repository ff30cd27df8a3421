"""Puts a monitor on the Hugging Face hub, with a card that says what it is and what it is not."""

import re
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import HfApi, ModelCardData

from probes.activations.whole_files import write_whole
from probes.monitors.monitor import CARD, WEIGHTS, Monitor, MonitorCard, MonitorError
from scenarios.commands.hub_upload import hub_errors, upload_folder
from scenarios.files.shown_text import Markdown, markdown_templates

TEMPLATE = "monitor_card.md.jinja"
TAGS = ("activation-monitor", "linear-probe", "ai-safety", "inspect-influence")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def push_to_hub(folder: Path | str, repo: str, *, private: bool = True) -> str:
    """Upload a monitor. Needs `hf auth login`.

    Args:
        folder: Where it was saved.
        repo: `user/name` on the hub; made if it is not there.
        private: Only its owner sees it. A repository that is there and public is then refused.

    Returns:
        Address of the repository.

    Raises:
        MonitorError: No monitor in this folder, or the hub refused.
    """
    with (
        tempfile.TemporaryDirectory() as staged,
        hub_errors(repo, MonitorError, then="try again; the monitor itself is complete on disk"),
    ):
        stage(folder, staged, name=repo.rpartition("/")[2])
        return upload_folder(
            HfApi(),
            staged,
            repo,
            private=private,
            message="Upload an activation monitor",
            kind=MonitorError,
            is_public="is there already and public; give private=False if that is meant",
        )


def stage(folder: Path | str, out: Path | str, *, name: str | None = None) -> Path:
    """Write what would be uploaded: weights, card, and a README. Returns `out`.

    Paths of this machine are cut down to the name at their end.

    Args:
        folder: Where the monitor was saved.
        out: Folder to write to.
        name: Title of the README; that of the monitor if not given.

    Raises:
        MonitorError: No monitor in this folder, or a damaged one.
    """
    monitor, out = Monitor.load(folder), Path(out)
    card = _without_paths(monitor.card)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(folder) / WEIGHTS, out / WEIGHTS)
    write_whole(out / CARD, card.model_dump_json(indent=1) + "\n")
    write_whole(out / "README.md", readme(card, name or card.name))
    return out


def readme(card: MonitorCard, name: str) -> str:
    """The card for the hub, Markdown."""
    model = card.spec.model
    metadata = ModelCardData(
        base_model=model if HUB_ID.fullmatch(model) else None,
        library_name="inspect-influence",
        pipeline_tag="text-classification",
        tags=list(TAGS),
    )
    environment = markdown_templates(Path(__file__).parent)
    return environment.get_template(TEMPLATE).render(
        metadata=Markdown(metadata.to_yaml()), card=card, name=name, model=model, figures=_figures(card)
    )


def _figures(card: MonitorCard) -> list[tuple[str, str, str, str]]:
    """Metrics with their intervals: (name, value, low, high)."""
    told = card.metrics
    return [
        (
            name,
            _three_decimals(told[name]),
            _three_decimals(told.get(f"{name}_low")),
            _three_decimals(told.get(f"{name}_high")),
        )
        for name in told
        if not name.endswith(("_low", "_high"))
    ]


def _three_decimals(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _without_paths(card: MonitorCard) -> MonitorCard:
    def short(text: str) -> str:
        return text if HUB_ID.fullmatch(text) and not Path(text).exists() else Path(text).name

    return card.model_copy(
        update={
            "spec": card.spec.model_copy(update={"model": short(card.spec.model)}),
            "training": card.training.model_copy(update={"names": [short(n) for n in card.training.names]}),
            "validation": None
            if card.validation is None
            else card.validation.model_copy(update={"names": [short(n) for n in card.validation.names]}),
        }
    )
