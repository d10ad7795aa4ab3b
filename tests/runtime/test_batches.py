"""Where memory does not suffice for a batch, smaller ones answer the same, and which they were is kept."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from irbench.core.benchmark import ImageSet
from irbench.data.pixels import View
from irbench.networks import backbones
from irbench.runtime import batches
from irbench.runtime.machine import Runtime

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
]


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    batches.start_anew()
    yield
    batches.start_anew()


class Small(nn.Module):
    """A network for whose batches there is memory up to `fits` images."""

    def __init__(self, fits: int, error: Exception) -> None:
        super().__init__()
        self.fits, self.error, self.tried = fits, error, list[int]()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.tried.append(len(images))
        if len(images) > self.fits:
            raise self.error
        return images.mean(dim=(2, 3))


def encode(module: nn.Module, images: ImageSet, runtime: Runtime) -> np.ndarray:
    return backbones.run_network(module, images, View(32), image_size=32, runtime=runtime)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("fits", "batch"), [(39, 20), (11, 10), (3, 2), (1, 1)])
def test_smaller_batches_encode_the_same(images, runtime, error, fits, batch) -> None:
    whole = encode(Small(1000, error), images, runtime)
    assert batches.halved() == {}
    small = Small(fits, error)
    assert np.allclose(encode(small, images, runtime), whole, rtol=1e-6)
    assert batches.halved() == {"encode": batch}
    assert max(small.tried[-2:]) <= batch
    first = len(small.tried)
    encode(small, images, runtime)
    assert max(small.tried[first:]) == batch  # what did not fit is not tried again
    batches.start_anew()
    assert batches.halved() == {}


def test_what_one_image_does_not_fit_into_is_passed_on(images, runtime) -> None:
    small = Small(0, ERRORS[0])
    with pytest.raises(torch.OutOfMemoryError):
        encode(small, images, runtime)
    assert small.tried == [40, 20, 10, 5, 2, 1]


def test_another_error_halves_nothing(images, runtime) -> None:
    small = Small(10, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        encode(small, images, runtime)
    assert small.tried == [40]
    assert batches.halved() == {}
