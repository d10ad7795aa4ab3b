"""Which rows of a panel differ significantly: paired tests on the same queries.

Rows with the same seeds are a family of comparisons. They are tested over the classes of queries; those of one seed for
these very networks, those of several over the seeds too, so that they cover retraining.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc  # scipy.stats takes a second to import

from irbench.core.errors import StoreError
from irbench.metrics.retrieval import METRICS, Judged, Values, per_query
from irbench.metrics.significance import holm, pairwise
from irbench.metrics.uncertainty import intervals
from irbench.report.lines import Line
from irbench.report.panel import Cell
from irbench.report.quantities import Quantity
from irbench.results.schema import Result

Judge = Callable[[Result], Mapping[str, Judged]]  # the hits of a result; StoreError where not known
ALPHA = 0.05


def marked(lines: Sequence[Line], columns: Sequence[Quantity]) -> list[Line]:
    """Mark the best of two or more measured values, as printed.

    Of a metric that is the best of the rows that are compared: other seeds are other networks, and other chance.
    Published values are never marked, nor are those of queries with fewer results than K, or of which that is not
    known, nor times on whose order the rounds do not agree.
    """
    lines, timed = _marked_times(lines, columns)
    cells = {i: list(line.row.cells) for i, line in enumerate(lines) if line.row.kind == "measured"}
    compared = _compared(lines)
    for c, column in enumerate(columns):
        if c in timed:
            continue
        here = compared if _metric(column) else list(cells)
        best = _best(column, [cells[i][c] for i in here])
        for i in here:
            value = cells[i][c].value
            is_best = value is not None and cells[i][c].short == 0 and round(value, column.digits) == best
            cells[i][c] = replace(cells[i][c], best=is_best)
    return [_with(line, cells[i]) if i in cells else line for i, line in enumerate(lines)]


def _compared(lines: Sequence[Line]) -> list[int]:
    """Return the largest group of measured rows with the same seeds."""
    groups = defaultdict(list)
    for i, line in enumerate(lines):
        if line.row.kind == "measured":
            groups[tuple(sorted(result.seed for result in line.results if result.status == "ok"))].append(i)
    return max(groups.values(), key=len, default=[])


def _marked_times(lines: Sequence[Line], columns: Sequence[Quantity]) -> tuple[list[Line], set[int]]:
    """Mark query times that were taken together, where their rounds agree; and say which columns are of such times."""
    cells = {i: list(line.row.cells) for i, line in enumerate(lines) if line.row.kind == "measured"}
    timed = {c for c, column in enumerate(columns) if column.timed}
    for c in timed:
        known = {i: row[c] for i, row in cells.items() if row[c].value is not None}
        if len(known) < 2 or not taken_together(list(known.values())) or not all(one.rounds for one in known.values()):
            continue
        sign = columns[c].better
        first = max(known, key=lambda i: sign * (known[i].value or 0))
        tied = [i for i, cell in known.items() if i != first and not _wins(known[first].rounds, cell.rounds, sign)]
        for i in (first, *tied):
            cells[i][c] = replace(known[i], best=not tied, tied=bool(tied))
    return [_with(line, cells[i]) if i in cells else line for i, line in enumerate(lines)], timed


def taken_together(cells: Sequence[Cell]) -> bool:
    """Were these times taken in one session, in as many rounds? Others do not compare."""
    return len({(cell.session, len(cell.rounds)) for cell in cells}) == 1 and bool(cells[0].session)


def _wins(mine: Sequence[float], others: Sequence[float], sign: int) -> bool:
    """Do the rounds agree that the one is better? By a sign test."""
    wins = sum(sign * (one - other) > 0 for one, other in zip(mine, others, strict=True))
    return wins > 0 and float(bdtrc(wins - 1, len(mine), 0.5)) < ALPHA  # the chance of so many wins, or more


def _best(column: Quantity, cells: Sequence[Cell]) -> float | None:
    """Return the best value of a column, as printed; None where that one rests, or may, on fewer results."""
    known = [cell for cell in cells if cell.value is not None]
    if len(known) < 2 or not column.better:
        return None
    values = [(column.better * round(cell.value or 0, column.digits), cell.short == 0) for cell in known]
    best, complete = max(values)
    return column.better * best if complete else None


@dataclass(frozen=True, eq=False)
class Scored:
    """What each query scored in a row, all that intervals and tests are made from; S seeds, Q queries."""

    seeds: tuple[int, ...]
    values: Mapping[int, Values]  # [S,Q] by column, where the row has a value of a metric
    classes: Mapping[str, NDArray[np.int64] | None]  # [Q] of the queries, by part of the gallery


def ranked(lines: Sequence[Line], columns: Sequence[Quantity], judge: Judge) -> tuple[list[Line], list[str]]:
    """Return the lines with p values, ranks and the intervals of several seeds; and notes on what cannot be tested."""
    if not any(map(_metric, columns)):
        return list(lines), []
    known = {i: _scored(line, columns, judge) for i, line in enumerate(lines) if line.row.kind == "measured"}
    cells = [list(line.row.cells) for line in lines]
    for i, scored in known.items():
        if len(scored.seeds) == lines[i].row.seeds > 1:
            cells[i] = _with_intervals(cells[i], columns, scored)
    families = _families(known)
    for members in families.values():
        for here, there in _alike(cells, members, columns).items():
            _rank(cells, here, there, columns, known)
    return [_with(line, made) for line, made in zip(lines, cells, strict=True)], list(_notes(lines, known, families))


def _families(known: Mapping[int, Scored]) -> dict[tuple[int, ...], list[int]]:
    """Return the rows that compare, by the seeds that they have: those of other seeds would add tests, and chance."""
    families = defaultdict(list)
    for i, scored in known.items():
        if scored.seeds:
            families[scored.seeds].append(i)
    return {seeds: families[seeds] for seeds in sorted(families, key=lambda seeds: (-len(seeds), seeds))}


def _rank(
    cells: Sequence[list[Cell]],
    here: Sequence[int],
    there: Sequence[int],
    columns: Sequence[Quantity],
    known: Mapping[int, Scored],
) -> None:
    """Test the rows `here` against each other in the columns `there`, and write p values and ranks into their cells."""
    scores = np.array([[known[i].values[c] for i in here] for c in there])  # [C,R,S,Q]
    classes = known[here[0]].classes[_part(columns[there[0]])]
    for c, p, column in zip(there, pairwise(scores, classes), scores.sum(axis=(2, 3)), strict=True):
        made = _standings([cells[i][c] for i in here], p, columns[c].better * column)
        for i, cell in zip(here, made, strict=True):
            cells[i][c] = cell


def _with_intervals(cells: Sequence[Cell], columns: Sequence[Quantity], scored: Scored) -> list[Cell]:
    """Return a row's cells with the intervals of their means over several seeds."""
    made = list(cells)
    parts = defaultdict(list)  # of the gallery: with other queries, or the same ones of other classes
    for c in scored.values:
        parts[_part(columns[c])].append(c)
    for part, here in parts.items():
        found = intervals(np.array([scored.values[c] for c in here]), scored.classes[part])
        if found is not None:
            for c, low, high in zip(here, *found, strict=True):
                made[c] = replace(made[c], interval=(100 * float(low), 100 * float(high)))
    return made


