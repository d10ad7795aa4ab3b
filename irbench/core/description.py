"""What a retriever reports of itself: the network behind it, its bytes, and whatever explains its results."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """The network of a method, so that a table can report what was actually run."""

    name: str
    weights: str  # origin and SHA-256: "trained from scratch", "hub REPOSITORY FILE sha256:…", "file NAME sha256:…"
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a component reports of itself."""

    backbone: Backbone | None = None
    model_bytes: int = 0
    index_bytes: int = 0
    # JSON values: kind of index, code use, collisions …; "training": each trained model's loss by epoch and seconds
    details: Mapping[str, object] = field(default_factory=dict)
