"""Finds images that are in a benchmark under several names: a query among the images that it is to be told from.

Two files are copies where their bytes are equal, as those of links are. Only files of one size are read. An image that
was saved again is not found.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from irbench.core.benchmark import Benchmark, ImageSet

AT_MOST = 200_000  # images of a benchmark; of more, many have one size, and reading them takes long

_Place = tuple[str, int]  # split, and row in it


def remarks(benchmark: Benchmark) -> Iterator[str]:
    """Yield what a reader of the numbers has to know of copies; nothing where there are none."""
    splits = {split.name: split for split in (benchmark.train, benchmark.gallery, benchmark.queries)}
    if any(split.arrays is not None for split in splits.values()):
        return
    if (total := sum(map(len, splits.values()))) > AT_MOST:
        yield f"copies among the {total:,} images were not looked for (irbench data verify does)"
        return
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
    if trained:
        yield f"queries that are among the training images: {len(trained)} of {len(benchmark.queries)}"
    if conflicting:
        yield f"training or gallery images that are copies of others with another label: {len(conflicting)}"


def _same(splits: Mapping[str, ImageSet]) -> Iterator[list[_Place]]:
    """Yield the places of each image that has more than one."""
    by_path: dict[Path, list[_Place]] = defaultdict(list)
    for name, split in splits.items():
        for row, id_ in enumerate(split.ids):
            by_path[split.root / id_].append((name, row))
    sizes = {path: path.stat().st_size for path in by_path if path.is_file()}
    shared = {size for size, count in Counter(sizes.values()).items() if count > 1 and size}
    by_content: dict[object, list[_Place]] = defaultdict(list)
    for path, places in by_path.items():
        by_content[_content(path) if sizes.get(path) in shared else path] += places
    yield from (places for places in by_content.values() if len(places) > 1)


def _content(path: Path) -> object:
    """Return what two files have in common only where they are equal; one that cannot be read is like no other."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return path
