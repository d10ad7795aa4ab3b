"""Where and how irbench computes: device, precision, threads and seeds."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from irbench.core.errors import UsageError
from irbench.runtime.cache import Store

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how a component of a method computes: given to every class that a recipe names."""

    store: Store
    seed: int = 0
    device: str = "cpu"  # "cpu" or "cuda", decided
    precision: str = "fp32"  # "fp32" or "bf16", decided
    threads: int | None = None  # of torch on the CPU; None leaves it to torch
    weights: tuple[Path, ...] = ()  # files of pretrained weights that the user named
    pixel_bytes: int | None = None  # most bytes of decoded images on disk; None: half of what is free

    @property
    def synchronize(self) -> Callable[[], None]:
        """A function that waits until the device has finished its queued work."""
        if self.device == "cpu":
            return lambda: None
        import torch

        return torch.cuda.synchronize

    def autocast(self) -> "torch.autocast":
        """Return the context in which networks run: bfloat16 for matrix products where that is the precision."""
        import torch

        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def cast_weights(self, network: "torch.nn.Module") -> None:
        """Cast the weights of a network to the precision in which `autocast` multiplies them, for inference only.

        It computes the same to the bit. Without this, autocast casts every matrix anew for every batch.
        """
        import torch
        from torch import nn

        if self.precision == "bf16":
            for module in network.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    module.to(torch.bfloat16)

    def weight_bytes(self, network: "torch.nn.Module") -> int:
        """Return the bytes of the weights of a network as it answers, whether or not they have been cast already."""
        from torch import nn

        halved = self.precision == "bf16"
        cast = {
            id(weights)
            for module in network.modules()
            if halved and isinstance(module, nn.Linear | nn.Conv2d)
            for weights in module.parameters()
        }
        return sum(2 * w.numel() if id(w) in cast else w.nbytes for w in network.parameters())


def choose_threads(scale: str) -> int | None:
    """Decide how many threads torch computes with.

    A network of scale tiny gains a factor of 1.6 from a second core that is idle, and loses one of 5 to 25 where that
    core is busy, because its many small steps wait for each other; so it gets one.
    """
    return 1 if scale == "tiny" else None


def available_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_device(wish: str) -> str:
    """Decide "cpu" or "cuda"; a GPU that is asked for and absent is an error, never silently the CPU."""
    if wish == "cpu":
        return wish
    import torch

    if wish == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wish == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: this machine has no CUDA device that torch can use; try --device cpu", code="no-device"
        )
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
    """Let torch compute with `count` threads from now on, by default with as many as it chose itself at first.

    The libraries of some indexes (SPANN's) set another number for the whole process.
    """
    import torch

    own = _threads_of_torch()
    torch.set_num_threads(count or own)


@cache
def _threads_of_torch() -> int:
    """Return torch's own choice; asked before any index is built, which may change it."""
    import torch

    return torch.get_num_threads()
