"""The uncertainty of means over queries, and the significance of differences between rankings of the same queries.

Bootstrap confidence intervals for all metrics of a ranking at once, the paired randomisation test, and Holm's
correction for multiple tests. Shape letters: Q queries, B resamples, M metrics, R rankings, C columns of a table.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_CHUNK_BYTES = 32 << 20
_MANY = 500  # differences beyond which the sum of randomly signed ones is taken as normally distributed


def intervals(
    values: Mapping[str, NDArray[np.float64]], *, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Return the percentile bootstrap confidence interval of the mean of each metric over the queries.

    Args:
        values: [Q] for each metric, of the same queries in the same order. Differences between two methods' values give
            a paired interval of the difference.
        seed: equal seeds draw equal resamples, so that intervals are reproducible.
        resamples: number of times that Q queries are drawn with replacement, shared by all metrics.
        level: share of the resampled means between the bounds.
    """
    if not values:
        return {}
    means = _resampled_means(np.stack(list(values.values()), axis=1), np.random.default_rng(seed), resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0).tolist()
    return dict(zip(values, zip(low, high, strict=True), strict=True))


def _resampled_means(values: NDArray[np.float64], rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    """Return the means [B,M] of `values` [Q,M] in each resample, as a product with how often each query was drawn."""
    size = len(values)
    chunk = max(1, _CHUNK_BYTES // (8 * size))
    sizes = (min(chunk, resamples - start) for start in range(0, resamples, chunk))
    return np.concatenate([_draw_counts(rng, count, size) @ values for count in sizes]) / size


def _draw_counts(rng: np.random.Generator, resamples: int, size: int) -> NDArray[np.float64]:
    """Return how often each of Q queries is drawn [B,Q] when Q are drawn with replacement."""
    drawn = rng.integers(0, size, (resamples, size))
    drawn += np.arange(resamples)[:, None] * size  # a range of bins for each resample, so that one bincount serves all
    return np.bincount(drawn.ravel(), minlength=resamples * size).reshape(resamples, size).astype(np.float64)


def randomised(differences: NDArray[np.float64], *, resamples: int = 9999, seed: int = 0) -> float:
    """Return the two-sided p-value of paired differences [Q] under the hypothesis that their signs are random.

    The same as scipy.stats.permutation_test (a test compares them) in a tenth of its time, which matters where a check
    makes hundreds of tests. Zero differences have no effect and are left out. Few differences are tested with all
    combinations of signs, more with `resamples` random ones (p is then at least 1 / (resamples + 1)), and very many by
    the normal limit of the test.
    """
    known = differences[differences != 0]
    if len(known) > _MANY:
        return math.erfc(abs(known.sum()) / math.sqrt(2 * (known**2).sum()))
    observed = abs(known.sum()) - 1e-9  # sums of equal terms in another order may differ in their last digits
    if 1 << min(len(known), 62) <= resamples:
        every = np.arange(1 << len(known))[:, None] >> np.arange(len(known)) & 1
        return float(np.mean(np.abs(_signed(every, known)) >= observed))
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_BYTES // (8 * len(known)))
    counts = (min(chunk, resamples - start) for start in range(0, resamples, chunk))
    drawn = (_signed(_bits(rng, count, len(known)), known) for count in counts)
    return (1 + sum(int((np.abs(sums) >= observed).sum()) for sums in drawn)) / (1 + resamples)


def pairwise(scores: NDArray[np.float64], *, resamples: int = 4999, seed: int = 0) -> NDArray[np.float64]:
    """Return the p-values [C,R,R] of `randomised` between every two of R rankings with paired scores [C,R,Q].

    All pairs share their random signs: a sum of signed differences is the difference of two signed sums, so that C x R
    products serve all tests. The C columns are independent (precision at 1, at 10 ...) but of the same queries. Where
    no draw reaches the observed sum, Hoeffding's inequality bounds the p-value, so that a correction for hundreds of
    tests needs no more draws.
    """
    columns, rows, _ = scores.shape
    sums = scores.sum(axis=2)
    observed = np.abs(sums[:, :, None] - sums[:, None, :])
    squares, many = _differences(scores)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(squares > 0, observed / np.sqrt(squares), 0.0)  # in standard deviations under random signs
    limit = np.vectorize(math.erfc, otypes=[float])(spread / math.sqrt(2))
    if many.all():
        return limit
    differ = (scores != scores[:, :1]).any(axis=(0, 1))
    reached = np.zeros((columns, rows, rows))
    for totals in _signed_totals(scores[:, :, differ], resamples, np.random.default_rng(seed)):
        for c, column in enumerate(totals):
            for r in range(rows):
                reached[c, r] += (np.abs(column[r] - column) >= observed[c, r][:, None] - 1e-9).sum(axis=1)
    drawn = np.minimum((1 + reached) / (1 + resamples), 2 * np.exp(-(spread**2) / 2))
    return np.where(many, limit, drawn)


def _differences(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return sums of squared differences [C,R,R], and whether more than `_MANY` queries differ [C,R,R]."""
    squares = np.empty((*scores.shape[:2], scores.shape[1]))
    many = np.empty(squares.shape, bool)
    for c, column in enumerate(scores):
        for r, row in enumerate(column):
            differences = column - row
            squares[c, r] = (differences**2).sum(axis=1)
            many[c, r] = (differences != 0).sum(axis=1) > _MANY
    return squares, many


def _signed_totals(
    scores: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Yield sums [C,R,B'] over the queries of `scores` [C,R,Q] under random signs, B' of B draws at a time."""
    columns, rows, size = scores.shape
    flat = scores.reshape(columns * rows, size)
    chunk = max(1, _CHUNK_BYTES // (8 * (size + columns * rows)))
    for start in range(0, resamples, chunk):
        bits = _bits(rng, min(chunk, resamples - start), size).astype(np.float64)
        yield (2 * (flat @ bits.T) - flat.sum(axis=1, keepdims=True)).reshape(columns, rows, -1)


def _signed(bits: NDArray[np.integer], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sums [B] of `values` [Q], negated where the bit in `bits` [B,Q] is 0."""
    return 2 * (bits.astype(np.float64) @ values) - values.sum()


def _bits(rng: np.random.Generator, resamples: int, size: int) -> NDArray[np.uint8]:
    """Return random bits [B,Q]."""
    drawn = np.frombuffer(rng.bytes(-(-resamples * size // 8)), np.uint8)
    return np.unpackbits(drawn, count=resamples * size).reshape(resamples, size)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, which control the family-wise error rate.

    Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(adjusted, 1.0)
    return corrected.tolist()
