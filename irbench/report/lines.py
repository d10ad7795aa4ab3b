"""The lines of a table: what was measured, averaged over seeds, and what the paper prints of the same method."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from irbench import paper
from irbench.metrics.own import COSTS
from irbench.paper import Setup
from irbench.report.panel import Cell, Row
from irbench.report.quantities import Quantity, Reading
from irbench.results.schema import Dataset, Result


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row, and the results behind it: none for what the paper prints."""

    row: Row
    results: tuple[Result, ...] = ()
    varied: bool = False  # is it an ablation of its method?


def measured(results: Iterable[Result], metric: str, columns: Sequence[Quantity]) -> Iterator[Line]:
    """Yield a line for each cell as it ran; a cell of which no seed succeeded is a gap with its reason."""
    groups: dict[Hashable, list[Result]] = defaultdict(list)
    for result in results:
        key = (data_of(result.dataset), result.cell, result.scale, result.recipe_in_force, shortened(result))
        groups[key].append(result)
    for group in groups.values():
        done = _as_they_ran([result for result in group if result.status == "ok"], metric)
        failed = [result for result in group if result.status != "ok"]
        for same in done or [[]]:
            yield _line(same, failed, metric, columns)
            failed = []  # they are reported once


def published(metrics: Sequence[str], dataset: str, columns: Sequence[Quantity]) -> Iterator[Line]:
    """Yield a line for each method of which the paper prints one of these metrics on `dataset`."""
    numbers = {(key, metric): n for metric in metrics for key, n in paper.published(metric, dataset).items()}
    for setup in dict.fromkeys(key.setup for key, _ in numbers):
        here = {f"{metric}@{key.k}": n for (key, metric), n in numbers.items() if key.setup == setup}
        source = "; ".join(dict.fromkeys(number.source for number in here.values()))
        percents = {key: number.percent for key, number in here.items()}
        yield Line(row=published_row(setup, percents, source, columns), varied=setup.is_varied)


def published_row(setup: Setup, percents: Mapping[str, float], source: str, columns: Sequence[Quantity]) -> Row:
    """Return what the paper prints of a method; `percents` by metric, such as "precision@10"."""
    if "precision_irgen@1" in percents:  # no K is shorter than 1: there both definitions are one
        percents = {"precision@1": percents["precision_irgen@1"], **percents}
    return replace(
        blank_row("published", setup),
        backbone="published",
        weights=source,
        cells=tuple(Cell(percents.get(column.key)) for column in columns),
    )


def blank_row(kind: str, setup: Setup) -> Row:
    """Return a row of one of the paper's methods, without numbers."""
    return Row(
        kind=kind,
        method=setup.label,
        family=setup.method,
        search=setup.search or "",
        variant=setup.cell.variant or "",
        backbone="",
        weights="",
        cells=(),
    )


def label(result: Result) -> str:
    """Return what a row calls the result's cell; one that was shortened says so."""
    if not result.shortened:
        return result.cell
    parts = ", ".join(f"{key}={value}" for key, value in shortened(result))
    return f"{replace(result.spec, epochs=None, max_queries=None).label} (shortened: {parts})"


def why(result: Result) -> str:
    """Return in one line why a result has no numbers; the result's file has the whole reason."""
    return f"{result.status}: {((result.reason or '').strip().splitlines() or ['no reason was reported'])[-1]}"


def data_of(facts: Dataset) -> str:
    """Return protocol, crop and images in words; results that differ in it do not compare."""
    return f"{facts.protocol} · crop {facts.crop} · data {facts.fingerprint[:8]}"


def shortened(result: Result) -> tuple[tuple[str, int], ...]:
    """Return what was shortened, as a value that can be a key."""
    return tuple(sorted(result.shortened.items()))


def precision_of(result: Result) -> str:
    """Return the arithmetic that the result was computed in, "fp32" or "bf16"; empty where it is not known."""
    return str(result.environment.get("precision") or "")


def _as_they_ran(results: Sequence[Result], metric: str) -> list[list[Result]]:
    """Part the seeds of a cell by network, precision and, where costs are compared, machine."""
    groups = defaultdict(list)
    for result in results:
        groups[result.backbone, precision_of(result), _machine(result, metric)].append(result)
    return list(groups.values())


def _machine(result: Result, metric: str) -> tuple[str, int]:
    """Processor and threads, where they matter."""
    reported = result.environment
    if metric not in COSTS or not reported:
        return "", 0
    return str(reported.get("gpu") or reported.get("cpu")), int(str(reported.get("threads") or 0))


def _line(done: Sequence[Result], failed: Sequence[Result], metric: str, columns: Sequence[Quantity]) -> Line:
    first = (*done, *failed)[0]
    spec = replace(first.spec, epochs=None, max_queries=None) if first.shortened else first.spec
    machine, threads = _machine(first, metric)
    row = Row(
        kind="measured" if done else "gap",
        method=label(first),
        family=first.method,
        search=first.search or "",
        variant=spec.variant or "",
        scale=first.scale,
        precision=precision_of(first),
        backbone=first.backbone.name if first.backbone else "—",
        weights=first.backbone.weights if first.backbone else "",
        machine=machine,
        threads=threads,
        ran=tuple(result.seed for result in done),
        reason="" if done else why(first),
        cells=tuple(_cell([column.read(result) for result in done]) for column in columns),
    )
    return Line(row=row, results=(*done, *failed), varied=spec.is_varied)


def _cell(readings: Sequence[Reading]) -> Cell:
    known = [reading for reading in readings if reading.value is not None]
    values = [reading.value for reading in known if reading.value is not None]
    if not known:
        return Cell()
    counts = [reading.short for reading in known if reading.short is not None]
    short = fmean(counts) if len(counts) == len(known) else None
    if len(known) == 1:
        return Cell(values[0], known[0].interval, short=short, rounds=known[0].rounds, session=known[0].session)
    cell = Cell(fmean(values), deviation=stdev(values), short=short)
    if len({reading.session for reading in known}) > 1 or not known[0].session:
        return cell
    cell = replace(cell, session=known[0].session)
    if len({len(reading.rounds) for reading in known}) > 1 or not known[0].rounds:
        return cell
    rounds = tuple(map(fmean, zip(*(reading.rounds for reading in known), strict=True)))
    return replace(cell, interval=(min(rounds), max(rounds)), rounds=rounds)
