"""Costs before and after: ratios with a tolerance for noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from statistics import median

from irbench.results.regression.limits import Limits, Verdict, judge
from irbench.results.regression.pairs import Pair
from irbench.results.schema import Result

_MACHINE = ("system", "cpu", "cores", "threads", "gpu", "precision")  # the precision last
_MB = 1e6
_MARGIN = 1.1  # ratio by which a cost may lie outside the range of the stored seeds


def _machine(result: Result) -> tuple[object, ...]:
    return tuple(str(result.environment.get(key)) for key in _MACHINE)


def _trained_on(result: Result) -> tuple[object, ...]:
    """Return the machine and the processors of the training, which a remembered model may have had elsewhere."""
    return (*_machine(result), result.cost.training and result.cost.training.processors)


@dataclass(frozen=True)
class CostItem:
    """A cost; less is better."""

    name: str
    read: Callable[[Result], float | None]
    room: float  # tolerance relative to that of the time of a single query
    least: float  # a difference below this is noise, whatever the ratio
    timed: bool = True  # times are not compared under concurrent load …
    anywhere: bool = False  # … and only sizes compare between machines, at the same precision
    where: Callable[[Result], tuple[object, ...]] = _machine
    busy: Callable[[Result], bool] = attrgetter("under_concurrent_load")


@dataclass(frozen=True, kw_only=True)
class CostChange:
    """A cost before and after, the median over the shared seeds."""

    name: str
    before: float
    after: float
    limit: float  # the ratio that is tolerated
    verdict: Verdict


def _ms_in_batches(result: Result) -> float | None:
    rate = result.cost.queries_per_s
    return 1000 / rate if rate else None


# Room: over 20 runs of pixels+linear on digits, on two cores under some load, the median time of a query varied by a
# factor of 1.23, throughput by 2.2 and the first build by 300 (it loads its library). Under concurrent load on the
# cell's own core the median time of a query varied by 8.7, more than any tolerance. Between a stored run and one of
# CI, on one idle machine, a query of ft-clip+ivfpq took 1.35 and 2.11 ms.
COSTS = (
    CostItem("query ms", lambda r: r.cost.query_ms.total_p50 if r.cost.query_ms else None, room=1, least=0.1),
    CostItem("batched ms", _ms_in_batches, room=2, least=0.1),
    CostItem(
        "train s",
        lambda r: r.cost.train_s,
        room=2,
        least=2.0,
        where=_trained_on,
        busy=attrgetter("trained_under_concurrent_load"),
    ),
    CostItem("encode s", lambda r: r.cost.encode_gallery_s, room=2, least=2.0),
    CostItem("build s", lambda r: r.cost.build_s, room=2, least=2.0),
    CostItem("add s", lambda r: r.cost.add_s, room=2, least=2.0),
    CostItem("index bytes", lambda r: r.cost.index_bytes, room=0.1, least=1000, timed=False, anywhere=True),
    CostItem("model bytes", lambda r: r.cost.model_bytes, room=0.1, least=1000, timed=False, anywhere=True),
    CostItem("peak host bytes", lambda r: r.cost.peak_host_bytes, room=0.5, least=200 * _MB, timed=False),
    CostItem("peak device bytes", lambda r: r.cost.peak_device_bytes, room=0.25, least=50 * _MB, timed=False),
)


def cost_changes(pair: Pair, limits: Limits) -> tuple[list[CostChange], list[str]]:
    """Return how the costs of a cell changed, and notes where they cannot be compared."""
    results = [result for both in pair.both() for result in both]
    here = all(_machine(before) == _machine(after) for before, after in pair.both())
    alike = len({str(result.environment.get("precision")) for result in results}) == 1
    busy = any(result.under_concurrent_load for result in results)
    wide = any(result.on_more_cores for result in results)
    found = []
    for item in COSTS:
        together = all(item.where(before) == item.where(after) for before, after in pair.both())
        slowed = item.timed and (wide or any(map(item.busy, results)))
        if (together or (alike and item.anywhere)) and not slowed:
            found += _changes(item, pair, 1 + (limits.slower - 1) * item.room)
    notes = []
    if not here and not any("imported" in result.retriever for result in results):
        elsewhere = any(_machine(before)[:-1] != _machine(after)[:-1] for before, after in pair.both())
        notes.append(f"timings are {'from another machine' if elsewhere else 'of another precision'} and not compared")
    elif busy:
        notes.append("timings unreliable and not compared: other programs used the CPU; rerun on an idle machine")
    elif wide:
        notes.append("timings unreliable and not compared: queries used more cores than the threads that are stated")
    return found, notes


def _changes(item: CostItem, pair: Pair, limit: float) -> list[CostChange]:
    read = [(item.read(before), item.read(after)) for before, after in pair.both()]
    known = [(before, after) for before, after in read if before is not None and after is not None]
    if not known:
        return []
    before, after = (median(side) for side in zip(*known, strict=True))
    ratio = max(before, after) / max(min(before, after), 1e-9)
    stored = [value for result in pair.before.values() if (value := item.read(result)) is not None]
    counts = ratio > limit and abs(after - before) >= item.least and not _near(after, stored)
    verdict = judge(before - after, counts=counts)
    return [CostChange(name=item.name, before=before, after=after, limit=limit, verdict=verdict)]


def _near(value: float, stored: Sequence[float]) -> bool:
    """Return whether a cost is within the range of the stored seeds: natural variation."""
    return min(stored) / _MARGIN <= value <= max(stored) * _MARGIN
