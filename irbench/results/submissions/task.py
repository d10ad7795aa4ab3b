"""The task of a submission: which images there are, by name, hash and class, and what is relevant to what.

A task makes a benchmark whose images cannot be looked at, but whose rankings can be scored. Its fingerprint is computed
from what the file holds, as that of the images themselves is: a label or a box that was changed is another task. Images
that are no files (digits, drawings, vectors) are known by their names and classes alone, see `Benchmark.manifest`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError
from safetensors.numpy import load, save

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import DataError, IrbenchError, StoreError
from irbench.core.judgements import Judgements, Pairs, SharedLabel
from irbench.data.manifest import packed_ids, unpacked_ids

_SPLITS = ("train", "gallery", "queries")
# of a set, the arrays that are stored, with their types and widths: one that is read as another would be another task
_COLUMNS: dict[str, tuple[type[np.generic], int | None]] = {
    "labels": (np.int64, None), "contents": (np.uint8, 32), "boxes": (np.int32, 4)
}  # fmt: skip
_MOST = 1 << 20  # results of a query, and labels that are shared
_JSON = "facts"

Arrays = dict[str, NDArray[Any]]
K = Annotated[int, Field(ge=1, le=_MOST)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class _Facts:
    """What a benchmark is besides its images."""

    name: str
    protocol: str
    crop: str
    ks: Annotated[tuple[K, ...], Field(min_length=1)]
    top_k: K
    incremental: Annotated[int, Field(ge=0)]


_READER = TypeAdapter(_Facts)


def pack(benchmark: Benchmark) -> bytes:
    """Return the task of a benchmark as the content of a file; `StoreError` where it cannot be told without images."""
    if benchmark.nearest is not None:
        raise StoreError(
            f"{benchmark.name}: exact neighbours are relevant, which cannot be told without the vectors",
            code="bad-task",
        )
    facts = {one.name: getattr(benchmark, one.name) for one in fields(_Facts)}
    arrays = {_JSON: np.frombuffer(json.dumps(facts).encode(), np.uint8), **dict(_columns(benchmark))}
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def read(path: Path) -> Benchmark:
    """Return the benchmark of a task; `DataError` where the file holds none."""
    try:
        arrays = load(path.read_bytes())
        facts = _READER.validate_json(arrays[_JSON].tobytes())
        train, gallery, queries = (_images(name, arrays) for name in _SPLITS)
        splits = (train, gallery, queries)
        return Benchmark(
            train=train,
            gallery=gallery,
            queries=queries,
            judgements=_judgements(arrays),
            labelled=any(split.labels.any() for split in splits),
            **asdict(facts),
        )
    except IrbenchError as error:
        raise DataError(f"{path}: {error}", code="bad-task") from None
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, IndexError) as error:
        raise DataError(f"{path}: not the task of a submission ({error!r:.100})", code="bad-task") from None


def _columns(benchmark: Benchmark) -> Iterator[tuple[str, NDArray[Any]]]:
    for split in _SPLITS:
        images = getattr(benchmark, split)
        yield f"{split}.ids", packed_ids(images.ids)
        for column in _COLUMNS:
            if (array := getattr(images, column)) is not None and (column == "labels" or images.in_files):
                yield f"{split}.{column}", array
    judged = benchmark.judgements
    if isinstance(judged, Pairs):
        yield from (("query", judged.query), ("row", judged.row), ("grade", judged.grade))
    elif isinstance(judged, SharedLabel):
        for split, sets in (("queries", judged.queries), ("gallery", judged.gallery)):
            yield f"{split}.counts", np.array([len(labels) for labels in sets], np.int32)
            yield f"{split}.shared", np.array([label for labels in sets for label in sorted(labels)], np.int32)


def _judgements(arrays: Arrays) -> Judgements | None:
    shape = len(arrays["queries.labels"]), len(arrays["gallery.labels"])
    if "grade" in arrays:
        return Pairs(shape, arrays["query"], arrays["row"], arrays["grade"])  # which demands their types
    if "queries.counts" not in arrays:
        return None
    queries, gallery = (_sets(arrays[f"{split}.counts"], arrays[f"{split}.shared"]) for split in ("queries", "gallery"))
    return SharedLabel(queries, gallery)


def _sets(counts: NDArray[Any], labels: NDArray[Any]) -> list[frozenset[int]]:
    is_typed = counts.dtype == np.int32 and labels.dtype == np.int32 and counts.ndim == labels.ndim == 1
    is_typed = is_typed and 0 <= labels.min(initial=0) <= labels.max(initial=0) <= _MOST
    if not is_typed or counts.min(initial=0) < 0 or counts.sum() != len(labels):
        raise ValueError("labels of images that do not fit their counts")
    return [frozenset(some.tolist()) for some in np.split(labels, counts.cumsum()[:-1])]


def _images(split: str, arrays: Mapping[str, NDArray[Any]]) -> ImageSet:
    ids = unpacked_ids(arrays[f"{split}.ids"])
    known: dict[str, Any] = {}
    for column, (kind, width) in _COLUMNS.items():
        if (array := arrays.get(f"{split}.{column}")) is not None:
            if array.dtype != kind or array.shape[1:] != (() if width is None else (width,)):
                raise ValueError(f"{split}.{column} is {array.dtype} {list(array.shape)}")
            known[column] = array
    if known["labels"].max(initial=0) > _MOST + len(ids):  # they are numbered from 0 without gaps
        raise ValueError(f"a label of {split} is too large")
    return ImageSet(name=split, ids=ids, **known)
