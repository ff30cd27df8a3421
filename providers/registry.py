"""Entry point for Inspect. Imported by every `eval()`, so it must not import torch or transformers."""

from inspect_ai.model import ModelAPI, modelapi


@modelapi(name="local")
def local() -> type[ModelAPI]:
    """`local/<folder or hub id>[:<adapter folder>]`; see `providers.local.api.LocalAPI`."""
    try:
        from providers.local.api import LocalAPI
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"local/ models need {error.name}: pip install -e '.[local]' (or `make install`)"
        ) from error
    return LocalAPI


@modelapi(name="encoder")
def encoder() -> type[ModelAPI]:
    """`encoder/<folder of a judge>`; see `providers.encoder.api.EncoderAPI`."""
    from providers.encoder.api import EncoderAPI

    return EncoderAPI
