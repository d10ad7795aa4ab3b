"""Batches that fit into memory: where one does not, it is halved, and so are all that come after it.

How many rows a result was computed with at a time is a part of it, where that is fewer than usual: arithmetic of
another batch size differs in the last digits.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

from irbench.core.errors import is_out_of_memory

T = TypeVar("T")

_fitting: dict[str, int] = {}  # by what is computed: the batch that fitted, where the usual one did not


def halved() -> dict[str, int]:
    """Return what was computed in smaller batches than usual since `start_anew`, each with its batch."""
    return dict(_fitting)


def start_anew() -> None:
    """Try the usual batches again: the memory may be another cell's no more."""
    _fitting.clear()


def in_batches(what: str, count: int, size: int, compute: Callable[[int, int], T]) -> Iterator[T]:
    """Yield `compute(start, end)` for rows 0 … `count` - 1, `size` of them at a time, or as many as memory allows.

    What a single row raises for want of memory is passed on.
    """
    start = 0
    while start < count:
        end = min(start + min(size, _fitting.get(what, size)), count)
        if found := _tried(what, start, end, compute):
            yield found[0]
            start = end


def _tried(what: str, start: int, end: int, compute: Callable[[int, int], T]) -> tuple[T] | None:
    """Return what is computed; None where the batch is to be smaller."""
    try:
        return (compute(start, end),)
    except Exception as error:
        if end - start == 1 or not is_out_of_memory(error):
            raise
    # here, and not above, the traceback does not hold what had been made any more
    _release()
    _fitting[what] = (end - start) // 2
    return None


def _release() -> None:
    """Give memory back that torch keeps for itself."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
