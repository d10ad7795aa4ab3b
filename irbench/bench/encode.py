"""How many images a backbone with random weights encodes in a second, compared with the machine's roofline.

The uint8 images are on the device already: reading image files is not timed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from irbench.bench.roofline import Rates, Work, bytes_of, flop_of
from irbench.bench.timing import median, peak_bytes, repeated
from irbench.networks.backbones import NetworkConfig, VisionNetwork, center_crop
from irbench.runtime.environment import reset_peak_memory
from irbench.runtime.machine import Runtime, seed_everything


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement: seconds are the median over repeats, of one batch."""

    precision: str
    batch: int
    total_s: float
    gflop_per_image: float
    of_product: float  # share of the machine's rate of matrix products
    of_roof: float  # share of the throughput at the roofline of the machine
    peak_bytes: int  # of the process on the host, or of GPU memory

    @property
    def images_per_s(self) -> float:
        """Throughput."""
        return self.batch / self.total_s


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings to measure."""

    backbone: str = "vit_base_patch16_224"
    image_size: int = 224  # pixels
    batches: tuple[int, ...] = (1, 16, 64)
    compiled: bool = False  # fuse the operations between matrix products by torch.compile, once for each batch size
    patience: float = 5.0  # seconds after which a measurement is not repeated


class Model:
    """A network as the retrievers use it, and images."""

    def __init__(self, plan: Plan, runtime: Runtime) -> None:
        seed_everything(0)
        self.image_size = plan.image_size
        self.runtime = runtime
        config = NetworkConfig(backbone=plan.backbone, image_size=plan.image_size, resize_size=plan.image_size)
        self.network = VisionNetwork(config).eval().to(runtime.device)
        self.runtime.cast_weights(self.network)
        self._feature: Callable[[Tensor], Tensor] = (
            torch.compile(self._plain, dynamic=False) if plan.compiled else self._plain
        )
        shape = (max(plan.batches), plan.image_size, plan.image_size, 3)
        self.images_uint8 = torch.randint(256, shape, dtype=torch.uint8).to(runtime.device)

    @torch.inference_mode()
    def encode(self, batch: int) -> Tensor:
        """Return features [B,D] of the first `batch` images."""
        with self.runtime.autocast():
            return self._feature(self.images_uint8[:batch])

    def _plain(self, images_uint8: Tensor) -> Tensor:
        return self.network.feature(self.network(center_crop(images_uint8, self.image_size)))

    @property
    def flop(self) -> float:
        """Floating-point operations for one image."""
        return flop_of(self.network, center_crop(self.images_uint8[:1], self.image_size), self.runtime.autocast())


def measure(model: Model, plan: Plan, rates: Rates) -> Iterator[Point]:
    """Time every batch size."""
    flop, weights = model.flop, bytes_of(model.network)
    for batch in plan.batches:
        reset_peak_memory(model.runtime)
        seconds = median(repeated(partial(model.encode, batch), model.runtime, plan.patience), "total")
        yield Point(
            precision=model.runtime.precision,
            batch=batch,
            total_s=seconds,
            gflop_per_image=flop / 1e9,
            of_product=batch * flop / seconds / rates.flop_per_s,
            of_roof=Work(flop=batch * flop, bytes=weights).least_s(rates) / seconds,
            peak_bytes=peak_bytes(model.runtime),
        )