def _with(line: Line, cells: Sequence[Cell]) -> Line:
    return replace(line, row=replace(line.row, cells=tuple(cells)))


def _metric(column: Quantity) -> str:
    """The metric of a column; empty for a cost."""
    name = column.key.partition("@")[0]
    return name if name in METRICS else ""


def _part(column: Quantity) -> str:
    """The part of the gallery that a column's metric is about."""
    return METRICS[_metric(column)].part


def _scored(line: Line, columns: Sequence[Quantity], judge: Judge) -> Scored:
    """Return what queries scored with the seeds for which hits are stored; these are larger, and are not kept."""
    there = [c for c, column in enumerate(columns) if _metric(column) and line.row.cells[c].value is not None]
    values: dict[int, list[Values]] = {c: [] for c in there}
    seeds, classes = [], {}
    for result in sorted(line.results, key=lambda one: one.seed):
        with suppress(StoreError):
            judged = judge(result)
            seeds.append(result.seed)
            classes = {part: one.classes for part, one in judged.items()}
            for c in there:
                values[c].append(per_query(judged, columns[c].key))
    return Scored(tuple(seeds), {c: np.array(scores) for c, scores in values.items()}, classes)


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


def _standings(cells: Sequence[Cell], p: Values, scores: Values) -> list[Cell]:
    """Return the cells [R] of a column with their ranks, by the tests [R,R] between them; higher scores are better.

    Ranks rest on all pairs, marks on the comparisons with the best alone: each family has its own correction.
    """
    upper = np.triu_indices(len(cells), 1)
    corrected = np.ones_like(p)
    corrected[upper] = holm(p[upper].tolist())
    corrected = np.minimum(corrected, corrected.T)
    apart = corrected < ALPHA
    above = (apart & (scores[None, :] > scores[:, None])).sum(axis=1)
    below = (apart & (scores[None, :] < scores[:, None])).sum(axis=1)
    best = max((i for i, cell in enumerate(cells) if cell.best), key=lambda i: scores[i], default=None)
    others = [i for i in range(len(cells)) if i != best]
    to_best = {} if best is None else dict(zip(others, holm([p[i, best] for i in others]), strict=True))
    return [
        replace(
            cell,
            rank=(1 + int(above[i]), len(cells) - int(below[i])),
            among=len(cells),
            p=to_best.get(i),
            tied=not cell.best and to_best.get(i, 0.0) >= ALPHA,
        )
        for i, cell in enumerate(cells)
    ]


def _notes(
    lines: Sequence[Line], known: Mapping[int, Scored], families: Mapping[tuple[int, ...], Sequence[int]]
) -> Iterator[str]:
    """Say which rows have no rank, and which are compared with which."""
    without = {
        "no hits are stored": [i for i, scored in known.items() if not scored.seeds],
        "no other row with hits has the same seeds": [i for one in families.values() if len(one) == 1 for i in one],
    }
    for reason, rows in without.items():
        if rows and len(known) > 1:
            yield f"without a rank, as {reason}: {', '.join(lines[i].row.method for i in rows)}"
    several = {seeds: rows for seeds, rows in families.items() if len(rows) > 1}
    if len(several) > 1:
        parts = "; ".join(f"seed {', '.join(map(str, seeds))}: {len(rows)} rows" for seeds, rows in several.items())
        yield f"ranks compare rows with the same seeds ({parts})"
