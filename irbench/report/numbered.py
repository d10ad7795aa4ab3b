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
from irbench.paper import Setup
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
    """Return the paper's Table `number`; see `irbench.report.table.table` for the other arguments."""
    check_choice("--table", str(number), NUMBERS)
    known = paper.TABLES[number]
    setups = {line.setup for line in paper.lines(number, "")}
    wanted = [one for one in results if setup_of(one) in setups and is_of(one, datasets)]
    shown = [one for one in wanted if include_shortened or not one.shortened]
    alike = [one for one in shown if (one.dataset.protocol, one.dataset.crop) == (paper.PROTOCOL, paper.CROP)]
    groups = defaultdict(list)
    for group in by_data(alike):
        groups[name_of(group[0].dataset)].append(group)
    names = [name for name in known.datasets if _is_wanted(name, datasets)]
    panels = [_panel(number, name, group, judge) for name in names for group in groups.pop(name, [[]])]
    panels += [_panel(number, name, group, judge) for name, several in groups.items() for group in several]
    return Table(
        metric=known.metrics[0],
        number=number,
        title=f"Table {number}. {known.title}, percent",
        caption="; ".join(f"{name} = {METRICS[name].formula}" for name in known.metrics) + ", means over the queries",
        panels=tuple(panels),
        notes=(*left_out(len(wanted) - len(shown)), *_elsewhere(len(shown) - len(alike)), *_nothing(panels, datasets)),
    )


def setup_of(result: Result) -> Setup | None:
    """Return the result's method in the terms of the paper's tables, at whatever scale it ran; None if imported."""
    spec = result.spec
    if spec.origin != "recipe":
        return None
    identifier = spec.identifier if spec.identifier != spec.default_identifier else None
    return Setup(spec.method, spec.search, identifier, spec.overrides, spec.incremental)


def _is_wanted(name: str, datasets: Sequence[str]) -> bool:
    return not datasets or not {name, name.removesuffix("-incremental")}.isdisjoint(datasets)


def _nothing(panels: Sequence[Panel], datasets: Sequence[str]) -> Iterator[str]:
    if not panels:
        where = ", ".join(datasets)
        yield f"{where}: none of this table's rows was run: irbench table --metric shows others"


def _elsewhere(count: int) -> Iterator[str]:
    if count:
        yield (
            f"{count} results under another protocol or crop do not belong in this table: irbench table --metric "
            "shows them"
        )


def _panel(number: int, dataset: str, results: Sequence[Result], judge: Judge | None) -> Panel:
    known = paper.TABLES[number]
    heading = Heading.of(known.metrics[0], results) if results else Heading(metric=known.metrics[0], dataset=dataset)
    columns = _columns(known.metrics, dataset, results)
    measured: Mapping[Setup | None, list[Line]] = defaultdict(list)
    for line in made.measured(results, heading.metric, columns):
        measured[setup_of(line.results[0])].append(line)
    lines: list[Line] = []
    missing = []
    for printed in paper.lines(number, dataset):
        here = measured[printed.setup]
        if dataset in known.datasets:
            row = made.published_row(printed.setup, printed.percents, printed.source, columns)
            lines += [Line(row=row), *(here or [Line(row=_gap(printed.setup, dataset, columns))])]
        else:
            lines += here
        missing += [] if here else [printed.setup]
    return assemble(heading, columns, lines, judge, _how_to(missing, dataset))


def _columns(metrics: Sequence[str], dataset: str, results: Sequence[Result]) -> list[Quantity]:
    """Return the columns of all metrics; where there are several, each says which it is of: "P@10", "H@10"."""
    columns = [(metric, column) for metric in metrics for column in columns_of(metric, dataset, results)]
    if len(metrics) == 1:
        return [column for _, column in columns]
    return [replace(column, label=f"{metric[0].upper()}{column.label}") for metric, column in columns]


def _gap(setup: Setup, dataset: str, columns: Sequence[Quantity]) -> Row:
    (command,) = commands([setup], dataset)
    return replace(made.blank_row("gap", setup), reason=f"not run: {command}", cells=tuple(Cell() for _ in columns))


def _how_to(missing: Sequence[Setup], dataset: str) -> Iterator[str]:
    if len(missing) == 1:
        yield f"{missing[0].label} was not run here: {commands(missing, dataset)[0]}"
    elif missing:
        yield f"{len(missing)} of the paper's rows were not run here: {'; '.join(commands(missing, dataset))}"


def commands(setups: Sequence[Setup], dataset: str) -> list[str]:
    """Return the commands that run these rows of one of the paper's tables on `dataset`."""
    where = f"-d {dataset.removesuffix('-incremental')}"
    if set(setups) == {line.setup for line in paper.lines(1, "")}:
        return [f"irbench run --grid paper {where}"]
    kinds = {
        "irbench run": [f"-m {one.label}" for one in setups if not one.is_varied and not one.incremental],
        "irbench run -m irgen": [f"--identifier {one.identifier}" for one in setups if one.identifier],
        "irbench ablate length": [""] * any(one.overrides for one in setups),  # Table 4, alone in overriding a key
        "irbench ablate fresh": [f"-m {replace(one, incremental=False).label}" for one in setups if one.incremental],
    }
    return [" ".join(filter(None, [begin, *options, where])) for begin, options in kinds.items() if options]
