"""What an approximate search misses: how many of the exact neighbours it finds, whatever their labels.

Distances are those between the vectors that are searched. A result counts where it is as near as the K-th exact
neighbour, as in ann-benchmarks (ann_benchmarks/plotting/metrics.py), so that equal vectors stand for each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.ranking import MISSING, Ranking
from irbench.data.neighbours import nearest_rows
from irbench.protocols import SearchesVectors

KS = (1, 10, 100)
_SAMPLE = 500  # queries at most
_AS_NEAR = 1e-5  # relative difference of squared distances
_GATHERED = 1 << 24  # numbers of vectors that are in memory together


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The exact neighbours of some queries, their own images left out."""

    sample: NDArray[np.int64]  # [S] rows of queries
    queries: NDArray[np.float32]  # [S,D]
    gallery: NDArray[np.float32]  # [N,D]
    exact: Ranking  # [S,K], scores are minus squared distances

    def recall(self, ranking: Ranking) -> dict[int, float]:
        """Return by K the share of the K nearest that are among the first K results of a ranking [Q,T]."""
        found = ranking.rows[self.sample]
        deepest = min(found.shape[1], self.exact.top_k)
        return self.recall_at([k for k in KS if k <= deepest], found)

    def recall_at(self, ks: Sequence[int], found: NDArray[np.int64]) -> dict[int, float]:
        """Return by K the share of the K nearest that are among the first K rows found [S,T]."""
        distances = self._distances(found)
        known = (self.exact.rows != MISSING).sum(axis=1)  # fewer than K where the gallery has no more
        shares = {}
        for k in ks if known.any() else ():
            due = np.minimum(k, known)
            last = np.take_along_axis(self.exact.scores, np.maximum(due - 1, 0)[:, None], 1)
            near = distances[:, :k] <= -last * (1 + _AS_NEAR)
            shares[k] = float(np.minimum(near.sum(axis=1), due).sum() / due.sum())
        return shares

    def _distances(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the squared distances [S,T] of the queries to gallery rows [S,T]; infinite where one is missing."""
        distances = np.empty(rows.shape)
        step = max(1, _GATHERED // (rows.shape[1] * self.gallery.shape[1]))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            differences = self.gallery[rows[part]] - self.queries[part, None].astype(np.float64)
            distances[part] = np.einsum("std,std->st", differences, differences)
        return np.where(rows == MISSING, np.inf, distances)


def neighbours(retriever: SearchesVectors, benchmark: Benchmark) -> Neighbours:
    """Search a sample of the queries exactly."""
    count = len(benchmark.queries)
    sample = np.unique(np.linspace(0, count - 1, min(_SAMPLE, count)).astype(np.int64))
    queries = retriever.vectors(benchmark.queries)[sample]
    added = [benchmark.new_gallery] if benchmark.incremental else []
    parts = [retriever.vectors(images) for images in (benchmark.old_gallery, *added)]
    gallery = np.concatenate(parts) if added else parts[0]
    depth = min(KS[-1], benchmark.top_k)
    removed = benchmark.depth - benchmark.top_k + int((benchmark.own_rows[sample] >= 0).any())
    found = benchmark.scored(nearest_rows(queries, gallery, depth + removed), sample).cut(depth)
    return Neighbours(sample, queries, gallery, found)


def report(retriever: SearchesVectors, found: Neighbours, ranking: Ranking, queries: ImageSet) -> Mapping[str, object]:
    """Return the recall of exact neighbours by K, of how many queries, and how many distances each of these took."""
    return {
        "queries": len(found.sample),
        "recall": {str(k): share for k, share in found.recall(ranking).items()},
        "distances": retriever.count_distances(queries.take(found.sample), ranking.top_k),
    }
