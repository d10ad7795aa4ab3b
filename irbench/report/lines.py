"""The lines of a table: what was measured, seed by seed, and what the paper prints of the same."""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from irbench import paper
from irbench.report.panel import Cell, Row
from irbench.report.quantities import COSTS, Quantity, Reading
from irbench.results.schema import Dataset, Result


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row, and the results behind it: none for what the paper prints."""

    row: Row
    results: tuple[Result, ...] = ()
    varied: bool = False  # is it an ablation of its method?

    @property
    def family(self) -> str:
        """The method, without search and variant."""
        return re.split(r"[+@ ]", self.row.method, maxsplit=1)[0]


def measured(results: Iterable[Result], metric: str, columns: Sequence[Quantity]) -> Iterator[Line]:
    """Yield a line for each cell as it ran; a cell of which no seed succeeded is a gap with its reason."""
    groups: dict[Hashable, list[Result]] = defaultdict(list)
    for result in results:
        groups[data_of(result.dataset), result.cell, result.scale, result.recipe.hash, shortened(result)].append(result)
    for group in groups.values():
        done = _as_they_ran([result for result in group if result.status == "ok"], metric)
        failed = [result for result in group if result.status != "ok"]
        for same in done or [[]]:
            yield _line(same, failed, metric, columns)
            failed = []  # they are told of once


def published(metrics: Sequence[str], dataset: str, columns: Sequence[Quantity]) -> Iterator[Line]:
    """Yield a line for each method of which the paper prints one of these metrics on `dataset`."""
    numbers = {(key, metric): n for metric in metrics for key, n in paper.published(metric, dataset).items()}
    for method, search in dict.fromkeys((key.method, key.search) for key, _ in numbers):
        here = {f"{metric}@{key.k}": n for (key, metric), n in numbers.items() if key[:2] == (method, search)}
        source = "; ".join(dict.fromkeys(number.source for number in here.values()))
        percents = {key: number.percent for key, number in here.items()}
        row = published_row(f"{method}+{search}" if search else method, percents, source, columns)
        yield Line(row=row, varied="@" in method)


def published_row(method: str, percents: Mapping[str, float], source: str, columns: Sequence[Quantity]) -> Row:
    """Return what the paper prints of a method; `percents` by metric, such as "precision@10"."""
    if "precision_irgen@1" in percents:  # no K is shorter than 1: there both definitions are one
        percents = {"precision@1": percents["precision_irgen@1"], **percents}
    return Row(
        kind="published",
        method=method,
        backbone="published",
        weights=source,
        cells=tuple(Cell(percents.get(column.key)) for column in columns),
    )


def label(result: Result) -> str:
    """Return what a row calls the result's cell; one that was cut short says so."""
    parts = ", ".join(f"{key}={value}" for key, value in sorted(result.shortened.items()))
    return result.cell + (f" (shortened: {parts})" if parts else "")


def why(result: Result) -> str:
    """Return in one line why a result has no numbers; all of it stands in the result's file."""
    return f"{result.status}: {((result.reason or '').strip().splitlines() or ['no reason is told'])[-1]}"


def is_varied(result: Result) -> bool:
    """Is the result of an ablation, and not of a method as its recipe says?"""
    return result.spec.is_varied


def data_of(facts: Dataset) -> str:
    """Return protocol, crop and images in words; results that differ in it do not compare."""
    return f"{facts.protocol} · crop {facts.crop} · data {facts.fingerprint[:8]}"


def shortened(result: Result) -> tuple[tuple[str, int], ...]:
    """Return what was cut short, as a value that can be a key."""
    return tuple(sorted(result.shortened.items()))


def _as_they_ran(results: Sequence[Result], metric: str) -> list[list[Result]]:
    """Part the seeds of a cell that ran on different networks, or, where prices are compared, different machines."""
    groups = defaultdict(list)
    for result in results:
        groups[result.backbone, _machine(result, metric)].append(result)
    return list(groups.values())


def _machine(result: Result, metric: str) -> str:
    if metric not in COSTS or not result.environment:
        return ""
    told = result.environment
    return f"{told.get('gpu') or told.get('cpu')}, {told.get('threads')} threads, {told.get('precision')}"


def _line(done: Sequence[Result], failed: Sequence[Result], metric: str, columns: Sequence[Quantity]) -> Line:
    first = (*done, *failed)[0]
    row = Row(
        kind="measured" if done else "gap",
        method=label(first),
        scale=first.scale,
        backbone=first.backbone.name if first.backbone else "—",
        weights=first.backbone.weights if first.backbone else "",
        machine=_machine(first, metric),
        seeds=len(done),
        reason="" if done else why(first),
        cells=tuple(_cell([column.read(result) for result in done]) for column in columns),
    )
    return Line(row=row, results=(*done, *failed), varied=is_varied(first))


def _cell(readings: Sequence[Reading]) -> Cell:
    known = [(reading.value, reading.interval) for reading in readings if reading.value is not None]
    if not known:
        return Cell()
    if len(known) == 1:
        return Cell(*known[0])
    values = [value for value, _ in known]
    return Cell(fmean(values), deviation=stdev(values))
