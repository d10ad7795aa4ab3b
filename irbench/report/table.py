"""Tables: what was measured, beside what the paper says, with every gap and its reason in sight.

A table has one panel for each data set *and* fingerprint: numbers under different protocols, crops or images are
never lined up. A row is a method as it really ran; its backbone and the origin of its weights are always told.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from irbench import paper as published
from irbench.report.quantities import PRICES, Quantity, Reading, can_say, quantities, subject
from irbench.results import Dataset, Result


@dataclass(frozen=True)
class Cell:
    """A number as it is printed, or None for a gap, with its 95 % interval or its deviation over seeds.

    Measured rows of a panel are tested against each other on the same queries, column by column: `p` is that of the
    row against the best one, `rank` the places that the row may stand in, both after Holm's correction for all pairs
    of rows in the column. None where there is nothing to test: one row, or no hits beside the result.
    """

    value: float | None = None
    interval: tuple[float, float] | None = None  # of the mean over the queries, where there is one seed
    deviation: float | None = None  # standard deviation over the seeds, where there are several
    best: bool = False  # as printed, of the measured rows
    p: float | None = None
    tied: bool = False  # not the best, and cannot be told from it
    rank: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a panel.

    Its `kind` is "measured" (a method as it ran), "published" (as the paper prints it), "gap" (not run, or run without
    success: `reason` says which, and what to do) or "ceiling" (the most that the gallery allows).
    """

    kind: str
    method: str
    scale: str = ""
    backbone: str
    weights: str  # the origin; for a published row the table it stands in
    machine: str = ""  # told where prices are compared
    data: str = ""  # protocol, crop and images; told where they are mixed in one panel
    seeds: int = 0
    reason: str = ""
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The rows of one data set under one protocol and crop."""

    dataset: str
    protocol: str
    crop: str
    fingerprint: str  # empty where nothing was measured, or where data are mixed
    part: str = ""  # which of the data set's rows stand here: "" for methods, "irgen, varied" for one's variants
    title: str
    columns: tuple[Quantity, ...]
    headline: str = ""  # key of the column whose ranks are printed where there is room for one
    rows: tuple[Row, ...]
    notes: tuple[str, ...]  # gaps and their reasons, queries left out


@dataclass(frozen=True, kw_only=True)
class Table:
    """What `irbench table` prints."""

    metric: str
    number: int = 0  # of the paper's table that this one follows row by row; 0 for any other
    title: str
    caption: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...]


def table(
    results: Iterable[Result],
    metric: str,
    *,
    datasets: Sequence[str] = (),
    paper: bool = True,
    include_shortened: bool = False,
) -> Table:
    """Return the table of one metric, or price, over the results.

    Args:
        results: any mixture of results.
        metric: "precision", "recall" … "latency" or "footprint".
        datasets: those to show; none means all that were measured.
        paper: print the paper's numbers where they were made under the same protocol.
        include_shortened: show results that saw only a part of the data or of the training; they say so.
    """
    words = subject(metric)
    chosen = [result for result in results if not datasets or result.dataset.name in datasets]
    chosen = [result for result in chosen if can_say(result, metric)]
    shown = [result for result in chosen if include_shortened or not result.shortened]
    panels = [_measured_panel(group, metric, paper=paper) for group in _by_fingerprint(shown)]
    wanted = [name for name in datasets if paper and not any(_holds_paper(panel, name) for panel in panels)]
    panels += [panel for name in wanted if (panel := _published_panel(name, metric)).rows]
    notes = _left_out(len(chosen) - len(shown), sorted(set(datasets) - {panel.dataset for panel in panels}))
    return Table(metric=metric, title=words.title, caption=words.caption, panels=tuple(panels), notes=tuple(notes))


def _by_fingerprint(results: Sequence[Result]) -> list[list[Result]]:
    groups = defaultdict(list)
    for result in results:
        facts = result.dataset
        groups[facts.name, facts.protocol, facts.crop, facts.fingerprint].append(result)
    return [groups[key] for key in sorted(groups)]


def _name(facts: Dataset) -> str:
    """The data set as the paper's tables name it: "-fresh" where half of the gallery was added after training."""
    return f"{facts.name}-fresh" if facts.fresh else facts.name


