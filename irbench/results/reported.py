"""The free facts of a result that irbench itself reads, checked for their shape: training, identifiers, invariance.

Everything else among the facts of a retriever is shown as it is.
"""

from functools import cache
from typing import (
    Annotated,
    Any,
    NotRequired,  # of `typing` itself pydantic can read it from Python 3.12 on
)

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=0)]
_OPEN = ConfigDict(extra="allow")


@with_config(_OPEN)
class _ImagesEach(TypedDict):
    mean: _Number
    max: _Count
    histogram: dict[str, _Count]


@with_config(_OPEN)
class _Identifiers(TypedDict):
    """As `metrics.diagnostics.report` returns it."""

    images: _Count
    num_codebooks: _Count
    codebook_size: _Count
    in_use: _Count
    images_each: _ImagesEach
    codes_used: list[_Count]
    entropy_bits: list[_Number]
    cluster_purity: list[_Share]
    oracle_precision: dict[str, _Share]
    entropy_lower_bound: NotRequired[_Number]
    valid_identifier_rate: NotRequired[_Share | None]
    generated: NotRequired[_Count]


@with_config(_OPEN)
class _Neighbours(TypedDict):
    """As `experiments.neighbours.report` returns it."""

    queries: _Count
    recall: dict[str, _Share]
    distances: _Number | None


@with_config(_OPEN)
class _Misses(TypedDict):
    """What beam search would have missed where decoding is exact."""

    queries: _Share
    leaves: _Share


@with_config(_OPEN)
class _Imported(TypedDict):
    """Of a ranking that another program made: what was left out of it, or guessed."""

    notes: NotRequired[list[str]]


@with_config(_OPEN)
class _Setting(TypedDict):
    """One line of what `irbench certify` found."""

    setting: str
    metric: str
    change: _Number
    queries: _Share
    score: _Number


@with_config(_OPEN)
class _Invariance(TypedDict):
    baseline: str
    settings: list[_Setting]


@with_config(_OPEN)
class _Reported(TypedDict, total=False):
    identifiers: _Identifiers
    training: dict[str, dict[str, list[_Number | None] | _Number | None]]  # as TrainedModel.training
    beam_misses: _Misses
    neighbours: _Neighbours
    imported: _Imported
    all_tied: _Share  # of the queries, those all of whose results have one score


class _Stored(TypedDict):
    retriever: _Reported
    invariance: _Invariance | None


@cache
def _adapter() -> TypeAdapter[_Stored]:
    return TypeAdapter(_Stored)


def check_reported(retriever: dict[str, Any], invariance: dict[str, Any] | None) -> None:
    """Raise `ValueError` that names the key where something has another shape."""
    try:
        _adapter().validate_python({"retriever": retriever, "invariance": invariance})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
