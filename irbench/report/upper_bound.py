"""The upper bound of a metric on a gallery: the score of a ranking that puts all positives first."""

from collections.abc import Sequence

import numpy as np

from irbench.core.errors import StoreError
from irbench.metrics.own import COSTS
from irbench.metrics.retrieval import Judged, parse, per_query
from irbench.report.lines import Line
from irbench.report.panel import Cell, Row
from irbench.report.quantities import TWINS, Quantity
from irbench.report.ranks import Judge


def upper_bound(lines: Sequence[Line], metric: str, columns: Sequence[Quantity], judge: Judge) -> Row | None:
    """Return the row of upper bounds of one benchmark's panel.

    None for costs, without columns, where no result has stored hits, and where the bound is 100 % everywhere; of
    precision it is shown all the same.
    """
    if metric in COSTS or not columns or (judged := _any(lines, judge)) is None:
        return None
    depth = max(parse(column.key).k for column in columns)
    best = {part: ideal(one, max(depth, one.top_k)) for part, one in judged.items()}
    values = [100 * float(per_query(best, column.key).mean()) for column in columns]
    if metric not in TWINS and min(values) > 99.95:
        return None
    cells = tuple(Cell(value) for value in values)
    return Row(
        kind="upper bound", method="upper bound", backbone="—", weights="score of a perfect ranking", cells=cells
    )


def ideal(judged: Judged, depth: int) -> Judged:
    """Return rankings whose first n results are relevant, n being the number of positives of each query.

    Those with the highest grades come first.
    """
    first = np.arange(depth) < judged.positives[:, None]
    if judged.best is None:
        return Judged(first, judged.positives)
    grades = np.pad(judged.best, ((0, 0), (0, max(0, depth - judged.best.shape[1]))), constant_values=1)[:, :depth]
    return Judged(first, judged.positives, grades=grades * first, best=judged.best)


def _any(lines: Sequence[Line], judge: Judge) -> "dict[str, Judged] | None":
    """Return the hits of any result: the number of positives is the same for all results on the same data."""
    for result in (result for line in lines for result in line.results if result.status == "ok"):
        try:
            return dict(judge(result))
        except StoreError:
            continue
    return None
