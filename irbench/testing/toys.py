"""Small vectors and images with a known structure, and the slow search that fast ones are compared with."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark, ImageSet

DIM = 24
_CLASSES = np.array([2, 3, 5, 7])  # labels with gaps between them


def vectors(size: int, *, seed: int, dim: int = DIM) -> NDArray[np.float32]:
    """Return vectors [size,dim] around 20 centres, which are the same for every seed."""
    centres = 3 * np.random.default_rng(0).normal(size=(20, dim))
    rng = np.random.default_rng(seed)
    return (centres[rng.integers(20, size=size)] + rng.normal(size=(size, dim))).astype(np.float32)


def squared_distances(queries: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the squared Euclidean distances [Q,N], from differences in float64."""
    return ((queries[:, None].astype(np.float64) - gallery[None].astype(np.float64)) ** 2).sum(-1)


def nearest(queries: NDArray[np.float32], gallery: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the `k` nearest gallery rows [Q,k] of each query, equal distances by lower row."""
    return np.argsort(squared_distances(queries, gallery), axis=1, kind="stable")[:, :k]


def overlap(found: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    """Return the share of the rows `true` [Q,K] that stand among the rows `found` of the same query."""
    return float((true[:, :, None] == found[:, None, :]).any(axis=2).mean())


def images(count: int = 40, *, seed: int = 0, name: str = "train", size: int = 40) -> ImageSet:
    """Return images of size x size pixels in 4 classes: noise over a colour that is the class's."""
    rng = np.random.default_rng(seed)
    labels = np.sort(np.resize(_CLASSES, count))
    colours = np.random.default_rng(0).integers(40, 216, (8, 3))[labels][:, None, None]
    noise = rng.integers(-40, 40, (count, size, size, 3))
    return ImageSet(
        name=name,
        ids=tuple(f"{seed}-{row:02d}.png" for row in range(count)),
        labels=labels,
        arrays=(colours + noise).clip(0, 255).astype(np.uint8),
    )


def pixels(images: ImageSet) -> NDArray[np.uint8]:
    """Return the pixels [N,H,W,3] of toy images."""
    assert images.arrays is not None  # noqa: S101 -- toy images are carried in memory
    return images.arrays


def benchmark() -> Benchmark:
    """Return a benchmark of 40 gallery images, which are trained on too, and 12 queries."""
    train = images()
    return Benchmark(
        name="toy",
        protocol="closed-set",
        crop="none",
        train=train,
        gallery=replace(train, name="gallery"),
        queries=images(12, seed=1, name="queries"),
        ks=(1, 10),
        top_k=20,
    )
