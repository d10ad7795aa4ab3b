"""Times of stored cells that compare across rows: taken round by round, beside a reference operation, after training.

A time that is taken when a cell is run stands next to others that were taken an hour earlier, beside other programs.
Here all cells are made ready first, from what is stored of them; then each is timed once in every round, in an order
that changes from round to round, with a reference operation around its queries. A time is multiplied by what the
reference usually takes over what it took just then. The reference stands around the queries, not between them: it
would push what they use out of the processor's caches, and how much of that is near then depends on the neighbours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean, median
from time import perf_counter
from uuid import uuid4

import numpy as np

from irbench.core.benchmark import ImageSet
from irbench.core.ranking import Ranking
from irbench.experiments import latency
from irbench.experiments.again import index, trained
from irbench.experiments.experiment import Experiment
from irbench.protocols import Retriever
from irbench.results.schema import LoadPoint, QueryTimes, Result, TimingSession
from irbench.runtime.conditions import ConcurrentLoad, OwnLoad
from irbench.runtime.load import WAYS, Load, loads
from irbench.runtime.machine import Runtime, use_threads
from irbench.runtime.progress import quiet, track
from irbench.runtime.timer import Timer

ROUNDS = 9
SINGLES = 12  # queries sent one by one in a round
DETAILED = 4  # of which so many are sent once more for the subspans
AROUND = 5  # references on each side of the single queries, and of a batch
BATCHES = 3  # of `latency.BATCH` queries in a round
_LOADED = 2.0  # seconds of a steady state, at least
SPANS = ("encode", "search", "total")


@dataclass(frozen=True)
class Ready:
    """A cell that can be timed."""

    result: Result
    retriever: Retriever
    runtime: Runtime
    warm_up: ImageSet  # an image of the gallery
    singles: Sequence[ImageSet]  # single queries, from which each round takes others
    batches: Sequence[ImageSet]
    depth: int


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one cell took in one round, and the reference beside it, in milliseconds."""

    singles: dict[str, list[float]]  # of each query, by span
    batched: dict[str, float]  # a query's share, by span
    beside_singles: float
    beside_batches: float
    cores: float | None = None  # that this process computed on

    def without_drift(self, usual_single: float, usual_batch: float) -> "Round":
        """Return the round as it would have been had the reference taken its usual time."""
        single, batch = usual_single / self.beside_singles, usual_batch / self.beside_batches
        return replace(
            self,
            singles={span: [value * single for value in values] for span, values in self.singles.items()},
            batched={span: value * batch for span, value in self.batched.items()},
        )


def prepare(experiment: Experiment, result: Result) -> Ready:
    """Return a stored cell with its trained networks and its index; `StoreError` where the networks are not there."""
    use_threads(experiment.runtime.threads)
    retriever, benchmark = trained(experiment, experiment.runtime), experiment.benchmark
    index(retriever, benchmark)
    singles = latency.spread(benchmark.queries, SINGLES * ROUNDS)
    sample = latency.spread(benchmark.queries, BATCHES * latency.BATCH)
    starts = range(0, len(sample), latency.BATCH)
    return Ready(
        result=result,
        retriever=retriever,
        runtime=experiment.runtime,
        warm_up=benchmark.gallery.take(slice(1)),
        singles=[singles.take(np.array([row])) for row in range(len(singles))],
        batches=[sample.take(slice(start, start + latency.BATCH)) for start in starts],
        depth=benchmark.depth,
    )


def under_load(cell: Ready, clients: Sequence[int]) -> tuple[Result, list[str]]:
    """Return the result with its load by so many clients at once, and what could not be measured.

    Each client has one thread. Clients are threads and, on the CPU, processes: each way by itself. What a client waits
    for counts, irbench's own checks included.
    """
    use_threads(1)

    def ask(number: int) -> Ranking:
        with Timer(bypass_cache=True, synchronize=cell.runtime.synchronize).run():
            return cell.retriever.search(cell.singles[number % len(cell.singles)], cell.depth)

    ways = WAYS if cell.runtime.device == "cpu" else WAYS[:1]  # a forked process cannot use the GPU
    with quiet(on=True):
        found = list(loads(ask, lambda number: ask(number).rows, clients=clients, ways=ways, seconds=_LOADED))
    points = tuple(_point(one) for one in found if not one.reason) or None
    reasons = [f"clients as {one.way}: {one.reason}" for one in found if one.reason]
    return replace(cell.result, cost=replace(cell.result.cost, load=points)), reasons


def _point(load: Load) -> LoadPoint:
    return LoadPoint(**{one.name: getattr(load, one.name) for one in fields(LoadPoint)})


