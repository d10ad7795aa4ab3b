"""Silence for libraries in C++ that log to the terminal whatever they are told."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

STDOUT, STDERR = 1, 2


@contextmanager
def silenced(*descriptors: int) -> Iterator[None]:
    """Send the process's `descriptors` to nowhere for the time of the block, C buffers included."""
    flush = ctypes.CDLL(None).fflush
    sys.stdout.flush()
    sys.stderr.flush()
    flush(None)  # what others have printed so far is theirs to show
    with ExitStack() as stack, open(os.devnull, "wb") as nowhere:  # noqa: PTH123 -- a device, not a file of ours
        for descriptor in descriptors:
            kept = os.dup(descriptor)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, descriptor)
            os.dup2(nowhere.fileno(), descriptor)
        stack.callback(flush, None)
        yield
