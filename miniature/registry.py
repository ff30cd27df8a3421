"""Entry point for Inspect. Imported by every `eval()`, so it must not import torch or transformers."""

from inspect_ai.model import ModelAPI, modelapi


@modelapi(name="miniature")
def miniature() -> type[ModelAPI]:
    """`miniature/agent[:<checkpoint>]`, `miniature/user`, `miniature/judge`; see `MiniatureAPI`."""
    from miniature.api import MiniatureAPI

    return MiniatureAPI
