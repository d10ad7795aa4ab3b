"""A collection of results that becomes a data frame or a table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

from irbench.core.errors import StoreError, UsageError
from irbench.metrics.diagnostics import left_to_learn
from irbench.results.files import read_all
from irbench.results.hits import Reader
from irbench.results.place import default_folder
from irbench.results.schema import Result

if TYPE_CHECKING:
    import pandas


class Results(Sequence[Result]):
    """Results in a fixed order, of any mixture of methods, data sets and seeds.

    `problems` names files of the folder that could not be read; they are no part of the sequence.
    """

    def __init__(
        self, results: Sequence[Result], folder: Path, problems: Sequence[str] = (), judge: Reader | None = None
    ) -> None:
        self._results, self.folder, self.problems = tuple(results), folder, tuple(problems)
        self._judge = judge or Reader(folder)

    def __len__(self) -> int:
        return len(self._results)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> "Results": ...
    def __getitem__(self, index: int | slice) -> "Result | Results":
        """Return one result, or those of a slice."""
        if isinstance(index, slice):
            return Results(self._results[index], self.folder, self.problems, self._judge)
        return self._results[index]

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    def __repr__(self) -> str:
        cells = ", ".join(dict.fromkeys(f"{one.cell} on {one.dataset.name}" for one in self._results[:8]))
        return f"<{len(self)} results: {cells}{', …' if len(self) > 8 else ''}>"

    def to_dataframe(self, *, wide: bool = False) -> "pandas.DataFrame":
        """Return the results as a data frame; a cell that did not end well has its status and no values.

        Tidy, by default: one row for each cell, seed and metric, with columns `metric`, `value`, `ci_low`, `ci_high`.
        Wide: one row for each cell and seed, a column for each metric, and the costs. Values are shares, 0 to 1.
        """
        import pandas as pd

        rows = [row for result in self for row in ((_wide(result),) if wide else _tidy(result))]
        columns = None if rows else [*_CELL, *(_COSTS if wide else ("metric", *_VALUE))]
        return pd.DataFrame(rows, columns=columns)

    def table(self, metric: str = "precision", *, format: str = "text", paper: bool = False, width: int = 110) -> str:  # noqa: A002 -- as --format
        """Return a table of one metric ("precision", "hit_rate", "map" …) or cost ("cost", "latency" …).

        Args:
            metric: what `irbench table --metric` takes.
            format: "text", "markdown", "latex", "csv" or "json".
            paper: also show the paper's numbers, where they were made under the same protocol.
            width: of a text, in characters.
        """
        if not isinstance(width, int) or width < 1:
            raise UsageError(f"width={width!r}: a whole number from 1 is needed", code="bad-value")
        from irbench.report.render import render
        from irbench.report.table import table

        made = table(self._results, metric, paper=paper, include_shortened=True, judge=self._judge)
        return render(made, format, width=width, color=False)


def load_results(folder: str | Path | None = None) -> Results:
    """Read every result below `folder`, by default runs/results where it holds any, else results.

    What cannot be read is named in `Results.problems`; a folder that does not exist is a `StoreError`.
    """
    if not isinstance(folder, str | Path | None):
        raise UsageError(f"a {type(folder).__name__} is no folder of results", code="bad-value")
    root = Path(folder).expanduser() if folder is not None else default_folder()
    if not root.is_dir():
        raise StoreError(f"{root}: no such folder of results", code="no-such-folder")
    found, problems = read_all(root)
    judge = Reader(root)
    return Results(found, root, [*problems, *judge.damaged(found)], judge)


_Column = Callable[[Any], Any]

_CELL: dict[str, _Column] = {
    "dataset": lambda result: result.dataset.name,
    "method": attrgetter("method"),
    "search": attrgetter("search"),
    "identifier": attrgetter("identifier"),
    "variant": attrgetter("variant"),
    "scale": attrgetter("scale"),
    "precision": lambda result: result.environment.get("precision"),
    "seed": attrgetter("seed"),
    "status": attrgetter("status"),
}
_VALUE: dict[str, _Column] = {
    "value": attrgetter("mean"),
    "ci_low": lambda estimate: estimate.ci95 and estimate.ci95[0],
    "ci_high": lambda estimate: estimate.ci95 and estimate.ci95[1],
}
_COSTS: dict[str, _Column] = {
    "train_s": attrgetter("train_s"),
    "encode_gallery_s": attrgetter("encode_gallery_s"),
    "build_s": attrgetter("build_s"),
    "query_ms": lambda cost: cost.query_ms and cost.query_ms.total_p50,
    "queries_per_s": attrgetter("queries_per_s"),
    "search_ms": lambda cost: cost.query_ms and cost.query_ms.search_p50,
    "searches_per_s": lambda cost: (
        1000 / cost.batched_ms.search_p50 if cost.batched_ms and cost.batched_ms.search_p50 else None
    ),
    "index_bytes": attrgetter("index_bytes"),
    "model_bytes": attrgetter("model_bytes"),
}


def _tidy(result: Result) -> Iterator[dict[str, Any]]:
    cell = _row(_CELL, result)
    if not result.metrics:
        yield cell | dict.fromkeys(("metric", *_VALUE))
    for name, estimate in result.metrics.items():
        yield cell | {"metric": name} | _row(_VALUE, estimate)


def _wide(result: Result) -> dict[str, Any]:
    means = {name: estimate.mean for name, estimate in result.metrics.items()}
    found = cast("dict[str, Any]", result.retriever.get("neighbours", {})).get("recall", {})
    neighbours = {f"neighbours@{k}": share for k, share in found.items()}  # the recall of the exact ones
    costs = _row(_COSTS, result.cost) | {"loss_gap": left_to_learn(result.retriever)}
    return _row(_CELL, result) | means | neighbours | costs


def _row(columns: Mapping[str, _Column], of: Any) -> dict[str, Any]:
    return {name: value(of) for name, value in columns.items()}
