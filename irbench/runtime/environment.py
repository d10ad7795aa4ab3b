"""What a result has to report of the machine and the software: versions, memory, and what else was running."""

import os
import platform
import resource
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

import psutil

from irbench.core.version import VERSION
from irbench.runtime.machine import Runtime

_LIBRARIES = {
    "faiss": ("faiss-gpu", "faiss-cpu"),
    "scann": ("scann",),
    "sptag": ("sptag",),
    "timm": ("timm",),
    "torchvision": ("torchvision",),
}


def environment(runtime: Runtime) -> dict[str, object]:
    """Return what a result has to report of machine and software; no paths, names or secrets of the user."""
    import torch

    return {
        "irbench": VERSION,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: _version(*packages) for name, packages in _LIBRARIES.items()},
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "load": round(psutil.getloadavg()[0], 1),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if runtime.device == "cuda" else None,
        "precision": runtime.precision,
    }


def reset_peak_memory(runtime: Runtime) -> None:
    """Start counting the peak of memory anew, so that it is that of indexing and search, not of training.

    On macOS, where the host's peak cannot be reset, training counts where it was not cached.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts from what is resident now
    if runtime.device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()


def peak_memory(runtime: Runtime) -> tuple[int, int | None]:
    """Return the peak of host memory (libraries included) and of torch's device memory, in bytes.

    psutil knows the present size of a process, and its peak on Windows only; so the system is asked.
    """
    device = None
    if runtime.device == "cuda":
        import torch

        device = torch.cuda.max_memory_allocated()
    kib = _field(Path("/proc/self/status"), "VmHWM").removesuffix("kB").strip()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 1024 * int(kib) if kib else peak, device


def resident_memory() -> int:
    """Return the bytes that the process holds now: before any work those of the imported libraries."""
    return psutil.Process().memory_info().rss


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


def _seconds_of_others() -> float:
    """Return the seconds that all cores have computed for other processes, or for other guests of a virtual host."""
    every = psutil.cpu_times()
    busy = every.user + every.system + getattr(every, "nice", 0.0) + getattr(every, "steal", 0.0)
    return float(busy - sum(os.times()[:4]))


def _cpu_name() -> str:
    return _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine()


def _field(path: Path, field: str) -> str:
    """Return the first value of `field` in a file of /proc; empty where the system has no such file."""
    try:
        text = path.read_text()
    except OSError:
        return ""
    lines = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == field), "")


def _version(*packages: str) -> str | None:
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def _commit() -> str | None:
    """Return the commit of irbench's own checkout, with a + where files differ from it; None for an installed one."""
    folder = str(Path(__file__).parent)
    try:
        _git(folder, "ls-files", "--error-unmatch", __file__)  # not the repository of somebody who has a venv in it
        return _git(folder, "rev-parse", "--short=12", "HEAD") + ("+" if _git(folder, "status", "-s", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: str, *arguments: str) -> str:
    command = ["git", "-C", folder, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
