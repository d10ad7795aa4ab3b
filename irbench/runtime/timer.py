"""The harness's timer. A retriever only marks the spans of its work; it never holds a stopwatch.

    with span("encode"):
        embeddings = self.encoder.encode(queries)

Outside a measurement `span` does nothing. While a timer runs with `bypass_cache`, caches are to be left aside
(`caches_bypassed()`): what is timed is always computed. Under any other timer a cache hit is charged with what the
work cost when it was done (`charge`), once, so that a cost does not vanish because somebody else has paid it.

`subspan` marks what a span consists of, and counts only under a `detailed` timer: waiting for the device at every
subspan would slow down the span that is being timed.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

from irbench.runtime.conditions import Work


class Timer:
    """Seconds spent in each named span while this timer runs."""

    def __init__(
        self, *, bypass_cache: bool, detailed: bool = False, synchronize: Callable[[], None] = lambda: None
    ) -> None:
        self.bypass_cache, self.detailed = bypass_cache, detailed
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._known: set[str] = set()  # pieces of work that have been paid for, here or by a charge
        self._open: list[str] = []  # spans under way, the outermost first
        self.remembered: list[Work] = []  # what had been done before, and is charged as if it were done now
        self._synchronize = synchronize  # waits for the device, whose work is asynchronous

    @contextmanager
    def run(self) -> Iterator["Timer"]:
        """Make this the timer that `span` writes to; the time of the whole is in `seconds["total"]`."""
        token = _running.set(self)
        try:
            with self.measure("total"):
                yield self
        finally:
            _running.reset(token)

    @property
    def charged(self) -> float:
        """Seconds that had passed before, when remembered work was done."""
        return sum(work.seconds for work in self.remembered)

    @property
    def cost(self) -> float:
        """Seconds that passed, and those that cached work had cost when it was done."""
        return self.seconds["total"] + self.charged

    def charge(self, name: str, works: Sequence[Work], key: str) -> None:
        """Add their seconds to span `name` and to those under way, as if they passed, unless `key` is paid for."""
        if key not in self._known:
            self._known.add(key)
            for span_ in {name, *self._open} - {"total"}:
                self.seconds[span_] += sum(work.seconds for work in works)
            self.remembered += works

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the time of the block to span `name`, the device's outstanding work included."""
        self._synchronize()
        self._open.append(name)
        start, before = perf_counter(), waited()
        try:
            yield
            self._synchronize()
        finally:
            self.seconds[name] += perf_counter() - start - (waited() - before)
            self._open.pop()


_running: ContextVar[Timer | None] = ContextVar("timer", default=None)
_waited: ContextVar[float] = ContextVar("waited", default=0.0)


@contextmanager
def span(name: str) -> Iterator[None]:
    """Count the time of the block as span `name` of the running timer, if one is running."""
    timer = _running.get()
    if timer is None:
        yield
    else:
        with timer.measure(name):
            yield


@contextmanager
def subspan(name: str) -> Iterator[None]:
    """Count the time of the block as subspan `name` of the span under way, if the running timer is a detailed one."""
    timer = _running.get()
    if timer is None or not timer.detailed:
        yield
    else:
        with timer.measure(name):
            yield


class off_the_clock:  # noqa: N801 -- read as a word at its uses: with off_the_clock()
    """Leave the time of the block out of what timers measure: waiting for another process, or irbench's own checks.

    A class, since a generator would take longer than some of what it leaves out.
    """

    __slots__ = ("_start",)

    def __enter__(self) -> None:
        self._start = perf_counter()

    def __exit__(self, *error: object) -> None:
        _waited.set(_waited.get() + perf_counter() - self._start)


def waited() -> float:
    """Return the seconds that this process has been idle, or off the clock, so far."""
    return _waited.get()


def charge(name: str, works: Sequence[Work], key: str) -> None:
    """Charge the running timer with what the cached piece of work `key` cost; nothing for one that was just done."""
    timer = _running.get()
    if timer is not None:
        timer.charge(name, works, key)


def remembered() -> tuple[Work, ...]:
    """Return the cached work that the running timer has been charged with so far."""
    timer = _running.get()
    return tuple(timer.remembered) if timer is not None else ()


def caches_bypassed() -> bool:
    """Is a timed measurement under way, in which nothing may come from a cache?"""
    timer = _running.get()
    return timer is not None and timer.bypass_cache
