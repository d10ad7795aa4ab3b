"""The roofline of a machine: its measured rates, and the least time that a piece of work takes at them.

A piece of work takes at least its FLOP at the rate of one large matrix product, and at least its bytes at the rate of
one large copy. Measurements are reported as a share of the longer of the two.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from irbench.bench.timing import median, repeated
from irbench.runtime.machine import Runtime

# size of the matrices, products timed together, and bytes copied: large enough to hide caches and launch times
_SIZES = {"cuda": (8192, 10, 1 << 32), "cpu": (1024, 4, 1 << 27)}
_TYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The rates of one machine in one precision."""

    precision: str
    flop_per_s: float  # of a matrix product; a multiplication with its addition counts two
    bytes_per_s: float  # of a copy, counting bytes read and bytes written


@dataclass(frozen=True, kw_only=True)
class Work:
    """The least FLOP and bytes of a piece of work."""

    flop: float
    bytes: float

    def least_s(self, rates: Rates) -> float:
        """Return the seconds that it takes at the machine's rates."""
        return max(self.flop / rates.flop_per_s, self.bytes / rates.bytes_per_s)


@torch.inference_mode()
def rates(runtime: Runtime, patience: float, *, shrink: int = 1) -> Rates:
    """Measure the machine; `shrink` divides the sizes of matrices and copies, for tests."""
    n, times, size = _SIZES[runtime.device]
    n, size = n // shrink, size // shrink
    a, b = (torch.randn(n, n, device=runtime.device).to(_TYPES[runtime.precision]) for _ in range(2))
    product = torch.empty_like(a)
    source = torch.full((size,), 7, dtype=torch.uint8, device=runtime.device)
    target = torch.zeros_like(source)
    multiply = _seconds(lambda: torch.mm(a, b, out=product), times, runtime, patience)
    copy = _seconds(partial(target.copy_, source), times, runtime, patience)
    return Rates(precision=runtime.precision, flop_per_s=2 * n**3 / multiply, bytes_per_s=2 * size / copy)


def flop_of(network: nn.Module, images: Tensor, context: AbstractContextManager[object]) -> float:
    """Return the FLOP of matrix products, convolutions and attention for images [B,3,S,S]."""
    with context, torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(images)
    return float(counter.get_total_flops())


def bytes_of(network: nn.Module) -> int:
    """Return the bytes of the parameters in their current precision."""
    return sum(parameter.nbytes for parameter in network.parameters())


def _seconds(work: Callable[[], object], times: int, runtime: Runtime, patience: float) -> float:
    def several() -> None:
        for _ in range(times):
            work()

    return median(repeated(several, runtime, patience), "total") / times
