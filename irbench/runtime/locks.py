"""Locks between processes: the kernel's, which it frees when their holder dies, or files where it has none."""

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})  # some network file systems


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time into the block; `path` is the lock's file, whose folder exists. Raises `OSError`."""
    lock = _acquired(path)
    try:
        yield
    finally:
        lock.release()


def _acquired(path: Path) -> BaseFileLock:
    lock: BaseFileLock = FileLock(path)
    try:
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        lock = SoftFileLock(path.with_name(f"{path.name}.held"))
        warnings.warn(
            f"{path.parent} has no file locks ({error}): {lock.lock_file} stands for one; delete it if it is left by a "
            "process that was killed and keeps others waiting",
            RuntimeWarning,
            stacklevel=2,
        )
        lock.acquire()
    return lock
