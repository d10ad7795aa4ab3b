"""The best stored choices that keep to limits: how long a query may take, how much may be held in memory.

A choice is a cell with its seeds: a method, its index, and a setting. Choices that keep to the limits are compared on
the same queries, as rows of a table are; those that do not differ significantly from the best one are as good.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

from irbench.core.errors import UsageError
from irbench.report.lines import Line, measured
from irbench.report.panel import Cell
from irbench.report.quantities import Quantity, quantities
from irbench.report.ranks import ALPHA, Judge, ranked
from irbench.report.table import by_data
from irbench.results.schema import Result

_USUAL_K = 10
_SEARCHES = 2  # settings of an index that make a curve


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is asked for; None: no limit."""

    k: int | None = None  # of the precision that counts; None: 10, or the largest below it that is known
    latency_ms: float | None = None  # the 95th percentile of single queries
    memory_bytes: int | None = None  # of index and network


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A cell and what it costs, means over its seeds, of times the median."""

    cell: str
    seeds: int
    quality: Cell  # precision@K in percent, its interval, and whether it is as good as the best within the limits
    as_good: bool = False  # no significant difference from the best choice
    p95_ms: float | None = None
    queries_per_s: float | None = None
    memory_bytes: float | None = None
    beyond: tuple[str, ...] = ()  # the limits that it does not keep, or for which nothing was measured


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What keeps to the limits and what does not, both the best first."""

    dataset: str
    metric: str  # "precision@10"
    limits: Limits
    machine: str  # that all times were taken on
    within: tuple[Choice, ...]
    beyond: tuple[Choice, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...]  # what to run for more choices, as arguments of irbench


def advise(results: Sequence[Result], limits: Limits, judge: Judge) -> Advice:
    """Return what to choose, of results of one data set; `UsageError` where these do not compare."""
    whole = [one for one in results if not one.shortened and one.status == "ok"]
    groups = by_data(whole)
    if not groups:
        raise UsageError("no whole results of this data set: irbench run makes some", code="no-results")
    if len(groups) > 1:
        kinds = ", ".join(sorted({f"crop {group[0].dataset.crop}" for group in groups}))
        raise UsageError(
            f"results about {len(groups)} different sets of images are stored under this name ({kinds}), which do not "
            "compare: keep them in folders of their own",
            code="several-tasks",
        )
    here, machine = _of_one_machine(groups[0])
    column = _column(here, limits.k)
    known = [line for line in measured(here, "precision", [column]) if line.row.cells[0].value is not None]
    lines = ranked(known, [column], judge)[0]  # which have intervals
    within = [line for line in lines if not any(_beyond(line, limits))]
    tested = sorted(ranked(within, [column], judge)[0], key=_best_first)
    choices = [_choice(line, limits, compared=True) for line in tested]
    choices[:1] = [replace(one, as_good=True) for one in choices[:1]]  # as itself
    beyond = sorted((line for line in lines if any(_beyond(line, limits))), key=_best_first)
    return Advice(
        dataset=groups[0][0].dataset.name,
        metric=column.key,
        limits=limits,
        machine=machine,
        within=tuple(choices),
        beyond=tuple(_choice(line, limits, compared=False) for line in beyond),
        notes=tuple(_notes(whole, here, machine, tested)),
        missing=tuple(_missing(here)),
    )


def _column(results: Sequence[Result], k: int | None) -> Quantity:
    """Return the column of precision at K."""
    found = [column for column in quantities("precision", results) if column.key.startswith("precision@")]
    columns = {int(column.key.partition("@")[2]): column for column in found}
    usual = max((one for one in columns if one <= _USUAL_K), default=min(columns, default=_USUAL_K))
    chosen = usual if k is None else k
    if chosen not in columns:
        known = ", ".join(map(str, sorted(columns)))
        raise UsageError(f"--precision-at {chosen}: results have precision at {known}", code="bad-value")
    return columns[chosen]


def _of_one_machine(results: Sequence[Result]) -> tuple[list[Result], str]:
    """Return the results of the machine that has most of them: times of others do not compare."""
    machines = Counter(map(_machine, results))
    machine = max(machines, key=lambda name: (machines[name], name))
    return [one for one in results if _machine(one) == machine], machine


def _machine(result: Result) -> str:
    reported = result.environment
    return str(reported.get("gpu") or reported.get("cpu") or "an unknown machine")


def _choice(line: Line, limits: Limits, *, compared: bool) -> Choice:
    cell = line.row.cells[0]
    p95, memory = _p95(line), _memory(line)
    rates = [one.cost.queries_per_s for one in line.results if one.cost.queries_per_s]
    return Choice(
        cell=line.row.method,
        seeds=line.row.seeds,
        quality=cell,
        as_good=compared and cell.p is not None and cell.p >= ALPHA,
        p95_ms=p95,
        queries_per_s=median(rates) if rates else None,
        memory_bytes=memory,
        beyond=tuple(_beyond(line, limits)),
    )


def _best_first(line: Line) -> tuple[float, float]:
    return -(line.row.cells[0].value or 0), _p95(line) or float("inf")


def _p95(line: Line) -> float | None:
    times = [one.cost.query_ms.total_p95 for one in line.results if one.cost.query_ms]
    known = [time for time in times if time is not None]
    return median(known) if known else None


def _memory(line: Line) -> float | None:
    held = [
        one.cost.index_bytes + (one.cost.model_bytes or 0) for one in line.results if one.cost.index_bytes is not None
    ]
    return fmean(held) if held else None


def _beyond(line: Line, limits: Limits) -> Iterator[str]:
    p95, memory = _p95(line), _memory(line)
    if limits.latency_ms is not None and (p95 is None or p95 > limits.latency_ms):
        yield "latency" if p95 is not None else "latency not measured"
    if limits.memory_bytes is not None and (memory is None or memory > limits.memory_bytes):
        yield "memory" if memory is not None else "memory not measured"


def _notes(whole: Sequence[Result], here: Sequence[Result], machine: str, within: Sequence[Line]) -> Iterator[str]:
    if elsewhere := len(whole) - len(here):
        yield f"{elsewhere} results of other machines than {machine} are left out: their times do not compare"
    timed = [one for line in within for one in line.results]
    sessions = {one.cost.session.id if one.cost.session else "" for one in timed}
    if len(within) > 1 and (len(sessions) > 1 or "" in sessions):
        yield "times were not taken together, so that small differences say nothing: irbench time"
    if others := sum(set(line.row.ran) != set(within[0].row.ran) for line in within):
        best = within[0].row.method
        yield f"{others} of {len(within)} cells have other seeds than {best} and are not compared with it"
    if short := [line.row.method for line in within if line.row.cells[0].short]:
        yield f"some queries had fewer results than are counted, which are misses: {', '.join(short)}"
    if busy := sorted({one.cell for one in timed if one.under_concurrent_load}):
        yield f"times of {len(busy)} choices were taken while other programs used the processor"


def _missing(results: Sequence[Result]) -> Iterator[str]:
    """Yield what would make more choices: curves of indexes, for methods that have none yet."""
    settings = Counter((one.method, one.search) for one in results if one.search)
    dataset = results[0].dataset.name
    for method in dict.fromkeys(method for method, _ in settings):
        swept = [count for (other, _), count in settings.items() if other == method and count >= _SEARCHES]
        if len(swept) < _SEARCHES:
            yield f"ablate index --dataset {dataset} --method {method}"
