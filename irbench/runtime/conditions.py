"""Under which conditions work was done: on which processor, and how much other processes computed meanwhile."""

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import psutil


@dataclass(frozen=True)
class Work:
    """A piece of work that was done: its duration, and the conditions; None where these were not recorded."""

    seconds: float
    processor: str | None = None
    load: float | None = None  # cores that other processes computed on meanwhile, on average
    decoded_again: tuple[str, ...] = ()  # sets of images that were decoded whenever they were needed


class ConcurrentLoad:
    """Counts the cores that other processes compute on, from now on.

    The system's load average says less: it is a mean over the last minute, it cannot tell a process on an idle core
    from one that takes this one's core away, and it counts the threads of this process.
    """

    def __init__(self) -> None:
        self._start = perf_counter(), _seconds_of_others()

    def cores(self) -> float | None:
        """Return how many, on average; None before any time has passed."""
        (then, before), now, after = self._start, perf_counter(), _seconds_of_others()
        if now <= then:
            return None
        return round(max(0.0, after - before) / (now - then), 2)


# Variables that choose the instructions of MKL, oneDNN, ATen and OpenBLAS, or put other code in their place.
_STEERING = (
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_CBWR",
    "ONEDNN_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ATEN_CPU_CAPABILITY",
    "OPENBLAS_CORETYPE",
    "LD_PRELOAD",
)
_again: set[str] = set()


def decoded_again() -> tuple[str, ...]:
    """Return the names of the sets of images that were decoded each time anew, for want of room on disk."""
    return tuple(sorted(_again))


def note_decoded_again(*names: str) -> None:
    """Remember that these sets were, in this process or in work that it takes up."""
    _again.update(names)


def forget_decoded_again() -> None:
    """Begin anew: the next cell has other sets."""
    _again.clear()


class OwnLoad:
    """Counts the cores that this process computes on, from now on, all of its threads together."""

    def __init__(self) -> None:
        self._start = perf_counter(), process_time()

    def cores(self) -> float | None:
        """Return how many, on average; None before any time has passed."""
        (then, before), now, after = self._start, perf_counter(), process_time()
        return round((after - before) / (now - then), 2) if now > then else None


def significant(works: Sequence[Work]) -> tuple[Work, ...]:
    """Return the pieces that are 1 % of the work or more: opening a model that was trained elsewhere is none."""
    total = sum(work.seconds for work in works)
    return tuple(work for work in works if work.seconds >= 0.01 * total)


def average_load(works: Sequence[Work]) -> float | None:
    """Return the mean concurrent load of several pieces of work, each weighted by its seconds; None if not recorded."""
    loads = [(work.seconds, work.load) for work in works if work.seconds > 0]
    known = [(seconds, load) for seconds, load in loads if load is not None]
    if not known or len(known) < len(loads):
        return None
    total = sum(seconds for seconds, _ in known)
    return round(sum(seconds * load for seconds, load in known) / total, 2)


def processor_name() -> str:
    """Return the name of the processor, as the system has it."""
    return field_of(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine()


def processor_and_steering() -> str:
    """Return the processor's name, and in parentheses the variables that choose which code libraries run on it.

    Such variables can double the speed of matrix products, or halve it, and change their rounding: as far as times go,
    the processor is another one. Of paths the last part is kept.
    """
    found = (f"{name}={_last_parts(os.environ[name])}" for name in _STEERING if os.environ.get(name))
    steering = ", ".join(found)
    return f"{processor_name()} ({steering})" if steering else processor_name()


def processor_flags() -> frozenset[str]:
    """Return the instruction sets of the processor by Linux's names, such as "avx2"; empty on other systems."""
    return frozenset(field_of(Path("/proc/cpuinfo"), "flags").split())


def field_of(path: Path, field: str) -> str:
    """Return the first value of `field` in a file of /proc; empty where the system has no such file."""
    try:
        text = path.read_text()
    except OSError:
        return ""
    lines = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == field), "")


def _last_parts(value: str) -> str:
    return " ".join(Path(part).name for part in re.split(r"[\s:]+", value) if part)


def _seconds_of_others() -> float:
    """Return the seconds that all cores have computed for other processes, or for other guests of a virtual host."""
    every = psutil.cpu_times()
    busy = every.user + every.system + getattr(every, "nice", 0.0) + getattr(every, "steal", 0.0)
    return float(busy - sum(os.times()[:4]))
