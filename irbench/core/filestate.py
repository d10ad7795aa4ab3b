"""What changes with a file, without reading it: for what is remembered of a file within a process, or in a cache."""

import errno
import os
import stat
from pathlib import Path


def state_of(path: Path | str) -> str:
    """Return size, times and inode of a file; raises `OSError`.

    The time of modification alone can be set to any value, and a copy may keep it; that of the change of the inode
    cannot.
    """
    facts = os.stat(path)  # noqa: PTH116 -- a million of them
    return f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns} {facts.st_ino}"


def size_of(path: Path) -> int:
    """Return the size of a regular file; `OSError` for any other: a pipe would be waited for."""
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return facts.st_size