def _holds_paper(panel: Panel, dataset: str) -> bool:
    return (panel.dataset, panel.protocol, panel.crop) == (dataset, published.PROTOCOL, published.CROP)


def _left_out(shortened: int, unmeasured: Sequence[str]) -> Iterator[str]:
    if shortened:
        yield f"{shortened} shortened results, which saw a part of the data or of the training, are left out"
    for name in unmeasured:
        yield f"{name}: nothing measured yet"


def _measured_panel(results: Sequence[Result], metric: str, *, paper: bool) -> Panel:
    facts = results[0].dataset
    name = _name(facts)
    comparable = paper and (facts.protocol, facts.crop) == (published.PROTOCOL, published.CROP)
    numbers = published.published(metric, name) if comparable else {}
    columns = quantities(metric, results, [key.k for key in numbers])
    rows = [*_measured_rows(results, metric, columns), *_published_rows(metric, name, columns, keep=comparable)]
    return Panel(
        dataset=name,
        protocol=facts.protocol,
        crop=facts.crop,
        fingerprint=facts.fingerprint,
        title=f"{name} · {facts.protocol} · crop {facts.crop} · data {facts.fingerprint[:8]}",
        columns=columns,
        rows=tuple(_mark_best(_in_order(rows), columns)),
        notes=tuple(_notes(results, columns)),
    )


def _published_panel(dataset: str, metric: str) -> Panel:
    columns = quantities(metric, (), [key.k for key in published.published(metric, dataset)])
    return Panel(
        dataset=dataset,
        protocol=published.PROTOCOL,
        crop=published.CROP,
        fingerprint="",
        title=f"{dataset} · {published.PROTOCOL} · crop {published.CROP} · published only",
        columns=columns,
        rows=tuple(_in_order(_published_rows(metric, dataset, columns, keep=True))),
        notes=(f"nothing measured under this protocol yet: irbench run --dataset {dataset}",),
    )


def _published_rows(metric: str, dataset: str, columns: Sequence[Quantity], *, keep: bool) -> Iterator[Row]:
    numbers = published.published(metric, dataset) if keep else {}
    for method, search in dict.fromkeys((key.method, key.search) for key in numbers):
        here = {f"{metric}@{key.k}": number for key, number in numbers.items() if key[:2] == (method, search)}
        percents = (here[column.key].percent if column.key in here else None for column in columns)
        yield Row(
            kind="published",
            method=f"{method}+{search}" if search else method,
            backbone="published",
            weights="; ".join(dict.fromkeys(number.source for number in here.values())),
            cells=tuple(Cell(percent) for percent in percents),
        )


def _measured_rows(results: Sequence[Result], metric: str, columns: Sequence[Quantity]) -> Iterator[Row]:
    """One row for each cell as it ran; a cell of which no seed succeeded is a row of gaps."""
    groups: dict[Hashable, list[Result]] = defaultdict(list)
    for result in results:
        groups[result.cell, result.scale, result.recipe.hash, *sorted(result.shortened.items())].append(result)
    for group in groups.values():
        for same in _as_they_ran([result for result in group if result.status == "ok"] or group[:1], metric):
            yield _row(same, metric, columns)


def _as_they_ran(results: Sequence[Result], metric: str) -> Iterable[list[Result]]:
    """Part the seeds of a cell that ran on different networks, or, where prices are compared, different machines."""
    groups = defaultdict(list)
    for result in results:
        groups[result.backbone, _machine(result, metric)].append(result)
    return groups.values()


def _machine(result: Result, metric: str) -> str:
    if metric not in PRICES or not result.environment:
        return ""
    told = result.environment
    return f"{told.get('gpu') or told.get('cpu')}, {told.get('threads')} threads, {told.get('precision')}"


