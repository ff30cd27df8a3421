"""What activations are of: the model, the place in it, and which tokens."""

import hashlib
import json
from typing import Literal

from pydantic import Field

from scenarios.schema import Frozen

Point = Literal["residual", "normed"]
StoredType = Literal["float16", "bfloat16", "float32"]


class CaptureSpec(Frozen):
    """Everything that activations depend on, but the conversations and the layers."""

    model: str = Field(min_length=1)
    """Hub id or folder, as given."""

    revision: str | None
    """Commit on the hub, or a digest of a folder's weights; None if it is not known."""

    adapter: str | None
    """Digest of the LoRA adapter's files; None without one."""

    template: str = Field(min_length=1)
    """First 16 hex digits of the SHA-256 of the chat template, or "plain:<version>"."""

    point: Point
    """`residual`: the stream after block L, L from 1 to the number of blocks; 0 is the embeddings.
    `normed`: that stream after the input norm of the block that follows."""

    dtype: StoredType
    """As stored."""

    tokens: str = Field(min_length=1)
    """Which tokens, in the canonical form of the rule: "all", "assistant", "assistant,last=2", "from=3"."""

    max_tokens: int | None = Field(ge=1)
    """Of a conversation; what is longer is cut. None: nothing is cut."""

    truncation: Literal["auto", "left", "right"]
    """Where it is cut. `left` keeps the latest turns, `right` the beginning; `auto` the beginning of single
    texts, and the latest turns of dialogues."""

    @property
    def key(self) -> str:
        """16 hex digits. A known revision says which model it is, wherever its files lie."""
        fields = self.model_dump()
        if self.revision is not None:
            del fields["model"]
        canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def differences(self, other: "CaptureSpec") -> dict[str, tuple[object, object]]:
        """Fields in which `other` is another capture: name -> (here, there). Empty if the keys are equal."""
        mine, theirs = self.model_dump(), other.model_dump()
        differing = {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}
        if self.revision is not None and self.revision == other.revision:
            differing.pop("model", None)
        return differing
