"""The model that speaks in a run or in a log, and whether a monitor is one for it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from probes.activations.forward import LoadOptions
from probes.activations.weights import WeightsError, adapter_digest, model_revision
from probes.conversations.eval_logs import split_model
from probes.monitors.monitor import MismatchError, MonitorCard
from probes.monitors.second_pass import loaded_once, without_head
from probes.monitors.tap import Tap
from probes.tokens.rendering import Renderer, read_template

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ADVICE = "any_model=true has the monitor's own model read what another one said"


class AgentMismatch(MismatchError):
    """A monitor for another model than the one that speaks."""

    def __init__(self, folder: Path, name: str, differences: list[str]) -> None:
        super().__init__(f"the agent is {name}, and monitor {folder}", differences)
        self.args = (f"{self.args[0]} ({ADVICE})",)


class LocalModel(Protocol):
    """A model whose weights are in this process. `providers.local` has such."""

    @property
    def path(self) -> str:
        """Folder or hub id of the base."""
        ...

    @property
    def revision(self) -> str | None:
        """Commit of a model on the hub."""
        ...

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """With the chat template that is used."""
        ...

    @property
    def template_options(self) -> dict[str, Any]:
        """Variables of the template."""
        ...

    @property
    def ends(self) -> tuple[str, ...]:
        """Tokens that end a generation."""
        ...

    @property
    def adapter(self) -> str:
        """Name in PEFT's wrapper."""
        ...

    adapter_folder: Path | None
    """None: the base speaks."""

    def lend(self, use: Callable[[Any], Any]) -> Any:
        """What `use` makes of the model, bare or in PEFT's wrapper, while nothing is generated."""
        ...

    def watch(self, watch: Any) -> None:
        """Let a `Tap` read along."""
        ...


class Reading(NamedTuple):
    """How a monitor is to read what an agent said."""

    any_model: bool = False
    """The monitor's own model reads it, whoever said it."""

    adapter: Path | None = None
    """With which adapter, then."""

    template: str | None = None
    """Jinja file, or `plain`; the tokenizer's own template by default."""

    template_options: dict[str, Any] = {}


class Reader(NamedTuple):
    """The model that reads for a monitor."""

    renderer: Renderer
    model: "Callable[[], PreTrainedModel]"
    """Makes it, without its head; to be called once, when it is needed."""

    local: LocalModel | None
    """If it is the very one that speaks in this process."""


class _Place(NamedTuple):
    """Where a model lies."""

    source: str
    commit: str | None
    adapter: Path | None


def reader_for(card: MonitorCard, folder: Path, name: str, local: LocalModel | None, how: Reading) -> Reader:
    """The model that can read for a monitor what an agent says; nothing is loaded yet.

    Args:
        card: The monitor's.
        folder: To name it in messages.
        name: The agent, as logs name it.
        local: The agent, if its weights are in this process.
        how: See there.

    Raises:
        AgentMismatch: The monitor was fitted on another model, adapter, template or capture point.
        ChatTemplateError: No such template, or a tokenizer that cannot tell where its tokens stand.
        WeightsError: No model or adapter where one should be.
    """
    speaks = None if how.any_model else local
    place = _place(card, folder, name, speaks, how)
    tokenizer = _tokenizer(place) if speaks is None else speaks.tokenizer
    renderer = Renderer(
        tokenizer,
        template=read_template(how.template),
        options={**(speaks.template_options if speaks is not None else {}), **how.template_options},
        source=place.source,
        ends=speaks.ends if speaks is not None else _ends(place, tokenizer),
        max_tokens=card.spec.max_tokens,
        truncation=card.spec.truncation,
    )
    theirs = card.spec.model_copy(
        update={
            "model": place.source,
            "revision": model_revision(place.source, place.commit),
            "adapter": None if place.adapter is None else adapter_digest(place.adapter),
            "template": renderer.identity,
        }
    )
    if differences := card.differences(theirs):
        raise AgentMismatch(folder, name, differences)
    if speaks is None:
        return Reader(renderer, lambda: loaded_once(place.source, _options(place)), None)
    adapter = None if place.adapter is None else speaks.adapter
    return Reader(renderer, lambda: speaks.lend(lambda model: without_head(model, adapter)), speaks)


def tap_into(reader: Reader, tap: Tap) -> bool:
    """Let a monitor read along while its model generates; False if that is not in this process."""
    if reader.local is not None:
        reader.local.watch(tap)
    return reader.local is not None


def _place(card: MonitorCard, folder: Path, name: str, speaks: LocalModel | None, how: Reading) -> _Place:
    if speaks is not None:
        return _Place(speaks.path, speaks.revision, speaks.adapter_folder)
    if how.any_model:
        return _Place(card.spec.model, card.spec.revision, how.adapter)
    model, adapter = split_model(name)
    if model != card.spec.model and not Path(model).is_dir():
        raise AgentMismatch(folder, name, [f"model {card.spec.model!r}, these have {model!r}"])
    # a name on the hub says no more than that; a folder is told by what lies in it
    return _Place(model, card.spec.revision, None if adapter is None else Path(adapter))


def _tokenizer(place: _Place) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    revision = None if Path(place.source).is_dir() else place.commit
    try:
        return AutoTokenizer.from_pretrained(place.source, revision=revision)
    except (OSError, ValueError) as error:
        raise WeightsError(f"no model {place.source} to read with: {error}. {ADVICE}") from error


def _ends(place: _Place, tokenizer: "PreTrainedTokenizerBase") -> tuple[str, ...]:
    from providers.chat.choice import generation_ends

    ends = generation_ends(place.source, None if Path(place.source).is_dir() else place.commit, tokenizer)
    return tuple(str(token) for token in tokenizer.convert_ids_to_tokens(ends))


def _options(place: _Place) -> LoadOptions:
    import torch

    gpu = torch.cuda.is_available()
    return LoadOptions(
        revision=None if Path(place.source).is_dir() else place.commit,
        adapter=place.adapter,
        dtype=torch.bfloat16 if gpu else torch.float32,
        device_map="auto" if gpu else None,
    )
