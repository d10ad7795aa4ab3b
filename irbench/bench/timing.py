"""How the benchmarks measure time: a warm-up, then repeats under the harness's timer."""

from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np

from irbench.runtime.environment import peak_memory
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import Timer

_REPEATS = 9
_LEAST = 0.5  # seconds: nine repeats of 3 ms are over before a GPU reaches its usual clock rate


def repeated(work: Callable[[], object], runtime: Runtime, patience: float, *, detailed: bool = False) -> list[Timer]:
    """Run `work` once to warm up, then 9 times and for half a second under timers, at most for `patience` seconds."""
    work()
    timers: list[Timer] = []
    start = perf_counter()
    while not timers or ((passed := perf_counter() - start) < patience and (len(timers) < _REPEATS or passed < _LEAST)):
        with Timer(bypass_cache=True, detailed=detailed, synchronize=runtime.synchronize).run() as timer:
            work()
        timers.append(timer)
    return timers


def median(timers: Sequence[Timer], name: str) -> float:
    """Return the median seconds of a span or subspan."""
    return float(np.median([timer.seconds[name] for timer in timers]))


def peak_bytes(runtime: Runtime) -> int:
    """Return the peak since the last reset: of GPU memory, or without a GPU of the process on the host."""
    host, device = peak_memory(runtime)
    return host if device is None else device
