"""How numbers, rows and captions are worded; the same for every format that people read."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from irbench.core.text import as_text
from irbench.metrics.retrieval import METRICS
from irbench.report.panel import Cell, Panel, Row, Table
from irbench.report.quantities import TWINS, Quantity
from irbench.report.ranks import ALPHA

_ORIGINS = ("file", "hub", "package")  # with which the origin of weights in a file begins, its name after it
GAP = "—"
TIED = "≈"
SHORT = "†"
_NAMED = 4  # of many, where they are listed in a sentence


def number(cell: Cell, column: Quantity) -> str:
    """Return a value as it is printed, marked where some queries had fewer results than it is about."""
    return GAP if cell.value is None else f"{cell.value:.{column.digits}f}{SHORT if cell.short else ''}"


def enumerated(names: Sequence[str]) -> str:
    """Return one or more names as a part of a sentence: all of them, or the first ones and how many others."""
    shown = names if len(names) <= _NAMED + 1 else [*names[:_NAMED], f"{len(names) - _NAMED} others"]
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def spread(cell: Cell, column: Quantity, form: str = "[{}, {}]") -> str:
    """Return the uncertainty of the number: its interval, else its deviation over the seeds; or nothing."""
    if cell.interval is not None:
        return form.format(*(f"{bound:.{column.digits}f}" for bound in cell.interval))
    if cell.deviation is not None:
        return f"±{cell.deviation:.{column.digits}f}"
    return ""


def rank(row: Row, panel: Panel) -> str:
    """Return the best and worst place that the row may have at the panel's headline: "2-4"; empty where it has none.

    Where only rows with the same seeds compare, it says of how many: "2-4/6".
    """
    cell = _ranked(row, panel)
    if not cell or not cell.rank:
        return ""
    places = "-".join(map(str, dict.fromkeys(cell.rank)))
    return f"{places}/{cell.among}" if _in_parts(panel) else places


def _in_parts(panel: Panel) -> bool:
    """Tell whether ranks are those of several groups of rows, each with seeds of its own."""
    ranked = [row.ran for row in panel.rows if (cell := _ranked(row, panel)) and cell.rank]
    return len(set(ranked)) > 1


def _ranked(row: Row, panel: Panel) -> Cell | None:
    """Return the row's cell at the panel's headline, the one whose rank is printed."""
    cells = zip(row.cells, panel.columns, strict=True)
    return next((cell for cell, column in cells if column.key == panel.headline), None)


def made_with(row: Row) -> list[str]:
    """Return network, origin of its weights and machine; of other rows what they are instead."""
    network = ["no network"] if row.backbone == "none" else [row.backbone, short(row.weights)]
    parts = {
        "measured": [*network, row.machine, threads(row)],
        "published": [f"{row.backbone}, {row.weights}"],
        "gap": [row.reason],
        "upper bound": [row.weights],
    }
    return [part for part in parts[row.kind] if part]


def shared_machine(panel: Panel) -> str:
    """Return the processor of all rows, if it is one; else nothing."""
    known = {row.machine for row in panel.rows if row.machine}
    return known.pop() if len(known) == 1 else ""


def brief(row: Row) -> list[str]:
    """Return what a narrow page has room for of scale, arithmetic, network and the origin of its weights."""
    if row.kind != "measured" or row.backbone == "none":
        network = made_with(replace(row, machine="", threads=0))
    else:
        origin = row.weights.partition(" ")[0]
        network = [row.backbone, f"weights of a {origin}" if origin in _ORIGINS else row.weights]
    return [part for part in (row.scale, row.precision, *network) if part]


def threads(row: Row) -> str:
    """Return the number of threads of a row's machine; empty where it is not shown."""
    return "" if not row.threads else "1 thread" if row.threads == 1 else f"{row.threads} threads"


def short(weights: str) -> str:
    """Shorten the hash in a weights' origin to what a person compares."""
    return re.sub(r"(?<=sha256:)([0-9a-f]{8})[0-9a-f]+", r"\1…", weights)


def headings(panel: Panel) -> list[str]:
    """Return the headings of the words of a row; those of its numbers follow."""
    known = [("method", True), ("data", any(row.data for row in panel.rows)), ("scale", has_results(panel))]
    known += [("precision", has_precision(panel)), ("backbone, weights", True), ("seeds", has_results(panel))]
    known += [(rank_heading(panel), has_ranks(panel))]
    return [heading for heading, shown in known if shown]


