"""A collection of results that becomes a data frame or a table."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from irbench.core.errors import StoreError
from irbench.results import hits
from irbench.results.files import default_folder, read_all
from irbench.results.schema import Result

if TYPE_CHECKING:
    import pandas


class Results(Sequence[Result]):
    """Results in a fixed order, of any mixture of methods, data sets and seeds.

    `problems` names files of the folder that could not be read; they are no part of the sequence.
    """

    def __init__(self, results: Sequence[Result], folder: Path, problems: Sequence[str] = ()) -> None:
        self._results, self.folder, self.problems = tuple(results), folder, tuple(problems)

    def __len__(self) -> int:
        return len(self._results)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> "Results": ...
    def __getitem__(self, index: int | slice) -> "Result | Results":
        """Return one result, or those of a slice."""
        if isinstance(index, slice):
            return Results(self._results[index], self.folder, self.problems)
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
        return pd.DataFrame(rows)

    def table(self, metric: str = "precision", *, format: str = "text", paper: bool = False, width: int = 110) -> str:  # noqa: A002 -- as --format
        """Return a table of one metric ("precision", "hit_rate", "map" …) or cost ("cost", "latency" …).

        Args:
            metric: what `irbench table --metric` takes.
            format: "text", "markdown", "latex", "csv" or "json".
            paper: also show the paper's numbers, where they were made under the same protocol.
            width: of a text, in characters.
        """
        from irbench.report.render import render
        from irbench.report.table import table

        made = table(self._results, metric, paper=paper, include_shortened=True, judge=hits.reader(self.folder))
        return render(made, format, width=width, color=False)


def load_results(folder: str | Path | None = None) -> Results:
    """Read every result below `folder`, by default runs/results where it holds any, else results.

    What cannot be read is named in `Results.problems`; a folder that does not exist is a `StoreError`.
    """
    root = Path(folder).expanduser() if folder is not None else default_folder()
    if not root.is_dir():
        raise StoreError(f"{root}: no such folder of results", code="no-such-folder")
    found, problems = read_all(root)
    return Results(found, root, problems)


def _cell(result: Result) -> dict[str, Any]:
    return {
        "dataset": result.dataset.name,
        "method": result.method,
        "search": result.search,
        "identifier": result.identifier,
        "variant": result.variant,
        "scale": result.scale,
        "precision": result.environment.get("precision"),
        "seed": result.seed,
        "status": result.status,
    }


def _tidy(result: Result) -> Iterator[dict[str, Any]]:
    if not result.metrics:
        yield _cell(result) | {"metric": None, "value": None, "ci_low": None, "ci_high": None}
    for name, estimate in result.metrics.items():
        low, high = estimate.ci95 or (None, None)
        yield _cell(result) | {"metric": name, "value": estimate.mean, "ci_low": low, "ci_high": high}


def _wide(result: Result) -> dict[str, Any]:
    cost = result.cost
    costs = {
        "train_s": cost.train_s,
        "encode_gallery_s": cost.encode_gallery_s,
        "build_s": cost.build_s,
        "query_ms": cost.query_ms.total_p50 if cost.query_ms else None,
        "queries_per_s": cost.queries_per_s,
        "index_bytes": cost.index_bytes,
        "model_bytes": cost.model_bytes,
    }
    return _cell(result) | {name: estimate.mean for name, estimate in result.metrics.items()} | costs
