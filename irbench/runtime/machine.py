"""The machine that a number was made on, and how a run is to use it."""

import os
import platform
import random
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from irbench.core.errors import UsageError
from irbench.core.version import VERSION
from irbench.runtime.cache import Store

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how a part of a method computes: given to every class that the catalog builds."""

    store: Store
    seed: int = 0
    device: str = "cpu"  # "cpu" or "cuda", decided
    precision: str = "fp32"  # "fp32" or "bf16", decided
    threads: int | None = None  # of torch on the CPU; None leaves it to torch
    weights: Path | None = None  # a file of pretrained weights that the user pointed to

    @property
    def synchronize(self) -> Callable[[], None]:
        """A function that waits until the device has done all it was told."""
        if self.device == "cpu":
            return lambda: None
        import torch

        return torch.cuda.synchronize

    def autocast(self) -> "torch.autocast":
        """Return the context in which networks run: bfloat16 for matrix products where that is the precision."""
        import torch

        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def cast_weights(self, network: "torch.nn.Module") -> None:
        """Hold the matrices of a network as `autocast` multiplies them, for good: it answers, and learns no more.

        It computes the same to the bit. Without this, autocast casts every matrix anew for every batch.
        """
        import torch
        from torch import nn

        if self.precision == "bf16":
            for module in network.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    module.to(torch.bfloat16)


def choose_threads(scale: str) -> int | None:
    """Decide how many threads torch computes with.

    A network of scale tiny gains a factor of 1.6 from a second core that is idle, and loses one of 5 to 25 where that
    core is busy, because its many small steps wait for each other; so it gets one.
    """
    return 1 if scale == "tiny" else None


def choose_device(wish: str) -> str:
    """Decide "cpu" or "cuda"; a GPU that is asked for and absent is an error, never silently the CPU."""
    import torch

    if wish == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wish == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no CUDA device that torch can use; try --device cpu")
    return wish


def choose_precision(wish: str, device: str) -> str:
    """Decide "fp32" or "bf16": by default the latter on a GPU that multiplies bfloat16 matrices, and only there.

    On a CPU the same command means the same arithmetic everywhere, also where the processor has AMX.
    """
    if wish != "auto":
        return wish
    if device != "cuda":
        return "fp32"
    import torch

    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def seed_everything(seed: int) -> None:
    """Start every global random generator from `seed`."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 -- libraries draw from the global generator
    torch.manual_seed(seed)


def use_threads(count: int | None) -> None:
    """Let torch compute with `count` threads from now on."""
    if count is not None:
        import torch

        torch.set_num_threads(count)


def environment(runtime: Runtime) -> dict[str, object]:
    """Return what a result has to tell of the machine and the software; no paths, names or secrets of the user."""
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
        "load": _load(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if runtime.device == "cuda" else None,
        "precision": runtime.precision,
    }


def reset_peak_memory(runtime: Runtime) -> None:
    """Start counting the peak of memory anew, so that it is that of indexing and answering, not of training.

    On macOS, where the host's peak cannot be reset, training counts where it was not remembered.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: VmHWM starts from what is resident now
    if runtime.device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()


def peak_memory(runtime: Runtime) -> tuple[int, int | None]:
    """Return the peak of host memory (libraries included) and of torch's device memory, in bytes."""
    import resource

    device = None
    if runtime.device == "cuda":
        import torch

        device = torch.cuda.max_memory_allocated()
    kib = _proc("status", "VmHWM").removesuffix("kB").strip()
    host = 1024 * int(kib) if kib else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return host, device


class ConcurrentLoad:
    """Counts the cores that other processes compute on, from now on.

    The system's load says less: it is a mean over the last minute, it cannot tell a process that computes beside this
    one on an idle core from one that takes its core away, and it counts the threads of this one.
    """

    def __init__(self) -> None:
        self._start = perf_counter(), _computed()

    def cores(self) -> float | None:
        """Return how many, on average; None where the system does not tell."""
        (then, before), now, after = self._start, perf_counter(), _computed()
        if before is None or after is None or now <= then:
            return None
        return round(max(0.0, after - before) / (now - then), 2)


def _computed() -> float | None:
    """Return the seconds that all cores together have computed for others; also what a host took of them (Linux)."""
    try:
        ticks = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        user, nice, system, _, _, _, _, steal = map(int, ticks[:8])
    except (OSError, ValueError):
        return None
    return (user + nice + system + steal) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


_LIBRARIES = {
    "faiss": ("faiss-gpu", "faiss-cpu"),
    "scann": ("scann",),
    "sptag": ("sptag",),
    "timm": ("timm",),
    "torchvision": ("torchvision",),
}


@cache
def cpu_flags() -> frozenset[str]:
    """Return the instruction sets that the processor announces; empty where the system does not tell."""
    return frozenset(_proc("cpuinfo", "flags").split())


def _cpu_name() -> str:
    return _proc("cpuinfo", "model name") or platform.processor() or platform.machine()


def _load() -> float | None:
    """Return how many processes wanted to compute, on average over the last minute."""
    try:
        return round(os.getloadavg()[0], 1)
    except OSError:
        return None


def _proc(file: str, field: str) -> str:
    """Return the first value of `field` in what Linux tells of itself or of this process; empty where it does not."""
    path = Path("/proc/self/status" if file == "status" else f"/proc/{file}")
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
