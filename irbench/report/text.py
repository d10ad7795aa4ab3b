"""A table as text for a terminal."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from irbench.report.panel import Cell, Panel, Row, Table
from irbench.report.quantities import Quantity
from irbench.report.wording import (
    GAP,
    TIED,
    brief,
    captions,
    has_ranks,
    has_results,
    number,
    rank,
    rank_heading,
    shared_machine,
    spread,
    threads,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_NAME = 26  # columns, beyond which a method's name is broken after a comma
_FOLDED = 20  # columns that are left for what gives way: "trained from scratch"


@dataclass(frozen=True)
class _Words:
    """A column of words, before the numbers."""

    heading: str
    cells: list[str]
    justify: Literal["left", "right"] = "left"
    gives_way: bool = False  # is folded where the terminal is narrow

    @property
    def width(self) -> int:
        """Columns of the terminal that it needs at least."""
        longest = max(_width(cell) for cell in (self.heading, *self.cells))
        return min(longest, _FOLDED) if self.gives_way else longest


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
        _print_panel(panel, console.print, width=width, color=color)
        for note in panel.notes:
            console.print(_filled(f"  {GAP} {note}", width, "    "))
    console.print()
    for line in (*captions(table, best="bold" if color else "*"), *table.notes):
        console.print(_filled(line, width, "  "), style="dim")
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _filled(text: str, width: int, indent: str) -> str:
    """Return the text in lines, of which none ends within a name or an option of a command."""
    return textwrap.fill(text, width, subsequent_indent=indent, break_on_hyphens=False)


def _print_panel(panel: Panel, echo: Callable[..., None], *, width: int, color: bool) -> None:
    """Print the panel; where its columns do not fit, the rest of them below, with the methods again."""
    machine = shared_machine(panel)
    if machine:
        echo(f"  all on: {machine}")
    numbers = [[_lines(cell, column, color=color) for cell, column in zip(row.cells, panel.columns, strict=True)]
               for row in panel.rows]  # fmt: skip
    words = _words(panel, machine)
    for i, block in enumerate(_blocks(panel, words, numbers, width)):
        if i:
            echo()
        _print_block(panel, words if not i else words[:1], numbers, block, echo)


def _print_block(
    panel: Panel, words: list[_Words], numbers: list[list["Text"]], block: range, echo: Callable[..., None]
) -> None:
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column in words:
        grid.add_column(column.heading, justify=column.justify, no_wrap=not column.gives_way, overflow="fold")
    for c in block:
        grid.add_column(_heading(panel.columns[c].label), justify="right", no_wrap=True)
    for r, row in enumerate(panel.rows):
        written = [Text(column.cells[r]) for column in words]
        grid.add_row(*written, *(numbers[r][c] for c in block), style="" if row.kind == "measured" else "dim")
    echo(grid)


def _words(panel: Panel, machine: str) -> list[_Words]:
    above: Sequence[Row | None] = (None, *panel.rows)
    found = [_Words("method", list(map(_name, panel.rows, above)))]
    makers = [_maker(row, machine) for row in panel.rows]
    if not has_results(panel):
        return [*found, _Words("from", makers, gives_way=True)]
    found.append(_Words("scale, precision,\nbackbone, weights", makers, gives_way=True))
    found.append(_Words("seeds", [str(row.seeds or "") for row in panel.rows], "right"))
    if has_ranks(panel):
        found.append(_Words(_heading(rank_heading(panel)), [rank(row, panel) for row in panel.rows], "right"))
    return found


def _blocks(panel: Panel, words: list[_Words], numbers: list[list["Text"]], width: int) -> list[range]:
    """Part the columns so that they fit beside the words: between metrics first, then wherever they must be."""
    needs = [2 + max(_width(text) for text in (_heading(column.label), *(row[c].plain for row in numbers)))
             for c, column in enumerate(panel.columns)]  # fmt: skip
    room = width - sum(column.width + 2 for column in words) + 2
    if sum(needs) <= room:
        return [range(len(needs))]
    starts, used = [0], 0
    for c, need in enumerate(needs):
        if c > starts[-1] and (used + need > room or _about(panel, c) != _about(panel, c - 1)):
            starts.append(c)
            used, room = 0, width - words[0].width
        used += need
    return [range(start, end) for start, end in pairwise([*starts, len(needs)])]


def _about(panel: Panel, c: int) -> str:
    """The metric of a column; both definitions of precision are one."""
    name, at, _ = panel.columns[c].key.partition("@")
    return name.removesuffix("_irgen") if at else ""


def _heading(label: str) -> str:
    return label.replace(" ", "\n", 1)


def _width(text: str) -> int:
    return max(map(len, text.split("\n")))


def _name(row: Row, above: Row | None) -> str:
    """Return the method, broken where it is long; not again below a row of the same."""
    if above is not None and above.method == row.method and above.kind != row.kind and not row.data:
        return ""
    lines = textwrap.wrap(row.method.replace(" (", "\n(").replace(",", ", "), _NAME, break_on_hyphens=False)
    return "\n".join([*(line.replace(", ", ",") for line in lines), *([row.data] if row.data else [])])


def _maker(row: Row, machine: str) -> str:
    """What a row was made with, one item a line; the processor that all rows share is left out."""
    network = brief(replace(row, scale="", precision=""))
    items = filter(None, [*network, "" if machine else row.machine, threads(row)])
    return " · ".join([*filter(None, (row.scale, row.precision)), "\n".join(items)])


def _lines(cell: Cell, column: Quantity, *, color: bool) -> "Text":
    """A number above its spread; the best one bold, or marked with a star where there is no bold."""
    from rich.text import Text

    mark = "*" if cell.best and not color else TIED if cell.tied else ""
    text = Text(mark + number(cell, column), style="bold" if cell.best else "")
    bounds = spread(cell, column, "{}-{}")  # narrow
    return text.append(f"\n{bounds}", style="dim not bold") if bounds else text
