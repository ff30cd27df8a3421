"""Which engine runs a model: one for each copy of the weights."""

import logging
import threading
from pathlib import Path

from providers.local.adapters import BASE, changes_base, check_adapter
from providers.local.engine import Engine
from providers.local.weights import EngineOptions, check_base

logger = logging.getLogger(__name__)

_engines: dict[tuple[EngineOptions, str | None], Engine] = {}
_engines_lock = threading.Lock()


def engine_for(options: EngineOptions, adapter: str | None = None) -> tuple[Engine, str]:
    """The engine that runs a model, and the model's name in it.

    It is loaded on first use and then shared by every model with these options. An adapter that changes the
    base's own weights gets an engine to itself.

    Args:
        options: See there.
        adapter: Folder of a LoRA adapter.

    Raises:
        FileNotFoundError: No model or no adapter there.
        AdapterError: The adapter cannot be read, or does not fit.
        ChatTemplateError: No usable chat template.
    """
    own, change = None, None
    if adapter is not None:
        folder = Path(adapter).expanduser().resolve()
        check_adapter(folder)
        change = changes_base(folder)
        own = None if change is None else str(folder)
    with _engines_lock:
        if (options, own) not in _engines:
            check_base(options.path)
            if own is not None:
                logger.warning(
                    "%s (%s) changes the base, so it gets a copy of the base to itself", own, change
                )
            _engines[options, own] = Engine(options)
        engine = _engines[options, own]
    return engine, BASE if adapter is None else engine.adapter(adapter)
