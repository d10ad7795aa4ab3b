"""What a result has to report of the machine and the software: versions and memory."""

import os
import platform
import re
import resource
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from irbench.core.version import VERSION
from irbench.runtime.conditions import field_of, processor_and_steering
from irbench.runtime.machine import Runtime

_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE_KEY", re.IGNORECASE)
_SHORTEST = 6  # characters of a value that is taken for a secret
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
        "cpu": processor_and_steering(),
        "cores": os.cpu_count(),
        "load": round(psutil.getloadavg()[0], 1),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if runtime.device == "cuda" else None,
        "precision": runtime.precision,
    }


def without_secrets(text: str) -> str:
    """Return text that is to be stored without the user's home folder, and without secrets of the environment."""
    secrets = {value for name, value in os.environ.items() if _SECRET.search(name) and len(value) >= _SHORTEST}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "…")
    home = os.path.expanduser("~")  # noqa: PTH111 -- a folder that is not known stays "~"
    return re.sub(rf"{re.escape(home)}(?=[/\W]|$)", "~", text) if len(home) > 1 else text


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
    kib = field_of(Path("/proc/self/status"), "VmHWM").removesuffix("kB").strip()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 1024 * int(kib) if kib else peak, device


def total_memory() -> int:
    """Bytes of this machine's memory."""
    return int(psutil.virtual_memory().total)


def resident_memory() -> int:
    """Return the bytes that the process holds now: before any work those of the imported libraries."""
    return psutil.Process().memory_info().rss


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
