"""Finds images that are in a benchmark under several names: a query among the images that it is to be told from.

Two files are copies where their bytes are equal, as those of links are. An image that was saved again is not found.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.data.contents import contents

_NOTHING = {bytes(32), hashlib.sha256(b"").digest()}  # files that cannot be read, and empty ones
_Place = tuple[str, int]  # split, and row in it


def remarks(benchmark: Benchmark) -> Iterator[str]:
    """Yield what a reader of the numbers has to know of copies; nothing where there are none."""
    splits = {split.name: split for split in (benchmark.train, benchmark.gallery, benchmark.queries)}
    held: set[int] = set()
    trained: set[int] = set()
    conflicting: set[str] = set()
    for places in _same(splits):
        queries = [row for split, row in places if split == "queries"]
        ids = {splits[split].ids[row] for split, row in places if split == "gallery"}
        held.update(row for row in queries if ids - {benchmark.queries.ids[row]})
        if any(split == "train" for split, _ in places):
            trained.update(queries)
        labelled = [place for place in places if place[0] != "queries"]
        if len({splits[split].labels[row] for split, row in labelled}) > 1:
            conflicting.update(splits[split].ids[row] for split, row in labelled)
    if held:
        yield f"queries that are in the gallery under another name: {len(held)} of {len(benchmark.queries)}"
    if trained and benchmark.train.vectors is None:  # vectors are not trained on
        yield f"queries that are among the training images: {len(trained)} of {len(benchmark.queries)}"
    if conflicting:
        yield f"training or gallery images that are copies of others with another label: {len(conflicting)}"


def _same(splits: Mapping[str, ImageSet]) -> Iterator[list[_Place]]:
    """Yield the places of each image that has more than one."""
    places: dict[bytes, list[_Place]] = defaultdict(list)
    for name, split in splits.items():
        for row, content in enumerate(contents(split)):
            places[content.tobytes()].append((name, row))
    yield from (found for content, found in places.items() if len(found) > 1 and content not in _NOTHING)
