"""A table as text for a terminal."""

import textwrap
from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING

from irbench.report.panel import Cell, Panel, Row, Table
from irbench.report.quantities import Quantity
from irbench.report.wording import (
    GAP,
    TIED,
    captions,
    has_ranks,
    has_results,
    made_with,
    number,
    rank,
    rank_heading,
    spread,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_NAME = 26  # columns, beyond which a method's name is broken after a comma


def plain_console(out: StringIO, width: int, *, color: bool) -> "Console":
    """Return a console that prints to `out` what it is given: nothing in it is markup."""
    from rich.console import Console

    return Console(
        file=out,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        markup=False,
        emoji=False,
    )


def as_text(table: Table, width: int, *, color: bool) -> str:
    """Return the table, `width` columns wide."""
    out = StringIO()
    console = plain_console(out, width, color=color)
    console.print(table.title, style="bold")
    for panel in table.panels:
        console.print()
        console.print(panel.title)
        _print_panel(panel, console.print, color=color)
        for note in panel.notes:
            console.print(textwrap.fill(f"{GAP} {note}", width, initial_indent="  ", subsequent_indent="    "))
    console.print()
    for line in (*captions(table, best="bold" if color else "marked *"), *table.notes):
        console.print(textwrap.fill(line, width, subsequent_indent="  "), style="dim")
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _print_panel(panel: Panel, echo: Callable[..., None], *, color: bool) -> None:
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    results, ranks = has_results(panel), has_ranks(panel)
    grid.add_column("method", no_wrap=True)
    grid.add_column("scale, backbone,\nweights" if results else "from", overflow="fold")  # gives way where it is narrow
    numeric = [*(["seeds"] if results else []), *([rank_heading(panel)] if ranks else [])]
    for heading in (*numeric, *(column.label for column in panel.columns)):
        grid.add_column(heading.replace(" ", "\n", 1), justify="right", no_wrap=True)
    above: Row | None = None
    for row in panel.rows:
        counts = [*([str(row.seeds or "")] if results else []), *([rank(row, panel)] if ranks else [])]
        numbers = [_lines(cell, column, color=color) for cell, column in zip(row.cells, panel.columns, strict=True)]
        style = "" if row.kind == "measured" else "dim"
        grid.add_row(_name(row, above), Text(_maker(row)), *counts, *numbers, style=style)
        above = row
    echo(grid)


def _name(row: Row, above: Row | None) -> str:
    """Return the method, broken where it is long; not again below a row of the same."""
    if above is not None and above.method == row.method and above.kind != row.kind and not row.data:
        return ""
    lines = textwrap.wrap(row.method.replace(" (", "\n(").replace(",", ", "), _NAME, break_on_hyphens=False)
    return "\n".join([*(line.replace(", ", ",") for line in lines), *([row.data] if row.data else [])])


def _maker(row: Row) -> str:
    return (f"{row.scale} · " if row.scale else "") + "\n".join(made_with(row))


def _lines(cell: Cell, column: Quantity, *, color: bool) -> "Text":
    """A number above its spread; the best one bold, or where there is no bold marked with a star."""
    from rich.text import Text

    mark = "*" if cell.best and not color else TIED if cell.tied else ""
    text = Text(mark + number(cell.value, column), style="bold" if cell.best else "")
    bounds = spread(cell, column, "{}-{}")  # narrow
    return text.append(f"\n{bounds}", style="dim not bold") if bounds else text