def _row(seeds: Sequence[Result], metric: str, columns: Sequence[Quantity]) -> Row:
    first = seeds[0]
    done = [result for result in seeds if result.status == "ok"]
    return Row(
        kind="measured",
        method=_label(first),
        scale=first.scale,
        backbone=first.backbone.name if first.backbone else "—",
        weights=first.backbone.weights if first.backbone else "",
        machine=_machine(first, metric),
        seeds=len(done),
        cells=tuple(_cell([column.read(result) for result in done]) for column in columns),
    )


def _label(result: Result) -> str:
    parts = ", ".join(f"{key}={value}" for key, value in sorted(result.shortened.items()))
    return result.cell + (f" (shortened: {parts})" if parts else "")


def _cell(readings: Sequence[Reading]) -> Cell:
    known = [(reading.value, reading.interval) for reading in readings if reading.value is not None]
    if not known:
        return Cell()
    if len(known) == 1:
        return Cell(*known[0])
    values = [value for value, _ in known]
    return Cell(fmean(values), deviation=stdev(values))


def _in_order(rows: Iterable[Row]) -> list[Row]:
    """Sort by method, so that what the paper says stands below what was measured of the same method and search."""
    return sorted(rows, key=lambda row: (row.method.partition("@")[0], row.kind, row.method, row.scale))


def _mark_best(rows: Sequence[Row], columns: Sequence[Quantity]) -> list[Row]:
    """Mark, of two or more measured values, the best as printed; of what the paper says none."""
    best = [_best(column, [row.cells[i].value for row in rows if row.kind == "measured"])
            for i, column in enumerate(columns)]  # fmt: skip
    return [
        row if row.kind != "measured" else replace(row, cells=tuple(
            replace(cell, best=cell.value is not None and round(cell.value, column.digits) == value)
            for cell, column, value in zip(row.cells, columns, best, strict=True)))
        for row in rows
    ]  # fmt: skip


def _best(column: Quantity, values: Sequence[float | None]) -> float | None:
    known = [round(value, column.digits) for value in values if value is not None]
    if len(known) < 2 or not column.better:
        return None
    return max(known, key=lambda value: column.better * value)


def _notes(results: Sequence[Result], columns: Sequence[Quantity]) -> Iterator[str]:
    """What is missing and why, one line for each reason."""
    seeds: dict[tuple[str, str], list[int]] = defaultdict(list)
    for result in results:
        for why in _gaps(result, columns):
            seeds[f"{_label(result)} ({result.scale})", why].append(result.seed)
    for (cell, why), which in seeds.items():
        yield f"{cell}, seed {', '.join(map(str, sorted(which)))}: {why}"
    recipes = defaultdict(set)
    for result in results:
        recipes[f"{_label(result)} ({result.scale})"].add(result.recipe.hash)
    yield from (f"{cell}: {len(used)} recipes, a row for each" for cell, used in recipes.items() if len(used) > 1)
    for result in results:
        missed = result.retriever.get("beam_misses")
        if isinstance(missed, dict):
            queries, leaves = (100 * float(str(missed[part])) for part in ("queries", "leaves"))
            yield (
                f"{_label(result)}, seed {result.seed}: beam search would have missed {leaves:.2f} % of these "
                f"identifiers, one or more for {queries:.1f} % of the queries"
            )
    facts = results[0].dataset
    if facts.without_positives:
        yield f"{facts.without_positives} of {facts.queries} queries have no positive in the gallery and are left out"


def _gaps(result: Result, columns: Sequence[Quantity]) -> Iterator[str]:
    if result.status != "ok":
        yield f"{result.status}: {result.reason}"
        return
    reasons = defaultdict(list)
    for column in columns:
        if reason := column.read(result).reason:
            reasons[reason].append(column.key)
    for reason, keys in reasons.items():
        yield f"{', '.join(keys)}: {reason}"
