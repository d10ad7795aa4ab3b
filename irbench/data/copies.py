"""Finds images that are in a benchmark under several names: a query among the images that it is to be told from.

Two files are copies where their bytes are equal, as those of links are. An image that was saved again is not found.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.text import as_text
from irbench.data.contents import contents

_NOTHING = {bytes(32), hashlib.sha256(b"").digest()}  # files that cannot be read, and empty ones
_Place = tuple[str, int]  # split, and row in it


def remarks(benchmark: Benchmark) -> Iterator[str]:
    """Yield what a reader of the numbers has to know of copies; nothing where there are none."""
    splits = {split.name: split for split in (benchmark.train, benchmark.gallery, benchmark.queries)}
    held: set[int] = set()
    trained: set[int] = set()
    relabelled: dict[int, str] = {}  # queries, and the gallery image of each
    twins: dict[int, str] = {}  # queries, and the other query of each
    conflicting: set[str] = set()
    for places in _same(splits):
        queries = [row for split, row in places if split == "queries"]
        gallery = [row for split, row in places if split == "gallery"]
        ids = {benchmark.gallery.ids[row] for row in gallery}
        held.update(row for row in queries if ids - {benchmark.queries.ids[row]})
        relabelled |= _with_other_labels(benchmark.queries, queries, benchmark.gallery, gallery)
        twins |= _with_other_labels(benchmark.queries, queries, benchmark.queries, queries)
        if any(split == "train" for split, _ in places):
            trained.update(queries)
        labelled = [place for place in places if place[0] != "queries"]
        if len({splits[split].labels[row] for split, row in labelled}) > 1:
            conflicting.update(splits[split].ids[row] for split, row in labelled)
    total = len(benchmark.queries)
    if mere := held - relabelled.keys():
        yield f"queries that are in the gallery under another name: {len(mere)} of {total}"
    yield from _contradicted("queries that are in the gallery with another label", benchmark, relabelled)
    yield from _contradicted("queries that are copies of others with another label", benchmark, twins)
    if trained and benchmark.train.vectors is None:  # vectors are not trained on
        yield f"queries that are among the training images: {len(trained)} of {total}"
    if conflicting:
        yield f"training or gallery images that are copies of others with another label: {len(conflicting)}"


def _with_other_labels(
    images: ImageSet, rows: Sequence[int], others: ImageSet, other_rows: Sequence[int]
) -> dict[int, str]:
    """Return the rows of copies whose labels differ from that of one among the others, and its id."""
    first: dict[int, int] = {}
    for row in other_rows:
        first.setdefault(int(others.labels[row]), row)
    found = {row: next((o for label, o in first.items() if label != images.labels[row]), None) for row in rows}
    return {row: others.ids[other] for row, other in found.items() if other is not None}


def _contradicted(what: str, benchmark: Benchmark, found: Mapping[int, str]) -> Iterator[str]:
    if found:
        row = min(found)
        first = f"{as_text(benchmark.queries.ids[row])} = {as_text(found[row])}"
        yield f"{what}: {len(found)} of {len(benchmark.queries)}, first {first}"


def _same(splits: Mapping[str, ImageSet]) -> Iterator[list[_Place]]:
    """Yield the places of each image that has more than one."""
    places: dict[bytes, list[_Place]] = defaultdict(list)
    found = {name: contents(split) for name, split in splits.items()}
    repeated = _repeated(np.concatenate(list(found.values())))
    start = 0
    for name, hashes in found.items():
        for row in np.flatnonzero(repeated[start : start + len(hashes)]).tolist():
            places[hashes[row].tobytes()].append((name, row))
        start += len(hashes)
    yield from (same for content, same in places.items() if len(same) > 1 and content not in _NOTHING)


def _repeated(hashes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which of the hashes [N,32] begin as another one does: few of a million, which are then compared whole."""
    beginnings = np.ascontiguousarray(hashes[:, :8]).view(np.uint64)[:, 0]
    _, of_each, counts = np.unique(beginnings, return_inverse=True, return_counts=True)
    return np.asarray(counts[of_each] > 1)
