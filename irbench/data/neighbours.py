"""The exact nearest neighbours of queries among vectors: what is relevant where there are no labels.

Distances are Euclidean, computed in float64, and those of the neighbours once more from differences, so that equal
vectors are equally near. Shape letters: N gallery vectors, Q queries, D dimensions, T neighbours.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark
from irbench.core.errors import DataError
from irbench.core.ranking import MISSING, Ranking
from irbench.runtime.cache import Key, Store
from irbench.runtime.code import code_digest
from irbench.runtime.progress import track

_SPARE = 64  # neighbours beyond those that are scored: they are relevant too where they are as near as the last …
_MORE = 8  # … and so many times as many where the last of these is as near
_AS_NEAR = 1e-5  # relative difference of squared distances, as metrics.retrieval has it
_KEPT = 1 << 25  # rows of neighbours at most, of all queries
_QUERIES, _GALLERY = 256, 1 << 14  # vectors whose distances are in memory together
_GATHERED = 1 << 24  # numbers of neighbours that are in memory together


def exact_neighbours(benchmark: Benchmark, store: Store | None = None) -> Ranking:
    """Return the neighbours [Q,T] of each query, itself left out; with `store` they are computed once.

    Their scores are negative squared distances. T is larger than the benchmark's `top_k` where the gallery is, and as
    large as it takes to hold whatever is as near as the `top_k`-th.

    Raises:
        DataError: so many vectors are equally near that recall is about nothing else.
    """

    def make(folder: Path) -> None:
        found = _with_ties(benchmark)
        np.save(folder / "rows.npy", found.rows)
        np.save(folder / "scores.npy", found.scores)

    if store is None:
        return _with_ties(benchmark)
    parts = [benchmark.fingerprint, benchmark.top_k]
    entry = store.ensure(
        Key("neighbours", {"of": parts, "code": code_digest(exact_neighbours)}), make, span="neighbours"
    )
    return Ranking(*(np.load(entry.path / f"{name}.npy", allow_pickle=False) for name in ("rows", "scores")))


def remarks(benchmark: Benchmark) -> Iterator[str]:
    """Yield for which K there are fewer neighbours than K."""
    if benchmark.nearest is not None and benchmark.queries.vectors is not None:
        fewest = len(benchmark.gallery) - int((benchmark.own_rows >= 0).any())
        beyond = [str(k) for k in benchmark.ks if k > fewest]
        if beyond:
            count = "only one vector" if fewest == 1 else f"only {fewest} vectors"
            yield f"{count} can be neighbours of a query: recall@{', '.join(beyond)} is about all of them"


def _with_ties(benchmark: Benchmark) -> Ranking:
    """Return the neighbours to the depth beyond which none is as near as one that may count."""
    queries, gallery, own, counted = (
        benchmark.queries.vectors, benchmark.gallery.vectors, benchmark.own_rows, benchmark.top_k
    )  # fmt: skip
    if queries is None or gallery is None:
        raise DataError(f"{benchmark.name}: without labels and vectors nothing is relevant", code="no-positives")
    depth = counted + _SPARE
    found = nearest_rows(queries, gallery, depth + 1).without(own).cut(depth)
    while len(tied := _cut_ties(found, counted)) and depth < len(gallery):
        depth = min(_MORE * depth, len(gallery))
        if depth * len(queries) > _KEPT:
            raise DataError(
                f"{benchmark.name}: more than {found.top_k:,} vectors are as near as the {counted}-th neighbour, for "
                f"{len(tied):,} of {len(queries):,} queries, first {benchmark.queries.ids[tied[0]]}: recall cannot be "
                "told apart from chance; leave out vectors that are equal, or give labels",
                code="too-many-ties",
            )
        found = nearest_rows(queries, gallery, depth + 1).without(own).cut(depth)
    return found


def _cut_ties(found: Ranking, counted: int) -> NDArray[np.int64]:
    """Return the queries whose last neighbour is as near as the last that may count."""
    last = found.scores[:, min(counted, found.top_k) - 1] * (1 + _AS_NEAR)  # scores are negative
    return np.flatnonzero((found.rows[:, -1] != MISSING) & (found.scores[:, -1] >= last))


def nearest_rows(queries: NDArray[np.float32], gallery: NDArray[np.float32], k: int) -> Ranking:
    """Return the `k` nearest rows of `gallery` [N,D] for each of `queries` [Q,D], all where there are no more."""
    starts = range(0, len(queries), _QUERIES)
    parts = [queries[start : start + _QUERIES].astype(np.float64) for start in starts]
    best = [_Best(len(part), min(k, len(gallery))) for part in parts]
    for start in track(range(0, len(gallery), _GALLERY), f"Comparing with {len(gallery):,} vectors"):
        block = gallery[start : start + _GALLERY].astype(np.float64)
        lengths = np.einsum("nd,nd->n", block, block)
        for part, found in zip(parts, best, strict=True):
            found.update(lengths - 2 * part @ block.T, start)
    return Ranking.stack([_ranked(part, gallery, found.rows) for part, found in zip(parts, best, strict=True)])


class _Best:
    """The nearest rows so far of some queries, in no order."""

    def __init__(self, queries: int, k: int) -> None:
        self.rows = np.full((queries, k), MISSING, np.int64)
        self._distances = np.full((queries, k), np.inf)

    def update(self, distances: NDArray[np.float64], start: int) -> None:
        """Look at the distances [Q,B], up to a constant for each query, to the rows from `start` on."""
        k = self.rows.shape[1]
        rows = np.broadcast_to(start + np.arange(distances.shape[1]), distances.shape)
        distances, rows = np.hstack([self._distances, distances]), np.hstack([self.rows, rows])
        chosen = np.argpartition(distances, k - 1, axis=1)[:, :k]
        self._distances, self.rows = np.take_along_axis(distances, chosen, 1), np.take_along_axis(rows, chosen, 1)


def _ranked(queries: NDArray[np.float64], gallery: NDArray[np.float32], rows: NDArray[np.int64]) -> Ranking:
    """Order rows [Q,T] by their distances, computed from differences."""
    distances = np.empty(rows.shape)
    step = max(1, _GATHERED // (rows.shape[1] * gallery.shape[1]))
    for start in range(0, len(rows), step):
        differences = gallery[rows[start : start + step]] - queries[start : start + step, None]
        distances[start : start + step] = np.einsum("qtd,qtd->qt", differences, differences)
    return Ranking.from_topk(rows, -distances)
