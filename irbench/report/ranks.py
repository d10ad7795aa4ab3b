"""Which rows of a panel differ significantly: paired tests on the same queries.

A row's score of a query is its mean over the seeds, the same seeds for every row. The tests are about other queries for
these very networks; they do not cover retraining with other seeds.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from irbench.core.errors import StoreError
from irbench.metrics.retrieval import METRICS, Judged, Values, per_query
from irbench.metrics.significance import holm, pairwise
from irbench.report.lines import Line
from irbench.report.panel import Cell
from irbench.report.quantities import Quantity
from irbench.results.schema import Result

Judge = Callable[[Result], Mapping[str, Judged]]  # the hits of a result; StoreError where not known
ALPHA = 0.05


def marked(lines: Sequence[Line], columns: Sequence[Quantity]) -> list[Line]:
    """Mark the best of two or more measured values, as printed; published values are never marked."""
    best = [_best(column, [line.row.cells[c].value for line in lines if line.row.kind == "measured"])
            for c, column in enumerate(columns)]  # fmt: skip
    return [
        line if line.row.kind != "measured" else _with(line, [
            replace(cell, best=cell.value is not None and round(cell.value, column.digits) == value)
            for cell, column, value in zip(line.row.cells, columns, best, strict=True)])
        for line in lines
    ]  # fmt: skip


def _best(column: Quantity, values: Sequence[float | None]) -> float | None:
    known = [round(value, column.digits) for value in values if value is not None]
    if len(known) < 2 or not column.better:
        return None
    return max(known, key=lambda value: column.better * value)


def ranked(lines: Sequence[Line], columns: Sequence[Quantity], judge: Judge) -> tuple[list[Line], list[str]]:
    """Return the lines with p values and ranks, where there are hits to test; and notes on where there are none."""
    if not any(map(_metric, columns)):
        return list(lines), []
    known = {i: _judged(line, judge) for i, line in enumerate(lines) if line.row.kind == "measured"}
    seeds = _shared_seeds(list(known.values()))
    tested = {i: [judged[seed] for seed in seeds] for i, judged in known.items() if seeds <= judged.keys()}
    if not seeds or len(tested) < 2:
        return list(lines), []
    cells = [list(line.row.cells) for line in lines]
    for here, there in _alike(cells, list(tested), columns).items():
        scores = np.array([[_scores(tested[i], columns[c]) for i in here] for c in there])
        for c, p, column in zip(there, pairwise(scores), scores.sum(axis=2), strict=True):
            made = _standings([cells[i][c] for i in here], p, columns[c].better * column)
            for i, cell in zip(here, made, strict=True):
                cells[i][c] = cell
    return [_with(line, made) for line, made in zip(lines, cells, strict=True)], list(_notes(lines, known, seeds))


def _with(line: Line, cells: Sequence[Cell]) -> Line:
    return replace(line, row=replace(line.row, cells=tuple(cells)))


def _metric(column: Quantity) -> str:
    """The metric of a column; empty for a cost."""
    name = column.key.partition("@")[0]
    return name if name in METRICS else ""


def _judged(line: Line, judge: Judge) -> dict[int, Mapping[str, Judged]]:
    """Return the hits of the seeds for which they are stored."""
    known = {}
    for result in line.results:
        with suppress(StoreError):
            known[result.seed] = judge(result)
    return known


def _shared_seeds(known: Sequence[Mapping[int, object]]) -> set[int]:
    """Return the seeds that most rows have; with others, networks that differ by chance would be compared."""
    counts = Counter(seed for judged in known for seed in judged)
    return {seed for seed, count in counts.items() if count == max(counts.values())}


def _alike(
    cells: Sequence[Sequence[Cell]], tested: Sequence[int], columns: Sequence[Quantity]
) -> dict[tuple[int, ...], list[int]]:
    """Return the columns that can be tested together, by the rows that have a value there; two rows at least."""
    groups = defaultdict(list)
    for c, column in enumerate(columns):
        here = tuple(i for i in tested if _metric(column) and cells[i][c].value is not None)
        if len(here) > 1:
            groups[here].append(c)
    return groups


def _scores(seeds: Sequence[Mapping[str, Judged]], column: Quantity) -> Values:
    """[Q] what each query scored, on average over the seeds."""
    return np.mean([per_query(judged, column.key) for judged in seeds], axis=0)


def _standings(cells: Sequence[Cell], p: Values, scores: Values) -> list[Cell]:
    """Return the cells [R] of a column with their ranks, by the tests [R,R] between them; higher scores are better."""
    upper = np.triu_indices(len(cells), 1)
    corrected = np.ones_like(p)
    corrected[upper] = holm(p[upper].tolist())
    corrected = np.minimum(corrected, corrected.T)
    apart = corrected < ALPHA
    above = (apart & (scores[None, :] > scores[:, None])).sum(axis=1)
    below = (apart & (scores[None, :] < scores[:, None])).sum(axis=1)
    best = max((i for i, cell in enumerate(cells) if cell.best), key=lambda i: scores[i], default=None)
    return [
        replace(
            cell,
            rank=(1 + int(above[i]), len(cells) - int(below[i])),
            p=None if best is None or i == best else float(corrected[i, best]),
            tied=best is not None and not cell.best and not bool(apart[i, best]),
        )
        for i, cell in enumerate(cells)
    ]


def _notes(lines: Sequence[Line], known: Mapping[int, Mapping[int, object]], seeds: set[int]) -> Iterator[str]:
    """Say which rows have no rank, and where tests use fewer seeds than the means do."""
    shared = ", ".join(map(str, sorted(seeds)))
    without = [lines[i].row.method for i, judged in known.items() if not seeds <= judged.keys()]
    if without:
        yield f"without a rank: {', '.join(without)}: no hits are stored for seed {shared}"
    if any({result.seed for result in lines[i].results if result.status == "ok"} - seeds for i in known):
        yield f"ranks use seed {shared}, which most rows have; the means use all seeds"
