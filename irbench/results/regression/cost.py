"""Is it as cheap as before? Ratios of what both sides measured, with room for noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from irbench.results.regression.limits import Limits, Verdict, judge
from irbench.results.regression.pairs import Pair
from irbench.results.schema import Result

_MACHINE = ("system", "cpu", "cores", "threads", "gpu", "precision")
_MB = 1e6
_BESIDE = 1.1  # ratio by which a item may lie outside what the stored seeds had


@dataclass(frozen=True)
class CostItem:
    """Something of which less is better."""

    name: str
    read: Callable[[Result], float | None]
    room: float  # how much more than the time of a single query it may vary
    least: float  # a difference below this is noise, whatever the ratio
    timed: bool = True  # a time says nothing where others used the machine …
    anywhere: bool = False  # … and only a size compares between machines, of numbers of the same precision


@dataclass(frozen=True, kw_only=True)
class CostChange:
    """A item before and after, the median over the shared seeds."""

    name: str
    before: float
    after: float
    limit: float  # the ratio that is tolerated
    verdict: Verdict


def _ms_in_batches(result: Result) -> float | None:
    rate = result.cost.queries_per_s
    return 1000 / rate if rate else None


# Room: over 20 runs of pixels+linear on digits, on two cores with some other work, the median time of a query varied by
# a factor of 1.23, throughput by 2.2 and the first build by 300 (it loads its library). Beside processes that take the
# cell's core the median time of a query varied by 8.7: no room is wide enough for a busy machine. Between a stored
# run and one of CI, on one machine that nothing else used, a query of ft-clip+ivfpq took 1.35 and 2.11 ms.
COSTS = (
    CostItem("query ms", lambda r: r.cost.query_ms.total_p50 if r.cost.query_ms else None, room=1, least=0.1),
    CostItem("batched ms", _ms_in_batches, room=2, least=0.1),
    CostItem("train s", lambda r: r.cost.train_s, room=2, least=2.0),
    CostItem("encode s", lambda r: r.cost.encode_gallery_s, room=2, least=2.0),
    CostItem("build s", lambda r: r.cost.build_s, room=2, least=2.0),
    CostItem("add s", lambda r: r.cost.add_s, room=2, least=2.0),
    CostItem("index bytes", lambda r: r.cost.index_bytes, room=0.1, least=1000, timed=False, anywhere=True),
    CostItem("model bytes", lambda r: r.cost.model_bytes, room=0.1, least=1000, timed=False, anywhere=True),
    CostItem("peak host bytes", lambda r: r.cost.peak_host_bytes, room=0.5, least=200 * _MB, timed=False),
    CostItem("peak device bytes", lambda r: r.cost.peak_device_bytes, room=0.25, least=50 * _MB, timed=False),
)


def cost_changes(pair: Pair, limits: Limits) -> tuple[list[CostChange], list[str]]:
    """Return how the prices of a cell moved, and notes where they cannot be compared."""
    results = [result for both in pair.both() for result in both]
    here = all(_machine(before) == _machine(after) for before, after in pair.both())
    alike = len({str(result.environment.get("precision")) for result in results}) == 1
    busy = any(result.under_concurrent_load for result in results)
    found = []
    for item in COSTS:
        if (here or (alike and item.anywhere)) and not (busy and item.timed):
            found += _changes(item, pair, 1 + (limits.slower - 1) * item.room)
    notes = []
    if not here and not any("imported" in result.retriever for result in results):
        notes.append("times were measured on another machine and are not compared")
    elif busy:
        notes.append("times were measured while others used the machine and are not compared")
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
    """Tell whether a item is one that a stored seed had as well: so much it varies of itself."""
    return min(stored) / _BESIDE <= value <= max(stored) * _BESIDE


def _machine(result: Result) -> tuple[object, ...]:
    return tuple(str(result.environment.get(key)) for key in _MACHINE)
