"""What a machine could do at best: its own rates, measured, and the least that a piece of work asks of them.

A piece of work takes at least its multiplications at the rate of one large matrix product, and at least its bytes at
the rate of one large copy. What is measured is told as a share of the longer of the two.
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

# side of the matrices, products timed together, and bytes copied: enough to be large beside caches and launches
_SIZES = {"cuda": (8192, 10, 1 << 32), "cpu": (1024, 4, 1 << 27)}
_TYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What one machine does in one precision."""

    precision: str
    flop_per_s: float  # of a matrix product; a multiplication with its addition counts two
    bytes_per_s: float  # of a copy; bytes read and bytes written both count


@dataclass(frozen=True, kw_only=True)
class Work:
    """The least that has to be done."""

    flop: float
    bytes: float

    def least_s(self, rates: Rates) -> float:
        """Seconds that it takes at the machine's own rates."""
        return max(self.flop / rates.flop_per_s, self.bytes / rates.bytes_per_s)


@torch.inference_mode()
def rates(runtime: Runtime, patience: float, *, shrink: int = 1) -> Rates:
    """Measure the machine; `shrink` divides the sides of the matrices and the bytes, for tests."""
    side, times, size = _SIZES[runtime.device]
    side, size = side // shrink, size // shrink
    a, b = (torch.randn(side, side, device=runtime.device).to(_TYPES[runtime.precision]) for _ in range(2))
    product = torch.empty_like(a)
    source = torch.full((size,), 7, dtype=torch.uint8, device=runtime.device)
    target = torch.zeros_like(source)
    multiply = _seconds(lambda: torch.mm(a, b, out=product), times, runtime, patience)
    copy = _seconds(partial(target.copy_, source), times, runtime, patience)
    return Rates(precision=runtime.precision, flop_per_s=2 * side**3 / multiply, bytes_per_s=2 * size / copy)


def flop_of(network: nn.Module, pictures: Tensor, context: AbstractContextManager[object]) -> float:
    """Count the floating-point operations of matrix products, convolutions and attention for pictures [B,3,S,S]."""
    with context, torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(pictures)
    return float(counter.get_total_flops())


def bytes_of(network: nn.Module) -> int:
    """Bytes of the parameters, as they are held."""
    return sum(parameter.nbytes for parameter in network.parameters())


def _seconds(work: Callable[[], object], times: int, runtime: Runtime, patience: float) -> float:
    def several() -> None:
        for _ in range(times):
            work()

    return median(repeated(several, runtime, patience), "total") / times
