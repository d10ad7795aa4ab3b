"""A regression check as text for a terminal, as Markdown for a page of CI, or as JSON."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from io import StringIO

from irbench.report.text import plain_console
from irbench.report.wording import enumerated
from irbench.results.regression.compare import Comparison
from irbench.results.regression.cost import CostChange
from irbench.results.regression.limits import Limits
from irbench.results.regression.quality import Change

_COLORS = {
    "worse": "bold red",
    "unlike": "bold red",
    "undecided": "bold yellow",
    "skipped": "bold yellow",
    "better": "green",
    "missing": "yellow",
    "new": "cyan",
}
_NAME = 12  # columns that a cell's name has at least


def as_json(comparisons: Sequence[Comparison], limits: Limits, problems: Sequence[str] = (), *, passed: bool) -> str:
    """Return one JSON document."""
    document = {
        "passed": passed,
        "problems": list(problems),
        "limits": asdict(limits),
        "cells": [asdict(one) for one in comparisons],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_text(comparisons: Sequence[Comparison], limits: Limits, *, width: int = 110, color: bool = False) -> str:
    """Return a table of all cells, then reasons and notes, then a summary."""
    out = StringIO()
    console = plain_console(out, width, color=color)
    present = [one for one in comparisons if one.verdict != "missing"]
    for dataset in dict.fromkeys(one.dataset for one in present):
        for grid in _grids(dataset, [one for one in present if one.dataset == dataset], width):
            console.print(grid)
            console.print()
    for line in (*_reasons(present), *_notes(present), *_missing(comparisons), *_summary(comparisons, limits)):
        console.print(line)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def as_markdown(
    comparisons: Sequence[Comparison], limits: Limits, problems: Sequence[str] = (), *, passed: bool
) -> str:
    """Return a page of GitHub's Markdown: the outcome, what changed, a table for each data set, and the notes."""
    present = [one for one in comparisons if one.verdict != "missing"]
    counts, *limits_text = _summary(comparisons, limits)
    lines = [f"### irbench check: {'passed' if passed else 'failed'}", "", counts, ""]
    lines += [f"- {_escaped(line)}" for line in (*problems, *_reasons(present), *_missing(comparisons))]
    for dataset in dict.fromkeys(one.dataset for one in present):
        heading, rows = _rows(dataset, [one for one in present if one.dataset == dataset])
        align = [":---", *["---:"] * (len(heading) - 2), ":---"]
        lines += ["", *(f"| {' | '.join(map(_escaped, row))} |" for row in (heading, align, *rows))]
    lines += ["", *(f"- {_escaped(line)}" for line in (*_notes(present), *limits_text))]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))


def _rows(dataset: str, comparisons: Sequence[Comparison]) -> tuple[list[str], list[list[str]]]:
    """Return the heading of a data set's table and a row for each cell; the verdict stands last."""
    names = list(dict.fromkeys(change.metric for one in comparisons for change in one.quality))
    rows = []
    for one in comparisons:
        moved = {change.metric: _moved(change) for change in one.quality}
        times = [_ratio(item) for item in one.cost if item.name == "query ms"]
        seeds = ",".join(map(str, one.seeds)) or "—"
        rows.append([one.cell, seeds, *(moved.get(name, "—") for name in names), *(times or ["—"]), one.verdict])
    return [dataset, "seeds", *names, "query ms", "verdict"], rows


def _grids(dataset: str, comparisons: Sequence[Comparison], width: int) -> Iterator[object]:
    """Yield the table of a data set in as many parts as the width needs, each with names and verdicts."""
    heading, rows = _rows(dataset, comparisons)
    needed = [1 + max(len(row[column]) for row in (heading, *rows)) for column in range(len(heading))]
    free = width - min(needed[0], max(width // 3, _NAME)) - needed[-1]
    parts: list[list[int]] = [[]]
    for column in range(1, len(heading) - 1):
        if parts[-1] and sum(needed[other] for other in (*parts[-1], column)) > free:
            parts.append([])
        parts[-1].append(column)
    for part in parts:
        chosen = [0, *part, len(heading) - 1]
        yield _grid([heading[column] for column in chosen], [[row[column] for column in chosen] for row in rows])


def _grid(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> object:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    first, *others, last = heading
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    grid.add_column(first, overflow="fold")
    for other in others:
        grid.add_column(other, justify="right", no_wrap=True)
    grid.add_column(last, no_wrap=True)
    for *cells, verdict in rows:
        grid.add_row(*cells, Text(verdict, style=_COLORS.get(verdict, "")))
    return grid


def _moved(change: Change) -> str:
    """Return percent and the change in points; "=" where it is known that the score of no query differs."""
    if change.worse == change.better == 0:
        return f"{100 * change.after:.1f} ="
    return f"{100 * change.after:.1f} {100 * (change.after - change.before):+.2f}"


def _ratio(item: CostChange) -> str:
    return f"{item.after:.2f} x{item.after / item.before:.2f}" if item.before else f"{item.after:.2f}"


def _reasons(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Yield the evidence for each change."""
    for one in comparisons:
        where = f"{one.cell} on {one.dataset}"
        for change in one.quality:
            if change.verdict != "same":
                yield f"{change.verdict}: {where}: {change.metric} {_percents(change)}, {_evidence(change)}"
        for item in one.cost:
            if item.verdict != "same":
                yield (
                    f"{item.verdict}: {where}: {item.name} {item.before:,.4g} → {item.after:,.4g} "
                    f"(tolerated: x{item.limit:.4g})"
                )


def _percents(change: Change) -> str:
    return f"{100 * change.before:.2f} → {100 * change.after:.2f}"


def _evidence(change: Change) -> str:
    if change.p is None or change.p_alone is None:
        overlap = "overlap" if change.verdict == "undecided" else "do not overlap"
        return f"95 % confidence intervals {overlap}"
    corrected = f" ({change.p:.2g} after correction)" if change.p > change.p_alone else ""
    found = (
        f"{change.worse} queries worse and {change.better} better of {change.of}, p = {change.p_alone:.2g}{corrected}"
    )
    if change.verdict != "undecided":
        return found
    if change.least is None:
        return f"{found}; so few queries show no drop"
    return f"{found}; where no query gains, so many show drops from {100 * change.least:.1f} points on"


def _notes(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Yield each note once, with all its cells."""
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
            which = enumerated(missing) if len(missing) < len(cells) else "all cells of the baseline"
            yield f"{len(missing)} missing on {dataset}: {which}"


def _summary(comparisons: Sequence[Comparison], limits: Limits) -> Iterator[str]:
    counts = Counter(one.verdict for one in comparisons)
    order = ("worse", "unlike", "undecided", "skipped", "missing", "better", "same", "new")
    yield ", ".join(f"{counts[verdict]} {verdict}" for verdict in order if counts[verdict])
    yield (
        f"reported as changes: p ≤ {limits.alpha:g} (paired randomisation test, Holm-corrected) and at least "
        f"{100 * limits.floor:g} points, or few queries affected; query times beyond x{limits.slower:g}"
    )
    slower = [p for one in comparisons for p in one.cost if p.name == "query ms" and p.verdict == "worse"]
    if len(slower) > 2 and len(slower) == sum(bool(one.cost) for one in comparisons):
        yield "queries of every cell are slower: if other programs used the CPU, rerun with --force on an idle machine"
