"""What a query costs: the harness sends the queries and holds the timer. Nothing here knows the kind of retriever.

Every query is timed when it is asked for the first time, before the ranking that is scored: an index that remembers
answers would be fast only when it is asked again. The answers of the timed queries are compared with that ranking: one
that is fast because it answers something else is no faster.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import ImageSet
from irbench.core.errors import ContractError
from irbench.core.ranking import MISSING, Ranking
from irbench.protocols import Retriever
from irbench.results.schema import QueryTimes
from irbench.retrievers.checked import as_ranking
from irbench.runtime.conditions import OwnLoad
from irbench.runtime.machine import Runtime
from irbench.runtime.progress import track
from irbench.runtime.timer import Timer

SINGLES = 200  # queries sent one by one, at most a third of them
ROUNDS = 3  # of batches; their median counts
BATCH = 64  # queries sent together for the throughput
BATCHED = 512  # of which at most so many queries make one round
WARM_UP = 3  # images of the gallery that are searched first
SUBSPANS = ("read", "decoder", "trie", "lookup")  # see QueryTimes
_PATIENCE = 20.0  # seconds that the queries sent one by one may take altogether
_COMPARED = 10  # results of a query that are compared
_ALIKE = 0.8  # share of them that has to agree: arithmetic of another batch size exchanges near ties


@dataclass(frozen=True, eq=False)
class Answers:
    """What was answered to some queries."""

    queries: NDArray[np.int64]  # [B] rows
    ranking: Ranking  # [B,K]


@dataclass(frozen=True, eq=False, kw_only=True)
class Timed:
    """What queries cost, one by one and in batches, and what was answered meanwhile."""

    single: QueryTimes
    batched: QueryTimes
    answers: tuple[Answers, ...]
    cores: float | None  # that were computed on meanwhile, by all threads of this process


def time_queries(
    retriever: Retriever, queries: ImageSet, gallery: ImageSet, k: int, runtime: Runtime, *, brief: bool = False
) -> Timed:
    """Time queries one at a time, then others in batches, after a warm-up with images of the gallery.

    A `brief` measurement takes half of the queries and no subspans: the same network has been timed before.
    """
    share = 2 if brief else 1
    asker = _Asker(retriever, queries, k, runtime)
    rows = _spread(len(queries), max(1, min(SINGLES, len(queries) // 3) // share))
    for row in range(min(WARM_UP, len(gallery))):
        asker.warm_up(gallery.take(slice(row, row + 1)))
    load = OwnLoad()
    single = _one_by_one(asker, rows, detailed=not brief)
    others = np.setdiff1d(np.arange(len(queries)), rows)
    asker.warm_up(gallery.take(slice(0, BATCH)))
    batched = _in_batches(asker, others if len(others) else rows, BATCHED // share, detailed=not brief)
    return Timed(single=single, batched=batched, answers=tuple(asker.answers), cores=load.cores())


def check_answers(
    answers: Iterable[Answers], ranking: Ranking, scored: Callable[[Ranking, NDArray[np.int64]], Ranking]
) -> None:
    """Raise `ContractError` where timed queries were answered with other images than in the ranking that is scored.

    `scored` takes from the answers of queries what is not scored, as `Benchmark.scored`.
    """
    shares: dict[str, list[float]] = {"one by one": [], "in batches": []}
    for one in answers:
        how = shares["one by one" if len(one.queries) == 1 else "in batches"]
        timed = scored(one.ranking, one.queries)
        for row, found in zip(one.queries.tolist(), timed.rows, strict=True):
            first = [results[:_COMPARED][results[:_COMPARED] != MISSING] for results in (ranking.rows[row], found)]
            if most := max(map(len, first)):  # what only one of the two has does not agree
                how.append(len(np.intersect1d(*first)) / most)
    for how_asked, agreeing in shares.items():
        if agreeing and np.mean(agreeing) < _ALIKE:
            raise ContractError(
                f"queries that were timed {how_asked} were answered with other images than in the ranking that is "
                f"scored: {100 * np.mean(agreeing):.0f} % of their first {_COMPARED} results agree; encoder and "
                "search have to answer the same, however many queries they are given, and whenever",
                code="other-answers",
            )


class _Asker:
    """Sends queries by their rows, times them and keeps what was answered."""

    def __init__(self, retriever: Retriever, queries: ImageSet, k: int, runtime: Runtime) -> None:
        self.retriever, self.queries, self.k, self.runtime = retriever, queries, k, runtime
        self.answers: list[Answers] = []

    def warm_up(self, images: ImageSet) -> None:
        """Search without keeping the answers."""
        self._timed(images, detailed=False)

    def ask(self, rows: NDArray[np.int64], *, detailed: bool = False) -> Timer:
        """Search for these queries; `detailed` for the subspans too."""
        timer, found = self._timed(self.queries.take(rows), detailed=detailed)
        self.answers.append(Answers(rows, as_ranking(found, self.retriever, len(rows))))
        return timer

    def _timed(self, images: ImageSet, *, detailed: bool) -> tuple[Timer, Ranking]:
        with Timer(bypass_cache=True, detailed=detailed, synchronize=self.runtime.synchronize).run() as timer:
            found = self.retriever.search(images, self.k)
        return timer, found


def _one_by_one(asker: _Asker, rows: NDArray[np.int64], *, detailed: bool) -> QueryTimes:
    """Time queries one at a time; milliseconds by span."""
    timers: list[Timer] = []
    start = perf_counter()
    for row in track(rows, "time single queries", background=False):
        timers.append(asker.ask(np.array([row])))
        if perf_counter() - start > _PATIENCE:
            break
    again = [asker.ask(np.array([row]), detailed=True) for row in rows[: len(timers)]] if detailed else []
    p50, p95, p99 = np.percentile(_milliseconds(timers, "total"), [50, 95, 99]).tolist()
    spans = _medians(timers, ("encode", "search")) | (_medians(again, SUBSPANS) if again else {})
    return QueryTimes(batch=1, total_p50=p50, total_p95=p95, total_p99=p99, **spans)


def _in_batches(asker: _Asker, rows: NDArray[np.int64], each: int, *, detailed: bool) -> QueryTimes:
    """Time `BATCH` queries at a time; milliseconds that each of them takes, by span."""
    rows = rows[_spread(len(rows), ROUNDS * each)]
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    rounds = [batches[place::ROUNDS] for place in range(min(ROUNDS, len(batches)))]
    timers = [[asker.ask(batch) for batch in batches] for batches in track(rounds, "time batches", background=False)]
    again = [[asker.ask(batch, detailed=True) for batch in batches] for batches in rounds[:1]] if detailed else []
    counts = [sum(map(len, batches)) for batches in rounds]
    spans = _shares(timers, ("encode", "search", "total"), counts)
    spans |= _shares(again, SUBSPANS, counts) if again else {}
    return QueryTimes(batch=len(batches[0]), **spans)


def _medians(timers: Sequence[Timer], names: Sequence[str]) -> dict[str, float]:
    """Medians of those spans that every query went through."""
    return {
        f"{name}_p50": float(np.median(_milliseconds(timers, name)))
        for name in names
        if all(name in timer.seconds for timer in timers)
    }


def _shares(rounds: Sequence[Sequence[Timer]], names: Sequence[str], counts: Sequence[int]) -> dict[str, float]:
    """Medians over rounds of those spans that every batch went through, per query."""
    return {
        f"{name}_p50": 1000
        * float(np.median([sum(t.seconds[name] for t in one) / n for one, n in zip(rounds, counts, strict=False)]))
        for name in names
        if all(name in timer.seconds for one in rounds for timer in one)
    }


def _milliseconds(timers: Sequence[Timer], span: str) -> list[float]:
    return [1000 * timer.seconds[span] for timer in timers]


def spread(queries: ImageSet, wanted: int) -> ImageSet:
    """Return an even sample of at most `wanted` queries."""
    return queries.take(_spread(len(queries), wanted))


def _spread(total: int, wanted: int) -> NDArray[np.int64]:
    """Rows 0 … total-1, thinned evenly to at most `wanted`."""
    count = min(total, wanted)
    return np.arange(count) * total // count
