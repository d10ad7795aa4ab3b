"""What changes with a file, without reading it: for what is remembered of a file within a process, or in a cache."""

import os
from pathlib import Path


def state_of(path: Path | str) -> str:
    """Return size, times and inode of a file; raises `OSError`.

    The time of modification alone can be set to any value, and a copy may keep it; that of the change of the inode
    cannot.
    """
    facts = os.stat(path)  # noqa: PTH116 -- a million of them
    return f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns} {facts.st_ino}"
