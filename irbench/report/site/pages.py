"""The content of each page: plain values that the templates render."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from statistics import fmean, median
from typing import Any, cast

from irbench.config import recipes
from irbench.core.errors import IrbenchError, UsageError
from irbench.metrics.own import COSTS
from irbench.metrics.retrieval import METRICS
from irbench.report.commands import command_of
from irbench.report.figures import KINDS, FigureOptions, draw, svg
from irbench.report.figures.selection import Panel as Drawn
from irbench.report.figures.selection import machine_of, name_of, select
from irbench.report.lines import label, precision_of, why
from irbench.report.numbered import NUMBERS, numbered
from irbench.report.palette import Look, look
from irbench.report.panel import Cell, Panel, Row, Table
from irbench.report.ranks import Judge
from irbench.report.site.explorer import Explorer, explore
from irbench.report.site.leaderboard import Leaderboard, leaderboard
from irbench.report.site.tasks import Given, tasks
from irbench.report.site.verdict import verdict
from irbench.report.table import table
from irbench.report.wording import rank
from irbench.results.artefacts import Artefacts
from irbench.results.schema import Dataset, Facts, Result
from irbench.results.submissions.verify import Verified

_TICKS = 6  # spaces between the values on an axis, at most


_DRAWN = tuple(kind for kind in KINDS if kind != "retrieved")  # which the explorer shows


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure as an `<svg>` element, or why there is none."""

    kind: str
    svg: str = ""
    notes: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class CostSummary:
    """What retrieval costs, over the seeds of a cell."""

    queries_per_s: float | None = None  # in batches: the median
    bytes_per_image: float | None = None  # of index and model: the mean
    under_concurrent_load: bool = False  # was any of it timed under concurrent load?


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A cell as pages list it."""

    label: str
    method: str  # whose page describes it
    varied: bool
    look: Look


def entry_of(result: Result) -> Entry:
    """Return the entry of a result's cell."""
    spec = replace(result.spec, epochs=None, max_queries=None)
    seen = look(spec.method, spec.search or "", spec.variant or "")
    return Entry(label=label(result), method=spec.method, varied=spec.is_varied, look=seen)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A method on a data set at a glance."""

    entry: Entry
    row: Row
    score: Cell
    rank: str
    cost: CostSummary


@dataclass(frozen=True, kw_only=True)
class Board:
    """The methods of a data set, best first, by one metric."""

    panel: Panel
    column: str  # "precision@10"
    standings: tuple[Standing, ...]
    verdict: str

    @property
    def ticks(self) -> range:
        """The values on the axis: round ones, the first below all values, the last 100."""
        lowest = min((bounds(one.score)[0] for one in self.standings), default=0.0)
        room = 100 - max(0.0, lowest - 1)
        step = next((step for step in (2, 5, 10) if room <= _TICKS * step), 20)
        return range(100 - step * ceil(room / step), 101, step)


@dataclass(frozen=True, eq=False, kw_only=True)
class DatasetPage:
    """Everything about one data set."""

    name: str
    title: str
    results: tuple[Result, ...]
    boards: tuple[Board, ...]
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]
    explorer: Explorer | None

    @property
    def told_apart(self) -> int:
        """How many methods differ significantly from the best: the data set that says most comes first."""
        return sum(
            one.score.p is not None and not (one.score.best or one.score.tied)
            for board in self.boards
            for one in board.standings
        )

    @property
    def facts(self) -> list[Dataset]:
        """Its images: one of each fingerprint, protocol and crop."""
        return list(dict.fromkeys(result.dataset for result in self.results))


@dataclass(frozen=True, eq=False, kw_only=True)
class MethodPage:
    """Everything about one method, with all its searches and variants."""

    name: str
    title: str
    source: str  # the Python file behind its recipe; empty where there is no recipe of that name
    results: tuple[Result, ...]
    recipes: Mapping[str, str]  # text of all recipes behind a cell -> the cells that use it
    tables: tuple[Table, ...]  # its rows of the table of precision, then of all costs

    @property
    def diagnostics(self) -> list[tuple[Result, Facts]]:
        """Return the report of each set of identifiers, with the first of the results that use it."""
        return _distinct((result, result.retriever.get("identifiers")) for result in self.results)

    @property
    def training(self) -> list[tuple[Result, dict[str, list[float]]]]:
        """Return the losses of all networks of each training, by name, with the first of the results that share it."""
        shared = _distinct((result, result.retriever.get("training")) for result in self.results)
        return [(result, _losses(parts)) for result, parts in shared if _losses(parts)]

    @property
    def invariance(self) -> list[tuple[Result, Any]]:
        """Return what `irbench certify` found of its results, setting by setting."""
        known = [(result, result.invariance) for result in self.results if result.invariance]
        return [(result, one) for result, facts in known for one in cast("list[Any]", facts["settings"])]


def _distinct(reports: Iterable[tuple[Result, Any]]) -> list[tuple[Result, Facts]]:
    """Return what results report, once where several on the same data report the same."""
    seen: dict[str, tuple[Result, Facts]] = {}
    for result, facts in reports:
        if isinstance(facts, dict):
            shared = {key: value for key, value in facts.items() if key not in ("valid_identifier_rate", "generated")}
            seen.setdefault(json.dumps([name_of(result.dataset), result.seed, shared]), (result, facts))
    return list(seen.values())


def _losses(parts: Facts) -> dict[str, list[float]]:
    losses: dict[str, Any] = {name: part.get("loss") for name, part in parts.items() if isinstance(part, dict)}
    return {name: loss for name, loss in losses.items() if isinstance(loss, list) and len(loss) > 1}


@dataclass(frozen=True, kw_only=True)
class Made:
    """How one result was made."""

    result: Result
    entry: Entry
    command: str
    machine: str
    reason: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Site:
    """All pages, as values."""

    datasets: tuple[DatasetPage, ...]
    methods: tuple[MethodPage, ...]
    papers: tuple[Table, ...]
    made: tuple[Made, ...]
    problems: tuple[str, ...]
    leaderboard: Leaderboard | None = None  # of submissions, where there are any

    @property
    def machines(self) -> list[str]:
        """Every machine that anything was measured on."""
        return sorted({one.machine for one in self.made if one.result.environment})

    @property
    def cells(self) -> list[Entry]:
        """Every cell, methods before their variants."""
        known = {one.entry.label: one.entry for one in self.made}
        return sorted(known.values(), key=lambda entry: (entry.varied, entry.label))


def gather(
    results: Sequence[Result],
    artefacts: Artefacts,
    judge: Judge,
    problems: Sequence[str],
    submissions: Sequence[Verified] = (),
) -> Site:
    """Return everything that the pages show."""
    by_data, by_method = defaultdict(list), defaultdict(list)
    for result in results:
        by_data[name_of(result.dataset)].append(result)
        by_method[result.method].append(result)
    given = Given(results, artefacts, judge)
    with tasks(given) as begin:
        scored = [begin(_table, metric) for metric in METRICS]
        figures = {name: [begin(_figure, name, kind) for kind in _DRAWN] for name in by_data}
        papers = tuple(numbered(int(number), results, judge=judge) for number in NUMBERS)
        costs = [_table(given, metric) for metric in COSTS]
        tables = [*(one() for one in scored), *costs]
        drawn = {name: tuple(one() for one in some) for name, some in figures.items()}
    pages = [_dataset(name, some, tables, artefacts, drawn[name]) for name, some in sorted(by_data.items())]
    return Site(
        datasets=tuple(sorted(pages, key=lambda page: -page.told_apart)),
        methods=tuple(_method(name, some, tables) for name, some in sorted(by_method.items())),
        papers=papers,
        made=tuple(_made(result) for result in results),
        problems=tuple(problems),
        leaderboard=leaderboard(submissions) if submissions else None,
    )


def _dataset(
    name: str, results: Sequence[Result], tables: Sequence[Table], artefacts: Artefacts, figures: tuple[Figure, ...]
) -> DatasetPage:
    here = [replace(one, panels=tuple(p for p in one.panels if p.dataset == name), notes=()) for one in tables]
    by_cell = _by_cell(results)
    drawn = _drawn(results, name)
    boards = [_board(panel, by_cell) for panel in here[0].panels if panel.columns and not panel.part]
    return DatasetPage(
        name=name,
        title=_title("datasets", name.removesuffix("-incremental")),
        results=tuple(results),
        boards=tuple(board for board in boards if board.standings),
        tables=tuple(one for one in here if one.panels),
        figures=figures,
        explorer=explore(drawn, artefacts) if drawn else None,
    )


def _drawn(results: Sequence[Result], name: str) -> Drawn | None:
    """Return all methods on a data set with all variants, as figures group them."""
    try:
        panels = select(results, datasets=(name,), methods=("*",)).panels
    except UsageError:  # nothing but shortened or failed runs
        return None
    return panels[0] if panels else None


def _table(given: Given, metric: str) -> Table:
    return table(given.results, metric, judge=given.judge, include_shortened=True)


def _figure(given: Given, name: str, kind: str) -> Figure:
    here = [result for result in given.results if name_of(result.dataset) == name]
    try:
        drawing = draw(kind, here, given.artefacts, FigureOptions(datasets=(name,)))
        return Figure(kind=kind, svg=svg(drawing), notes=drawing.notes)
    except IrbenchError as error:
        return Figure(kind=kind, reason=str(error))


_Cell = tuple[str, str, str]  # label, scale, precision


def _board(panel: Panel, by_cell: Mapping[_Cell, Sequence[Result]]) -> Board:
    at = next(i for i, column in enumerate(panel.columns) if column.key == panel.headline)
    rows = [row for row in panel.rows if row.kind == "measured" and row.cells[at].value is not None]
    rows.sort(key=lambda row: -(row.cells[at].value or 0))
    standings = [
        Standing(
            entry=Entry(
                label=row.method, method=row.family, varied=False, look=look(row.family, row.search, row.variant)
            ),
            row=row,
            score=row.cells[at],
            rank=rank(row, panel),
            cost=_cost([result for result in by_cell[row.method, row.scale, row.precision] if result.seed in row.ran]),
        )
        for row in rows
    ]
    sentences = " ".join(verdict(standings, panel.headline))
    return Board(panel=panel, column=panel.headline, standings=tuple(standings), verdict=sentences)


def _by_cell(results: Iterable[Result]) -> dict[_Cell, list[Result]]:
    groups = defaultdict(list)
    for result in results:
        if result.status == "ok":
            groups[label(result), result.scale, precision_of(result)].append(result)
    return groups


def _cost(alike: Sequence[Result]) -> CostSummary:
    speeds = [result.cost.queries_per_s for result in alike if result.cost.queries_per_s]
    sizes = [((result.cost.index_bytes or 0) + (result.cost.model_bytes or 0)) / result.dataset.gallery
             for result in alike if result.cost.index_bytes is not None]  # fmt: skip
    return CostSummary(
        queries_per_s=median(speeds) if speeds else None,
        bytes_per_image=fmean(sizes) if sizes else None,
        under_concurrent_load=any(result.under_concurrent_load for result in alike),
    )


def _method(name: str, results: Sequence[Result], tables: Sequence[Table]) -> MethodPage:
    texts: dict[str, list[str]] = defaultdict(list)
    for result in results:
        if result.recipe.text and result.cell not in texts[result.recipe.text]:
            texts[result.recipe.text].append(result.cell)
    try:
        source = recipes.find("methods", name).source
    except IrbenchError:  # a method from elsewhere
        source = ""
    return MethodPage(
        name=name,
        title=_title("methods", name),
        source=source,
        results=tuple(results),
        recipes={text: ", ".join(cells) for text, cells in texts.items()},
        tables=tuple(_rows_of(name, one) for one in tables if one.metric in ("precision", *COSTS)),
    )


def _rows_of(name: str, one: Table) -> Table:
    """Return the table with this method's measured rows and gaps; marks and ranks are those among all methods."""
    panels = [
        replace(panel, rows=tuple(row for row in panel.rows if row.scale and row.family == name), notes=())
        for panel in one.panels
    ]
    return replace(one, panels=tuple(panel for panel in panels if panel.rows), notes=())


def _title(family: str, name: str) -> str:
    """Return the first line of a recipe; nothing for what has none here."""
    try:
        return recipes.find(family, name).title
    except IrbenchError:
        return ""


def _made(result: Result) -> Made:
    return Made(
        result=result,
        entry=entry_of(result),
        command=command_of(result),
        machine=machine_of(result),
        reason="" if result.status == "ok" else why(result),
    )


def bounds(cell: Cell) -> tuple[float, float]:
    """Return the interval of a value, or its deviation on both sides, or the value itself."""
    value = cell.value or 0.0
    return cell.interval or (value - (cell.deviation or 0), min(100.0, value + (cell.deviation or 0)))
