"""How the benches time: a warm-up, then repeats on the harness's clock until patience ends."""

from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np

from irbench.runtime.environment import peak_memory
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import Timer

_REPEATS = 9
_LEAST = 0.5  # seconds: nine times 3 ms are over before a GPU runs at its usual timer


def repeated(work: Callable[[], object], runtime: Runtime, patience: float, *, detailed: bool = False) -> list[Timer]:
    """Run `work` to warm up, then on a clock 9 times, and on for half a second; at most for `patience` seconds."""
    work()
    clocks: list[Timer] = []
    start = perf_counter()
    while not clocks or ((passed := perf_counter() - start) < patience and (len(clocks) < _REPEATS or passed < _LEAST)):
        with Timer(bypass_cache=True, detailed=detailed, synchronize=runtime.synchronize).run() as timer:
            work()
        clocks.append(timer)
    return clocks


def median(clocks: Sequence[Timer], name: str) -> float:
    """Return the median seconds of a stage or a part."""
    return float(np.median([timer.seconds[name] for timer in clocks]))


def peak_bytes(runtime: Runtime) -> int:
    """Return the peak since it was reset: of the GPU's memory, or without one of the process on the host."""
    host, device = peak_memory(runtime)
    return host if device is None else device
