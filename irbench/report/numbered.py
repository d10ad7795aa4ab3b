"""The paper's tables, row by row: what it prints, and below that what was measured here or how to measure it.

Its own data sets are shown whether anything was measured on them or not. Other data sets follow, with the rows of the
paper's table that were run on them: at their scale, what someone without the paper's data can see.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from irbench import paper
from irbench.core.errors import check_choice
from irbench.metrics.retrieval import METRICS
from irbench.report import lines as made
from irbench.report.lines import Line
from irbench.report.panel import Cell, Panel, Row, Table
from irbench.report.quantities import Quantity
from irbench.report.ranks import Judge
from irbench.report.table import Heading, assemble, by_data, columns_of, is_of, left_out, name_of
from irbench.results.schema import Result

NUMBERS = tuple(map(str, paper.TABLES))


def numbered(
    number: int,
    results: Iterable[Result],
    *,
    datasets: Sequence[str] = (),
    include_shortened: bool = False,
    judge: Judge | None = None,
) -> Table:
    """Return the paper's Table `number`; see `irbench.report.table.table` for what else can be said."""
    check_choice("--table", str(number), NUMBERS)
    known = paper.TABLES[number]
    rows = {line.cell for line in paper.lines(number, "")}
    wanted = [one for one in results if plain_cell(one) in rows and is_of(one, datasets)]
    wanted = [one for one in wanted if bool(one.dataset.incremental) == known.datasets[0].endswith("-incremental")]
    shown = [one for one in wanted if include_shortened or not one.shortened]
    asked = [one for one in shown if (one.dataset.protocol, one.dataset.crop) == (paper.PROTOCOL, paper.CROP)]
    groups = defaultdict(list)
    for group in by_data(asked):
        groups[name_of(group[0].dataset)].append(group)
    theirs = [
        name
        for name in known.datasets
        if not datasets or not {name, name.removesuffix("-incremental")}.isdisjoint(datasets)
    ]
    panels = [_panel(number, name, group, judge) for name in theirs for group in groups.pop(name, [[]])]
    panels += [_panel(number, name, group, judge) for name, several in groups.items() for group in several]
    return Table(
        metric=known.metrics[0],
        number=number,
        title=f"Table {number}. {known.title}, percent",
        caption="; ".join(f"{name} = {METRICS[name].formula}" for name in known.metrics) + ", means over the queries",
        panels=tuple(panels),
        notes=(*left_out(len(wanted) - len(shown)), *_elsewhere(shown, asked), *_nothing(panels, datasets)),
    )


def plain_cell(result: Result) -> str:
    """Return the cell as the paper's tables know it, at whatever scale it ran."""
    spec = result.spec
    return replace(spec, scale=spec.default_scale or spec.scale, epochs=None, max_queries=None).label


def _nothing(panels: Sequence[Panel], datasets: Sequence[str]) -> Iterator[str]:
    if not panels:
        where = ", ".join(datasets)
        yield f"{where}: none of this table's rows was run: irbench table --metric shows others"


def _elsewhere(shown: Sequence[Result], asked: Sequence[Result]) -> Iterator[str]:
    if len(asked) < len(shown):
        yield (
            f"{len(shown) - len(asked)} results under another protocol or crop are no answer to this table: "
            "irbench table --metric shows them"
        )


def _panel(number: int, dataset: str, results: Sequence[Result], judge: Judge | None) -> Panel:
    known = paper.TABLES[number]
    heading = Heading.of(known.metrics[0], results) if results else Heading(metric=known.metrics[0], dataset=dataset)
    columns = _columns(known.metrics, dataset, results)
    measured: Mapping[str, list[Line]] = defaultdict(list)
    for line in made.measured(results, heading.metric, columns):
        measured[plain_cell(line.results[0])].append(line)
    theirs = dataset in known.datasets
    lines: list[Line] = []
    missing = []
    for printed in paper.lines(number, dataset):
        here = measured[printed.cell]
        if theirs:
            row = made.published_row(printed.cell, printed.percents, printed.source, columns)
            lines += [Line(row=row), *(here or [Line(row=_gap(printed.cell, dataset, columns))])]
        else:
            lines += here
        missing += [] if here else [printed.cell]
    return assemble(heading, columns, lines, judge, _how_to(missing, dataset))


def _columns(metrics: Sequence[str], dataset: str, results: Sequence[Result]) -> list[Quantity]:
    """Return the columns of all metrics; where there are several, each says which it is of: "P@10", "R@10"."""
    columns = [(metric, column) for metric in metrics for column in columns_of(metric, dataset, results)]
    if len(metrics) == 1:
        return [column for _, column in columns]
    return [replace(column, label=f"{metric[0].upper()}{column.label}") for metric, column in columns]


def _gap(cell: str, dataset: str, columns: Sequence[Quantity]) -> Row:
    (command,) = commands([cell], dataset)
    return Row(
        kind="gap",
        method=cell,
        backbone="",
        weights="",
        reason=f"not run: {command}",
        cells=tuple(Cell() for _ in columns),
    )


def _how_to(missing: Sequence[str], dataset: str) -> Iterator[str]:
    if len(missing) == 1:
        yield f"{missing[0]} is not run here: {commands(missing, dataset)[0]}"
    elif missing:
        yield f"{len(missing)} of the paper's rows are not run here: {'; '.join(commands(missing, dataset))}"


def commands(cells: Sequence[str], dataset: str) -> list[str]:
    """Return the commands that run these cells, rows of one of the paper's tables, on `dataset`."""
    where = f"-d {dataset.removesuffix('-incremental')}"
    if set(cells) == {line.cell for line in paper.lines(1, "")}:
        return [f"irbench run --grid paper {where}"]
    parted = [(method, variant) for method, _, variant in (cell.partition("@") for cell in cells)]
    kinds = {
        "irbench run": [f"-m {method}" for method, variant in parted if not variant],
        "irbench run -m irgen": [f"--identifier {kind}" for _, kind in parted if _is_identifier(kind)],
        "irbench ablate length": [""] * any(variant.startswith("num_codebooks-") for _, variant in parted),
        "irbench ablate fresh": [f"-m {method}" for method, variant in parted if variant == "incremental"],
    }
    return [" ".join(filter(None, [begin, *options, where])) for begin, options in kinds.items() if options]


def _is_identifier(variant: str) -> bool:
    return bool(variant) and variant != "incremental" and not variant.startswith("num_codebooks-")
