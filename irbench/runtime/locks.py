"""Locks between processes: the kernel's, which it frees when their holder dies, or files where it has none."""

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

_LEASE = 120.0  # seconds without a sign of life after which a file of another machine's does not count any more
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})  # some network file systems


class Held(Exception):  # noqa: N818 -- no error: whoever does not want to wait asks again later
    """Another process is in the block."""


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Let one process at a time into the block; `path` is the lock's file, whose folder exists.

    Raises `OSError`, and without `wait` `Held` where another process is in it.
    """
    try:
        lock = _acquired(path, wait=wait)
    except Timeout as error:
        raise Held(str(path)) from error
    try:
        yield
    finally:
        lock.release()


def _acquired(path: Path, *, wait: bool) -> BaseFileLock:
    lock: BaseFileLock = FileLock(path)
    try:
        lock.acquire(blocking=wait)
    except (OSError, NotImplementedError) as error:  # being held is an OSError without a number
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        lock = SoftFileLease(path.with_name(f"{path.name}.held"), lease_duration=_LEASE)
        warnings.warn(
            f"{path.parent} has no file locks ({error}): {lock.lock_file}, which its owner keeps renewing, stands for "
            f"one; a process that is killed on another machine keeps others waiting for {_LEASE:.0f} s",
            RuntimeWarning,
            stacklevel=2,
        )
        lock.acquire(blocking=wait)
    return lock
