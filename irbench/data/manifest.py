"""Lists of images as entries of the cache: what a data set was loaded as, for other processes to take up.

Loading a data set reads its annotations and asks for the state of each of its files. One process does that, and hands
the others 64 hexadecimal digits.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.runtime.cache import Key, Store

_SPLITS = ("train", "gallery", "queries")
_COLUMNS = ("labels", "contents", "boxes")  # of a set, the arrays that are stored
_FACTS, _ARRAYS = "benchmark.json", "columns.npz"
_END = "\0"  # of an id: what no path has


def packed_ids(ids: Sequence[str]) -> NDArray[np.uint8]:
    """Return ids as the bytes of one text."""
    return np.frombuffer(_END.join(ids).encode("utf-8", "surrogateescape"), np.uint8)


def unpacked_ids(packed: NDArray[np.uint8]) -> tuple[str, ...]:
    """Return the ids that `packed_ids` put together."""
    return tuple(packed.tobytes().decode("utf-8", "surrogateescape").split(_END))


def can_be_stored(benchmark: Benchmark) -> bool:
    """Are its images files, of which a list is all that there is to store?"""
    splits = [getattr(benchmark, name) for name in _SPLITS]
    files = all(one.in_files for one in splits)
    is_plain = benchmark.nearest is None and benchmark.judgements is None
    return files and is_plain and not any(_END in id_ for one in splits for id_ in one.ids)


def save(benchmark: Benchmark, store: Store) -> str:
    """Store a benchmark of files and return the digest under which `load` finds it."""
    facts = json.dumps(_facts(benchmark), sort_keys=True)
    digest = hashlib.sha256(facts.encode())
    columns = dict(_columns(benchmark))
    for name, column in sorted(columns.items()):
        digest.update(f"{name} {column.shape} {column.dtype}".encode() + np.ascontiguousarray(column).tobytes())

    def make(folder: Path) -> None:
        (folder / _FACTS).write_text(facts)
        np.savez(folder / _ARRAYS, **columns)  # type: ignore[arg-type]  # its stub takes `allow_pickle` for one of them

    store.ensure(_key(digest.hexdigest()), make, span="read")
    return digest.hexdigest()


def load(digest: str, store: Store) -> Benchmark | None:
    """Return the benchmark of a digest; None where it is not in the store, or damaged."""
    entry = store.find(_key(digest))
    if entry is None:
        return None
    facts: dict[str, Any] = json.loads((entry.path / _FACTS).read_text())
    with np.load(entry.path / _ARRAYS, allow_pickle=False) as columns:
        facts |= {name: _set(name, facts[name], columns) for name in _SPLITS}
    for name in ("ks", "remarks", "class_names", "loaded"):
        facts[name] = None if facts[name] is None else tuple(facts[name])
    facts["path"] = None if facts["path"] is None else Path(facts["path"])
    return Benchmark(**facts)


def _key(digest: str) -> Key:
    return Key("manifests", {"sha256": digest})


def _facts(benchmark: Benchmark) -> dict[str, object]:
    """Return all of a benchmark but its columns as JSON values."""
    plain = {
        one.name: getattr(benchmark, one.name) for one in fields(Benchmark) if one.name not in (*_SPLITS, "nearest")
    }
    plain["path"] = None if benchmark.path is None else str(benchmark.path.absolute())
    sets = {
        name: {"root": str(one.root.absolute()), "mirror": one.mirror, "of": one.name}
        for name, one in _sets(benchmark).items()
    }
    return {**plain, **sets}


def _sets(benchmark: Benchmark) -> dict[str, ImageSet]:
    return {name: getattr(benchmark, name) for name in _SPLITS}


def _columns(benchmark: Benchmark) -> Iterator[tuple[str, NDArray[np.generic]]]:
    for name, images in _sets(benchmark).items():
        yield f"{name}.ids", packed_ids(images.ids)
        for column in _COLUMNS:
            if (array := getattr(images, column)) is not None:
                yield f"{name}.{column}", array


def _set(name: str, facts: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]) -> ImageSet:
    ids = unpacked_ids(columns[f"{name}.ids"])
    arrays: dict[str, Any] = {
        column: columns[f"{name}.{column}"] for column in _COLUMNS if f"{name}.{column}" in columns
    }
    return ImageSet(name=facts["of"], ids=ids, root=Path(facts["root"]), mirror=facts["mirror"], **arrays)
