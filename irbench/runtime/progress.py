"""A progress bar on standard error for work that takes long, and nothing at all for work that does not."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")
_QUIET = "IRBENCH_QUIET"  # in the environment, so that processes that are started hear of it

_reported: set[str] = set()  # what this process has told already, where there is no terminal
_PATIENCE = 1.5  # seconds of silence before a bar appears


def track(items: Iterable[T], description: str, total: int | None = None, *, background: bool = True) -> Iterator[T]:
    """Yield `items` one by one; a bar appears once they have taken a while, unless IRBENCH_QUIET=1.

    Without `background` it moves between items only, by no thread of its own, which a measurement would notice. Where
    standard error is no terminal, there is one line at the end, and one only for work that is repeated.
    """
    if os.environ.get(_QUIET) == "1":
        yield from items
        return
    if not sys.stderr.isatty():
        yield from _with_one_line(items, description)
        return
    from rich.console import Console
    from rich.progress import Progress

    start, shown, total = perf_counter(), False, _length(items) if total is None else total
    with Progress(console=Console(stderr=True), disable=True, auto_refresh=background) as progress:
        task = progress.add_task(description, total=total)
        for item in items:
            yield item
            progress.advance(task)
            if shown and not background:
                progress.refresh()
            if not shown and perf_counter() - start > _PATIENCE:
                shown, progress.disable = True, False
                progress.start()


def say(line: str) -> None:
    """Write a line to standard error, once in this process, unless IRBENCH_QUIET=1."""
    if os.environ.get(_QUIET) != "1" and line not in _reported:
        _reported.add(line)
        sys.stderr.write(f"{line}\n")


def _with_one_line(items: Iterable[T], description: str) -> Iterator[T]:
    start = perf_counter()
    yield from items
    if (seconds := perf_counter() - start) > _PATIENCE and description not in _reported:
        _reported.add(description)
        sys.stderr.write(f"{description}: {seconds:.0f} s\n")


@contextmanager
def quiet(*, on: bool) -> Iterator[None]:
    """Show no progress bars meanwhile, if `on`; also in processes that are started meanwhile."""
    before = os.environ.get(_QUIET)
    if on:
        os.environ[_QUIET] = "1"
    try:
        yield
    finally:
        if on and before is None:
            del os.environ[_QUIET]
        elif on and before is not None:
            os.environ[_QUIET] = before


@contextmanager
def transfer(description: str, *, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with how many of `total` bytes are done; a bar appears as it does in `track`."""
    if os.environ.get(_QUIET) == "1":
        yield lambda _: None
        return
    from rich import progress as rich
    from rich.console import Console

    columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.DownloadColumn(),
               rich.TransferSpeedColumn(), rich.TimeRemainingColumn())  # fmt: skip
    start = perf_counter()
    with rich.Progress(*columns, console=Console(stderr=True), disable=True) as bar:
        task = bar.add_task(description, total=total)

        def show(done: int) -> None:
            bar.update(task, completed=done)
            if bar.disable and perf_counter() - start > _PATIENCE:
                bar.disable = False
                bar.start()

        yield show


def _length(items: Iterable[object]) -> int | None:
    return len(items) if isinstance(items, Sized) else None