def words(row: Row, panel: Panel) -> list[str]:
    """Return the words of a row, one for each of `headings`."""
    known = [(row.method, True), (row.data, any(other.data for other in panel.rows)), (row.scale, has_results(panel))]
    known += [(row.precision, has_precision(panel))]
    known += [(as_text(", ".join(made_with(row))), True), (str(row.seeds or ""), has_results(panel))]
    known += [(rank(row, panel), has_ranks(panel))]
    return [word for word, shown in known if shown]


def has_results(panel: Panel) -> bool:
    """Tell whether any row is more than the paper's, or a gap."""
    return any(row.scale for row in panel.rows)


def has_precision(panel: Panel) -> bool:
    """Tell whether the arithmetic of any row is known."""
    return any(row.precision for row in panel.rows)


def has_ranks(panel: Panel) -> bool:
    """Tell whether any row has a rank."""
    return any(rank(row, panel) for row in panel.rows)


def rank_heading(panel: Panel) -> str:
    """Return the heading of the ranks; it names their column where there are several."""
    label = next((column.label for column in panel.columns if column.key == panel.headline), "")
    return f"rank {label}" if len(panel.columns) > 1 else "rank"


def captions(table: Table, *, best: str) -> Iterator[str]:
    """Yield explanations of the numbers and marks that occur in a table; `best` says how the best is marked."""
    rows = [row for panel in table.panels for row in panel.rows]
    cells = [cell for row in rows for cell in row.cells]
    yield table.caption
    yield from _definitions(table)
    if any(cell.session for cell in cells):
        yield "two bounds: smallest and largest of the rounds in which cells were timed together"
    if any(cell.interval and not cell.session for cell in cells):
        yield "two bounds: 95 % confidence interval over queries, by class, and over seeds where there are several"
    if any(cell.deviation is not None and cell.interval is None for cell in cells):
        yield "±: standard deviation over the seeds"
    if short := [cell.short for cell in cells if cell.short]:
        yield (
            f"{SHORT} {' to '.join(dict.fromkeys(map(_share, (min(short), max(short)))))} of the queries had fewer "
            "results than this number is about; missing results count as misses, and neither it nor a lower one is "
            "marked as the best"
        )
    if any(cell.best for cell in cells):
        seeds = {row.seeds for panel in table.panels for row in panel.rows if row.kind == "measured" and row.seeds}
        yield f"{best}: best measured value{' of the rows with the same seeds' if len(seeds) > 1 else ''}"
    yield from _tests(table, cells)
    if any(row.kind == "upper bound" for row in rows):
        yield "upper bound: score of a perfect ranking"
    if any(row.kind == "published" for row in rows):
        yield "published: the paper's numbers, from its own networks and data; not measured here"


def _share(part: float) -> str:
    return f"{100 * part:.3g} %"


def _definitions(table: Table) -> Iterator[str]:
    """Explain a second definition of the metric that is shown beside the first."""
    twin = TWINS.get(table.metric, "")
    keys = {column.key for panel in table.panels for column in panel.columns}
    if any(key.startswith(f"{twin}@") for key in keys if twin):
        yield f"also shown where they differ: {twin} = {METRICS[twin].formula}"


def _tests(table: Table, cells: Sequence[Cell]) -> Iterator[str]:
    if any(cell.tied and cell.session for cell in cells):
        yield f"{TIED} among the fastest: the rounds do not agree on an order"
    if any(cell.tied and not cell.session for cell in cells):
        yield f"{TIED} no significant difference from the best (p ≥ {ALPHA:g})"
    if any(cell.rank for cell in cells):
        yield (
            "rank 1-6: anywhere from 1st to 6th (paired tests over queries, by class, and over seeds where there are "
            "several, Holm-corrected); one seed does not cover retraining"
        )
    if any(_in_parts(panel) for panel in table.panels):
        yield "rank 2/6: of the six rows with the same seeds; ranks of rows with other seeds do not compare"
    printed = [cell for panel in table.panels for row in panel.rows if (cell := _ranked(row, panel))]
    if any(cell.rank and cell.rank[0] == 1 and cell.p is not None and cell.p < ALPHA for cell in printed):
        yield (
            f"a rank from 1 without {TIED}: significantly below the best by the comparisons with it, though not by "
            "those of all pairs, on which ranks rest"
        )
