"""The significance of differences between rankings of the same queries.

Tests of all pairs over classes of queries and seeds, for tables; the randomisation test of single queries, for a check
of the same queries against a baseline; Holm's correction for multiple tests. Shape letters: Q queries, B draws of
signs, R rankings, C columns of a table, S seeds.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irbench.metrics.uncertainty import by_class, p_value_of

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


def pairwise(scores: NDArray[np.float64], classes: NDArray[np.integer[Any]] | None) -> NDArray[np.float64]:
    """Return the p-values [C,R,R] of differences between every two of R rankings with paired scores [C,R,S,Q].

    The C columns are independent (precision at 1, at 10 ...) but of the same queries, whose classes [Q] are `classes`.
    """
    rows = by_class(scores, classes)
    if rows is None:
        return np.ones((len(scores), *2 * scores.shape[1:2]))
    return np.stack([p_value_of(rows.at(row) - rows) for row in range(scores.shape[1])], axis=1)


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