def time_together(cells: Sequence[Ready], *, rounds: int = ROUNDS) -> list[Result]:
    """Return the results of cells with times that were taken together."""
    load, reference = ConcurrentLoad(), Reference()
    taken: list[list[Round]] = [[] for _ in cells]
    for number in track(range(rounds), "time in rounds", background=False):
        for step in range(len(cells)):
            which = (step + number) % len(cells)  # nothing always follows the same cell
            use_threads(cells[which].runtime.threads)
            with quiet(on=True):  # the cell's own bars
                taken[which].append(_once(cells[which], reference, number))
    every = [one for of_cell in taken for one in of_cell]
    usual = median(one.beside_singles for one in every), median(one.beside_batches for one in every)
    drift, id_, cores = [one.beside_singles / usual[0] for one in every], uuid4().hex[:12], load.cores()

    def session(rounds: Sequence[Round]) -> TimingSession:
        return TimingSession(
            id=id_,
            reference_ms=usual[0],
            reference_batched_ms=usual[1],
            drift=(min(drift), max(drift)),
            single_ms=tuple(median(one.singles["total"]) for one in rounds),
            batched_ms=tuple(one.batched["total"] for one in rounds),
        )

    corrected = [[one.without_drift(*usual) for one in of_cell] for of_cell in taken]
    timed = [_timed(cell, rounds, session(rounds)) for cell, rounds in zip(cells, corrected, strict=True)]
    own = [median(one.cores or 0.0 for one in rounds) for rounds in taken]
    return [
        replace(one, environment=one.environment | {"concurrent_load": cores, "timing_cores": used})
        for one, used in zip(timed, own, strict=True)
    ]


class Reference:
    """An operation that is always the same: a small network, a sort and a loop of Python, together about 3 ms.

    It has what queries consist of, so that what slows them down slows it down too.
    """

    def __init__(self) -> None:
        import torch
        from torch import nn

        def layers() -> Iterator[nn.Module]:
            for _ in range(20):
                yield from (nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())

        with torch.random.fork_rng(devices=()):
            self._network = nn.Sequential(*layers()).eval()
        self._images, self._inference = torch.ones(1, 32, 16, 16), torch.inference_mode
        self._numbers = np.arange(20_000) * 7919 % 20_011

    def __call__(self) -> float:
        """Return the milliseconds that it takes now."""
        start = perf_counter()
        with self._inference():
            self._network(self._images)
        np.sort(self._numbers)
        sum(number & 3 for number in range(10_000))
        return 1000 * (perf_counter() - start)


def _once(cell: Ready, reference: Reference, number: int) -> Round:
    """Time a cell once: single queries, then batches, each between references.

    Each round has other queries as long as there are any: an index that remembers answers is no faster for it. Of
    single queries and the references around them the medians count, of batches the sum and of theirs the mean.
    """

    def references() -> list[float]:
        return [reference() for _ in range(AROUND)]

    own = OwnLoad()
    shift = max(1, len(cell.singles) // SINGLES)
    queries = cell.singles[number % shift :: shift][:SINGLES]
    reference()
    before = references()
    _measure(cell, cell.warm_up)  # brings code and memory into the caches
    singles = [_measure(cell, single) for single in queries]
    detailed = [_measure(cell, single, detailed=True) for single in queries[:DETAILED]]
    between = references()
    batched, after = [], []
    for batch in cell.batches:
        batched.append(_measure(cell, batch))
        after += references()
    count = sum(map(len, cell.batches))
    return Round(
        singles=_by_span(singles, SPANS) | _by_span(detailed, latency.SUBSPANS),
        batched={span: sum(times) / count for span, times in _by_span(batched, SPANS).items()},
        beside_singles=median(before + between),
        beside_batches=fmean(between + after),
        cores=own.cores(),
    )


def _by_span(timers: Sequence[Timer], spans: Sequence[str]) -> dict[str, list[float]]:
    """Return the milliseconds of the spans that every query went through."""
    known = [span for span in spans if all(span in timer.seconds for timer in timers)]
    return {span: [1000 * timer.seconds[span] for timer in timers] for span in known}


def _measure(cell: Ready, queries: ImageSet, *, detailed: bool = False) -> Timer:
    with Timer(bypass_cache=True, detailed=detailed, synchronize=cell.runtime.synchronize).run() as timer:
        cell.retriever.search(queries, cell.depth)
    return timer


def _timed(cell: Ready, rounds: Sequence[Round], session: TimingSession) -> Result:
    single = {f"{span}_p50": median(median(one.singles[span]) for one in rounds) for span in rounds[0].singles}
    p95, p99 = np.percentile([value for one in rounds for value in one.singles["total"]], (95, 99)).tolist()
    batched = {f"{span}_p50": median(one.batched[span] for one in rounds) for span in rounds[0].batched}
    cost = replace(
        cell.result.cost,
        query_ms=QueryTimes(batch=1, total_p95=p95, total_p99=p99, **single),
        batched_ms=QueryTimes(batch=len(cell.batches[0]), **batched),
        queries_per_s=1000 / batched["total_p50"],
        session=session,
        load=None,  # of another time
    )
    return replace(cell.result, cost=cost)
