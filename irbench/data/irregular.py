"""Finds what is listed as an image and is no file, but a folder, a pipe, a socket or a device; none is ever opened."""

import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.text import as_text
from irbench.data.contents import contents

_KINDS: Mapping[str, Callable[[int], bool]] = {
    "folder": stat.S_ISDIR,
    "pipe": stat.S_ISFIFO,
    "socket": stat.S_ISSOCK,
    "device": lambda mode: not stat.S_ISREG(mode),
}


def kind(path: Path) -> str:
    """Return what is at a path, if it is no file; empty for files, and where nothing is."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # missing, a member of an archive, or not a possible name
        return ""
    return next((name for name, is_kind in _KINDS.items() if is_kind(mode)), "")


def remarks(benchmark: Benchmark) -> Iterator[str]:
    """Yield how many listed images are no files, by what they are."""
    found: dict[str, str] = {}
    for images in (benchmark.train, benchmark.gallery, benchmark.queries):
        found |= _irregular(images)
    if found:
        counts = ", ".join(f"{kind} {count}" for kind, count in Counter(found.values()).most_common())
        yield f"listed as images, but no files: {len(found)} ({counts}), first {as_text(next(iter(found)))}"


def _irregular(images: ImageSet) -> dict[str, str]:
    if not images.in_files:
        return {}
    unread = np.flatnonzero(~contents(images).any(axis=1)).tolist()  # of a file, the hash is never zero
    return {images.ids[row]: what for row in unread if (what := kind(images.root / images.ids[row]))}
