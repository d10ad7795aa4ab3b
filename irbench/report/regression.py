"""A check as text for a terminal, or as JSON."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from io import StringIO

from irbench.report.text import plain_console
from irbench.results.regression.compare import Comparison
from irbench.results.regression.cost import CostChange
from irbench.results.regression.limits import Limits
from irbench.results.regression.quality import Change

_COLORS = {"worse": "bold red", "unlike": "bold red", "better": "green", "missing": "yellow", "new": "cyan"}


def as_json(comparisons: Sequence[Comparison], limits: Limits, *, passed: bool) -> str:
    """Return one JSON document."""
    document = {"passed": passed, "limits": asdict(limits), "cells": [asdict(one) for one in comparisons]}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_text(comparisons: Sequence[Comparison], limits: Limits, *, width: int = 110, color: bool = False) -> str:
    """Return a table of all cells, then what explains it, then the sum of it."""
    out = StringIO()
    console = plain_console(out, width, color=color)
    present = [one for one in comparisons if one.verdict != "missing"]
    for dataset in dict.fromkeys(one.dataset for one in present):
        console.print(_grid(dataset, [one for one in present if one.dataset == dataset]))
        console.print()
    for line in (*_reasons(present), *_notes(present), *_missing(comparisons), *_summary(comparisons, limits)):
        console.print(line)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _grid(dataset: str, comparisons: Sequence[Comparison]) -> object:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    compared = [change.metric for one in comparisons for change in one.quality]
    names = list(dict.fromkeys(compared))
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    grid.add_column(dataset, overflow="fold")
    for heading in ("seeds", *names, "query ms"):
        grid.add_column(heading, justify="right", no_wrap=True)
    grid.add_column("verdict")
    for one in comparisons:
        moved = {change.metric: _moved(change) for change in one.quality}
        times = [_ratio(price) for price in one.cost if price.name == "query ms"]
        seeds = ",".join(map(str, one.seeds)) or "—"
        verdict = Text(one.verdict, style=_COLORS.get(one.verdict, ""))
        grid.add_row(one.cell, seeds, *(moved.get(name, "—") for name in names), *(times or ["—"]), verdict)
    return grid


def _moved(change: Change) -> str:
    """Write percent and the points that it moved; "=" where no query scored otherwise."""
    if change.before == change.after and not change.worse and not change.better:
        return f"{100 * change.after:.1f} ="
    return f"{100 * change.after:.1f} {100 * (change.after - change.before):+.2f}"


def _ratio(price: CostChange) -> str:
    return f"{price.after:.2f} x{price.after / price.before:.2f}" if price.before else f"{price.after:.2f}"


def _reasons(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Say of each change that counts why it does."""
    for one in comparisons:
        where = f"{one.cell} on {one.dataset}"
        for change in one.quality:
            if change.verdict != "same":
                yield f"{change.verdict}: {where}: {change.metric} {_percents(change)}, {_evidence(change)}"
        for price in one.cost:
            if price.verdict != "same":
                yield (
                    f"{price.verdict}: {where}: {price.name} {price.before:,.4g} → {price.after:,.4g} "
                    f"(x{price.limit:.4g} is tolerated)"
                )


def _percents(change: Change) -> str:
    return f"{100 * change.before:.2f} → {100 * change.after:.2f}"


def _evidence(change: Change) -> str:
    if change.p is None:
        return "and the 95 % intervals do not overlap"
    return f"{change.worse} queries worse and {change.better} better of {change.of}, p = {change.p:.2g}"


def _notes(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Tell each thing once, with all cells that it is true of."""
    cells: dict[str, list[str]] = defaultdict(list)
    for one in comparisons:
        for note in one.notes:
            cells[note].append(f"{one.cell} on {one.dataset}")
        if one.not_run:
            cells[f"not run again: seed {', '.join(map(str, one.not_run))}"].append(f"{one.cell} on {one.dataset}")
    for note, which in cells.items():
        others = f" and {len(which) - 3} other cells" if len(which) > 4 else ""
        yield f"{', '.join(which[:3] if others else which)}{others}: {note}"


def _missing(comparisons: Sequence[Comparison]) -> Iterator[str]:
    for dataset in dict.fromkeys(one.dataset for one in comparisons):
        cells = [one for one in comparisons if one.dataset == dataset]
        missing = [one.cell for one in cells if one.verdict == "missing"]
        if missing:
            yield f"missing on {dataset}: {', '.join(missing) if len(missing) < len(cells) else 'all that is stored'}"


def _summary(comparisons: Sequence[Comparison], limits: Limits) -> Iterator[str]:
    counts = Counter(one.verdict for one in comparisons)
    order = ("worse", "unlike", "missing", "better", "same", "new")
    yield ", ".join(f"{counts[verdict]} {verdict}" for verdict in order if counts[verdict])
    yield (
        f"counted are differences with p ≤ {limits.alpha:g} (randomisation test, Holm over all) of at least "
        f"{100 * limits.floor:g} points, or of few queries; times beyond x{limits.slower:g}"
    )
    slower = [p for one in comparisons for p in one.cost if p.name == "query ms" and p.verdict == "worse"]
    if len(slower) > 2 and len(slower) == sum(bool(one.cost) for one in comparisons):
        yield "every cell answers more slowly: was the machine busy? Then run again with --force"
