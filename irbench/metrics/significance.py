"""The significance of differences between rankings of the same queries.

The paired randomisation test, and Holm's correction for multiple tests. The signs that are drawn are those of whole
classes of queries, whose scores depend on each other: `by_class` adds them up first. Over several seeds see
`irbench.metrics.uncertainty.p_value`. Shape letters: Q queries or classes, B draws of signs, R rankings, C columns of a
table, S seeds.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irbench.metrics.uncertainty import p_value

_CHUNK_BYTES = 32 << 20
_MANY = 500  # differences beyond which the sum of randomly signed ones is taken as normally distributed


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


def pairwise_over_seeds(scores: NDArray[np.float64], classes: NDArray[np.integer[Any]] | None) -> NDArray[np.float64]:
    """Return the p-values [C,R,R] of paired differences between R rankings with scores [C,R,S,Q] of several seeds."""
    return np.stack([p_value(row[:, None] - scores, classes) for row in np.moveaxis(scores, 1, 0)], axis=1)


def by_class(scores: NDArray[np.float64], classes: NDArray[np.integer[Any]] | None) -> NDArray[np.float64]:
    """Return sums [..,G] of scores [..,Q] over the queries of each class; without classes, or with one, the scores."""
    if classes is None or (groups := np.unique(classes, return_inverse=True)[1]).max(initial=0) == 0:
        return scores
    order = np.argsort(groups, kind="stable")
    return np.add.reduceat(scores[..., order], np.searchsorted(groups[order], np.arange(groups.max() + 1)), axis=-1)


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
