"""How far a mean over queries could be off: bootstrap intervals, for all metrics of a ranking at once."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_CHUNK_BYTES = 32 << 20


def intervals(
    values: Mapping[str, NDArray[np.float64]], *, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Return the percentile bootstrap interval of the mean of each metric over the queries.

    Args:
        values: [Q] per metric, the same queries in the same order. Differences of two methods' values make a paired
            interval of the difference.
        seed: equal seeds draw equal resamples, so that an interval is the same whenever it is computed.
        resamples: number of times that Q queries are drawn with replacement, once for all metrics.
        level: share of the resampled means between the two bounds.
    """
    if not values:
        return {}
    means = _resampled_means(np.stack(list(values.values()), axis=1), np.random.default_rng(seed), resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0).tolist()
    return dict(zip(values, zip(low, high, strict=True), strict=True))


def _resampled_means(values: NDArray[np.float64], rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    """[B,M] means of `values` [Q,M] in each resample, as one product with how often each query was drawn."""
    size = len(values)
    chunk = max(1, _CHUNK_BYTES // (8 * size))
    counts = (min(chunk, resamples - start) for start in range(0, resamples, chunk))
    return np.concatenate([_times_drawn(rng, count, size) @ values for count in counts]) / size


def _times_drawn(rng: np.random.Generator, resamples: int, size: int) -> NDArray[np.float64]:
    """[B,Q] how often each of Q queries is drawn when Q are drawn with replacement."""
    drawn = rng.integers(0, size, (resamples, size))
    drawn += np.arange(resamples)[:, None] * size  # one range of bins for each resample: a single count for all
    return np.bincount(drawn.ravel(), minlength=resamples * size).reshape(resamples, size).astype(np.float64)
