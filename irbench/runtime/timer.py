"""The harness's clock. A retriever only says which stage it is in; it never holds a stopwatch.

    with stage("encode"):
        embeddings = self.encoder.encode(queries)

Outside a measurement `stage` does nothing. While a *live* clock runs, caches are to be left aside (`is_live()`):
a timed answer is never a remembered one. Under any other clock a cache hit is charged what the work cost when it was
done (`charge`), once, so that a price does not vanish because somebody else has paid it.

`part` marks what a stage consists of, and counts only under a *fine* clock: waiting for the device at every part would
slow down the stage that is being timed.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter


class Clock:
    """Seconds spent in each named stage while this clock runs."""

    def __init__(self, *, live: bool, fine: bool = False, synchronize: Callable[[], None] = lambda: None) -> None:
        self.live, self.fine = live, fine
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._known: set[str] = set()  # pieces of work that have been paid for, here or by a charge
        self._open: list[str] = []  # stages under way, the outermost first
        self.remembered = 0.0  # of these, seconds that had passed before, when the work was done
        self._synchronize = synchronize  # waits for the device, whose work is asynchronous

    @contextmanager
    def run(self) -> Iterator["Clock"]:
        """Make this the clock that `stage` writes to; the time of the whole is in `seconds["total"]`."""
        token = _running.set(self)
        try:
            with self.measure("total"):
                yield self
        finally:
            _running.reset(token)

    @property
    def cost(self) -> float:
        """Seconds that passed, and those that remembered work had cost when it was done."""
        return self.seconds["total"] + self.remembered

    def charge(self, name: str, seconds: float, work: str) -> None:
        """Add `seconds` to stage `name` and to those under way, as if they passed, unless `work` has been paid for."""
        if work not in self._known:
            self._known.add(work)
            for stage_ in {name, *self._open} - {"total"}:
                self.seconds[stage_] += seconds
            self.remembered += seconds

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the time of the block to stage `name`, the device's outstanding work included."""
        self._synchronize()
        self._open.append(name)
        start = perf_counter()
        try:
            yield
            self._synchronize()
        finally:
            self.seconds[name] += perf_counter() - start
            self._open.pop()


_running: ContextVar[Clock | None] = ContextVar("clock", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count the time of the block as stage `name` of the running clock, if one is running."""
    clock = _running.get()
    if clock is None:
        yield
    else:
        with clock.measure(name):
            yield


@contextmanager
def part(name: str) -> Iterator[None]:
    """Count the time of the block as part `name` of the stage under way, if the running clock is a fine one."""
    clock = _running.get()
    if clock is None or not clock.fine:
        yield
    else:
        with clock.measure(name):
            yield


def charge(name: str, seconds: float, work: str) -> None:
    """Tell the running clock what a remembered piece of work cost when it was done; 0 for work just done."""
    clock = _running.get()
    if clock is not None:
        clock.charge(name, seconds, work)


def remembered() -> float:
    """Seconds that the running clock has been charged for remembered work so far."""
    clock = _running.get()
    return clock.remembered if clock is not None else 0.0


def is_live() -> bool:
    """Tell whether a timed measurement is under way, in which nothing may be answered from a cache."""
    clock = _running.get()
    return clock is not None and clock.live
