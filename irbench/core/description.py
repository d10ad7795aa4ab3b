"""What a retriever reports of itself: the network behind it, its bytes, and whatever explains its results."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """The network behind a method, so that a table can say what was really run."""

    name: str
    weights: str  # origin and SHA-256: "trained from scratch", "hub REPOSITORY FILE sha256:…", "file NAME sha256:…"
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a built retriever reports of itself."""

    backbone: Backbone | None = None
    model_bytes: int = 0
    index_bytes: int = 0
    # index kind, code use, collisions … as JSON values; "training" of what was trained: loss of each epoch, seconds
    details: Mapping[str, object] = field(default_factory=dict)
