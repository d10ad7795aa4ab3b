"""What a query costs: the harness sends the queries and holds the timer. Nothing here knows the kind of retriever."""

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from irbench.core.benchmark import ImageSet
from irbench.protocols import Retriever
from irbench.results.schema import QueryTimes
from irbench.runtime.machine import Runtime
from irbench.runtime.progress import track
from irbench.runtime.timer import Timer

SINGLES = 100  # queries sent one by one …
REPEATS = 3  # … so many times each; the median of the repeats counts
BATCH = 64  # queries sent together for the throughput
BATCHED = 512  # of which at most so many queries make one round
SUBSPANS = ("read", "decoder", "trie", "lookup")  # see QueryTimes
_PATIENCE = 20.0  # seconds that the queries sent one by one may take altogether


def latency(retriever: Retriever, queries: ImageSet, k: int, runtime: Runtime) -> QueryTimes:
    """Time queries one at a time, after a warm-up; milliseconds by span."""
    rows = _spread(len(queries), SINGLES)
    singles = [queries.take(rows[i : i + 1]) for i in range(len(rows))]
    for single in singles[:3]:
        _timed(retriever, single, k, runtime)
    rounds: list[list[Timer]] = []
    start = perf_counter()
    for single in track(singles, "time single queries", background=False):
        rounds.append([_timed(retriever, single, k, runtime) for _ in range(REPEATS)])
        if perf_counter() - start > _PATIENCE:
            break
    detailed = [[_timed(retriever, single, k, runtime, detailed=True)] for single in singles[: len(rounds)]]
    p50, p95, p99 = np.percentile(_milliseconds(rounds, "total"), [50, 95, 99]).tolist()
    spans = _medians(rounds, ("encode", "search")) | _medians(detailed, SUBSPANS)
    return QueryTimes(batch=1, total_p50=p50, total_p95=p95, total_p99=p99, **spans)


def batched(retriever: Retriever, queries: ImageSet, k: int, runtime: Runtime) -> QueryTimes:
    """Time `BATCH` queries at a time, after a warm-up; milliseconds that each of them takes, by span."""
    sample = spread(queries, BATCHED)
    batches = [sample.take(slice(start, start + BATCH)) for start in range(0, len(sample), BATCH)]
    _timed(retriever, batches[0], k, runtime)
    rounds = [
        [_timed(retriever, batch, k, runtime) for batch in batches]
        for _ in track(range(REPEATS), "time batches", background=False)
    ]
    detailed = [[_timed(retriever, batch, k, runtime, detailed=True) for batch in batches]]
    spans = _shares(rounds, ("encode", "search", "total"), len(sample)) | _shares(detailed, SUBSPANS, len(sample))
    return QueryTimes(batch=len(batches[0]), **spans)


def _timed(retriever: Retriever, queries: ImageSet, k: int, runtime: Runtime, *, detailed: bool = False) -> Timer:
    with Timer(bypass_cache=True, detailed=detailed, synchronize=runtime.synchronize).run() as timer:
        retriever.search(queries, k)
    return timer


def _medians(rounds: Sequence[Sequence[Timer]], names: Sequence[str]) -> dict[str, float]:
    """Medians of those spans that every query went through."""
    return {
        f"{name}_p50": float(np.median(_milliseconds(rounds, name)))
        for name in names
        if all(name in timer.seconds for clocks in rounds for timer in clocks)
    }


def _shares(rounds: Sequence[Sequence[Timer]], names: Sequence[str], queries: int) -> dict[str, float]:
    """Medians over rounds of those spans that every batch went through, per query."""
    return {
        f"{name}_p50": 1000 * float(np.median([sum(timer.seconds[name] for timer in one) for one in rounds])) / queries
        for name in names
        if all(name in timer.seconds for one in rounds for timer in one)
    }


def _milliseconds(rounds: Sequence[Sequence[Timer]], span: str) -> list[float]:
    return [1000 * float(np.median([timer.seconds[span] for timer in clocks])) for clocks in rounds]


def spread(queries: ImageSet, wanted: int) -> ImageSet:
    """Return an even sample of at most `wanted` queries."""
    return queries.take(_spread(len(queries), wanted))


def _spread(total: int, wanted: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Rows 0 … total-1, thinned evenly to at most `wanted`."""
    count = min(total, wanted)
    return np.arange(count) * total // count
