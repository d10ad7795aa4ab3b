"""What scoring costs: every metric of Q rankings of K results, compared with plain loops of the definitions."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from irbench.bench.timing import median, repeated
from irbench.metrics.retrieval import METRICS, Judged, Measure
from irbench.runtime.machine import Runtime

_KS = (1, 10, 100)
_BY_LOOP = 200  # queries, at most, that the loops score: they are slow


@dataclass(frozen=True, kw_only=True)
class Timed:
    """The time to score `queries` rankings of `results` images each by `metrics` metrics."""

    queries: int
    results: int
    metrics: int
    total_s: float
    loop_s: float  # of plain loops, extrapolated from fewer queries
    difference: float  # largest between the two, over queries and metrics

    @property
    def ratio(self) -> float:
        """Time of the loops relative to the fast scoring."""
        return self.loop_s / self.total_s


def measure(queries: int, results: int, runtime: Runtime, patience: float) -> Timed:
    """Score random rankings, a tenth of whose results are hits."""
    rng = np.random.default_rng(0)
    hits = rng.random((queries, results)) < 0.1
    positives = hits.sum(axis=1) + rng.integers(1, 50, queries)
    whole = [Measure(metric, k) for metric in METRICS.values() if not metric.part for k in _KS if metric.at_k]
    timers = repeated(lambda: _score(hits, positives, whole), runtime, patience)
    few = min(queries, _BY_LOOP)
    rows = list(zip(hits[:few].tolist(), positives[:few].tolist(), strict=True))
    start = perf_counter()
    slow = [[by_loop(row, n, measure) for measure in whole] for row, n in rows]
    seconds = perf_counter() - start
    fast = _score(hits[:few], positives[:few], whole)
    return Timed(
        queries=queries,
        results=results,
        metrics=len(whole),
        total_s=median(timers, "total"),
        loop_s=seconds * queries / few,
        difference=float(np.abs(np.array(slow) - fast).max()),
    )


def _score(hits: NDArray[np.bool_], positives: NDArray[np.int64], measures: list[Measure]) -> NDArray[np.float64]:
    """Return scores [Q,metrics]."""
    judged = Judged(hits, positives)
    return np.stack([measure.metric.function(judged, measure.k) for measure in measures], axis=1)


def by_loop(  # noqa: PLR0911 -- one definition, one return
    grades: Sequence[int], n: int, measure: Measure, best: Sequence[int] | None = None
) -> float:
    """Score one query by the definition of the measure, from the grades of its results [K] and of its n positives.

    `best` are the latter in descending order, by default 1 each; those of the results may be hits.
    """
    k = measure.k
    top = ([*grades] + [0] * k)[:k]
    ranks = [rank for rank, grade in enumerate(top, 1) if grade]
    match measure.metric.name:
        case "precision" | "precision_old" | "precision_new":
            return len(ranks) / k
        case "precision_irgen":
            return len(ranks) / (ranks[-1] if len(ranks) == n > 1 and ranks[-1] < k else k)
        case "hit_rate":
            return float(bool(ranks))
        case "recall":
            return len(ranks) / n
        case "mrr":
            return 1 / ranks[0] if ranks else 0.0
        case "map" | "map_cut" | "map_trapezoid":
            return _average_precision(ranks, min(n, k) if measure.metric.name == "map" else n, measure)
        case "ndcg":
            return _gain(top) / _gain((best or [1] * n)[:k])
        case "r_precision":
            return sum(map(bool, grades[:n])) / n
    raise AssertionError(measure)


def _average_precision(ranks: Sequence[int], n: int, measure: Measure) -> float:
    """Return the mean precision at n hits, or by the trapezoidal rule that before and at each of them."""
    at = [(i + 1) / rank for i, rank in enumerate(ranks)]
    before = [i / (rank - 1) if rank > 1 else 1.0 for i, rank in enumerate(ranks)]
    return (sum(at) + sum(before)) / 2 / n if measure.metric.name == "map_trapezoid" else sum(at) / n


def _gain(grades: Sequence[int]) -> float:
    return sum(grade / log2(rank + 1) for rank, grade in enumerate(grades, 1))
