"""The arguments of `evaluate` and `run`, checked once for their types and bounds."""

import operator
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # of `typing` itself pydantic can read it from Python 3.12 on

from irbench.core.cell import Value
from irbench.core.errors import UsageError, nearest


def _as_int(value: Any) -> Any:
    """Return numpy's and torch's whole numbers as Python's, and anything else as it is."""
    return operator.index(value) if hasattr(type(value), "__index__") and not isinstance(value, bool) else value


Whole = Annotated[int, BeforeValidator(_as_int)]
Count = Annotated[Whole, Field(ge=1)]
Seed = Annotated[Whole, Field(ge=0, lt=2**63)]


class Options(TypedDict, total=False):
    """The arguments that `evaluate` and `run` share beside those in their signatures, as in `irbench run --help`.

    Attributes:
        work: folder for cached images, models, vectors and rankings; by default runs/work.
        results: folder that results are written to; by default runs/results.
        precision: "auto" (fp32 on a CPU, bf16 on a GPU), "fp32" or "bf16".
        weights: file of pretrained weights (.safetensors), or a folder of BACKBONE.safetensors, or several of these.
        crop: "none", or "bbox" for the part of each image inside its bounding box; by default as it is published.
        protocol: "closed-set", "metric-learning", or one of the data set's own; by default its first one.
        on_bad_image: "fail", or "skip" to leave unreadable images out and count them.
        pixel_cache: most GB of decoded images in the work folder; by default half of what is free.
        max_queries: evaluate only so many queries; the result is marked as partial.
        epochs: train for only so many epochs; the result is marked as partial.
        incremental: add half of the gallery after training.
        set: recipe keys, and the values that they are to have instead.
    """

    work: str | Path
    results: str | Path
    precision: str
    weights: str | Path | Sequence[str | Path] | None
    crop: str | None
    protocol: str | None
    on_bad_image: str
    pixel_cache: float | None
    max_queries: Count | None
    epochs: Count | None
    incremental: bool
    set: Mapping[str, Value]


@with_config(ConfigDict(strict=True, extra="forbid"))
class Arguments(Options, total=False):
    """All arguments whose types can be told beforehand; methods, searches and data sets can be of any."""

    identifier: str | None
    identifiers: str | Sequence[str] | None
    seed: Seed
    seeds: Sequence[Seed]
    scale: str | None
    grid: str
    data: str | Path
    device: str
    timeout: Annotated[float, Field(gt=0)] | None
    progress: bool
    force: bool


def checked(**given: Any) -> Arguments:
    """Return the arguments; one that does not exist, or cannot be what it is, is a `UsageError`."""
    try:
        return _adapter().validate_python(given)
    except ValidationError as error:
        raise _explained(error, given) from None


@cache
def _adapter() -> TypeAdapter[Arguments]:
    return TypeAdapter(Arguments)


def _explained(error: ValidationError, given: Mapping[str, Any]) -> UsageError:
    first, *_ = found = error.errors(include_url=False)
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        hint = nearest(name, Arguments.__annotations__)
        return UsageError(f"unknown argument '{name}'{hint}", code="unknown-option")
    reasons = dict.fromkeys(one["msg"][0].lower() + one["msg"][1:] for one in found if one["loc"][0] == name)
    code = "bad-override" if name == "set" else "bad-value"
    return UsageError(f"{name}={given[name]!r}: {' or '.join(reasons)}", code=code)
