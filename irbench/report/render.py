"""A table as text for a terminal, Markdown, LaTeX, CSV or JSON."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from io import StringIO
from typing import TYPE_CHECKING

from irbench.errors import check_choice
from irbench.report.quantities import Quantity
from irbench.report.table import Cell, Panel, Row, Table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

GAP = "—"


def render(table: Table, format: str, *, width: int = 110, color: bool = False) -> str:  # noqa: A002 -- as on the CLI
    """Return the table in one of `FORMATS`; `width` in columns and `color` concern text only."""
    if format == "text":
        return _text(table, width, color=color)
    check_choice("--format", format, FORMATS)
    return _WRITERS[format](table)


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


def _text(table: Table, width: int, *, color: bool) -> str:
    out = StringIO()
    console = plain_console(out, width, color=color)
    console.print(table.title, style="bold")
    for panel in table.panels:
        console.print()
        console.print(panel.title)
        _print_panel(panel, console.print, color=color)
    console.print()
    for line in (*_captions(table, best="bold" if color else "marked *"), *table.notes):
        console.print(line, style="dim")
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _print_panel(panel: Panel, echo: Callable[..., None], *, color: bool) -> None:
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("method", no_wrap=True)
    grid.add_column("scale", no_wrap=True)
    grid.add_column("backbone, weights", overflow="fold")  # the one that gives way where the terminal is narrow
    for heading in ("seeds", *(column.label for column in panel.columns)):
        grid.add_column(heading, justify="right", no_wrap=True)
    for row in panel.rows:
        dim = row.kind == "published"
        who = (", " if dim else "\n").join(part for part in (row.backbone, _short(row.weights), row.machine) if part)
        numbers = [_lines(cell, column, color=color) for cell, column in zip(row.cells, panel.columns, strict=True)]
        method = row.method.replace(" (", "\n(")
        grid.add_row(method, row.scale, Text(who), str(row.seeds or ""), *numbers, style="dim" if dim else "")
    echo(grid)
    for note in panel.notes:
        echo(f"  {GAP} {note}")


def _lines(cell: Cell, column: Quantity, *, color: bool) -> "Text":
    """A number above its spread; the best one bold, or where there is no bold marked with a star."""
    from rich.text import Text

    mark = "*" if cell.best and not color else ""
    text = Text(mark + _number(cell.value, column), style="bold" if cell.best else "")
    spread = _spread(cell, column, "{}-{}")  # narrow
    return text.append(f"\n{spread}", style="dim not bold") if spread else text


def _name(row: Row) -> str:
    return f"{row.method} (published)" if row.kind == "published" else row.method


def _number(value: float | None, column: Quantity) -> str:
    return GAP if value is None else f"{value:.{column.digits}f}"


def _spread(cell: Cell, column: Quantity, form: str = "[{}, {}]") -> str:
    if cell.deviation is not None:
        return f"±{cell.deviation:.{column.digits}f}"
    if cell.interval is not None:
        return form.format(*(f"{bound:.{column.digits}f}" for bound in cell.interval))
    return ""


def _short(weights: str) -> str:
    """Cut the hash in a weights' origin to what a person compares."""
    return re.sub(r"(?<=sha256:)([0-9a-f]{8})[0-9a-f]+", r"\1…", weights)


def _captions(table: Table, *, best: str) -> Iterator[str]:
    yield table.caption
    cells = [cell for row in _rows(table) for cell in row.cells]
    if any(cell.interval for cell in cells):
        yield "two bounds: the 95 % interval of one seed's mean over the queries"
    if any(cell.deviation is not None for cell in cells):
        yield "±: the standard deviation over the seeds"
    if any(cell.best for cell in cells):
        yield f"best measured value {best}"
    if any(row.kind == "published" for row in _rows(table)):
        yield "published: the paper's numbers, made with its own networks and data; not measured here"


def _rows(table: Table) -> Iterator[Row]:
    return (row for panel in table.panels for row in panel.rows)


def _headings(panel: Panel) -> list[str]:
    machine = ["machine"] if any(row.machine for row in panel.rows) else []
    return ["method", "scale", "backbone", "weights", *machine, "seeds", *(column.label for column in panel.columns)]


def _fields(row: Row, panel: Panel) -> list[str]:
    """The words of a row, before its numbers."""
    machine = [row.machine] if any(other.machine for other in panel.rows) else []
    return [_name(row), row.scale, row.backbone, _short(row.weights), *machine, str(row.seeds or "")]


def _markdown(table: Table) -> str:
    lines = [f"## {_plain_markdown(table.title)}", ""]
    for panel in table.panels:
        headings = [_plain_markdown(heading) for heading in _headings(panel)]
        rules = ["---"] * (len(headings) - len(panel.columns)) + ["---:"] * len(panel.columns)
        lines += [f"### {_plain_markdown(panel.title)}", "", _barred(headings), _barred(rules)]
        lines += [_barred(_markdown_cells(row, panel)) for row in panel.rows]
        lines += ["", *(f"- {_plain_markdown(note)}" for note in panel.notes), ""]
    lines += [_plain_markdown(line) + "  " for line in (*_captions(table, best="bold"), *table.notes)]
    return "\n".join(lines) + "\n"


def _markdown_cells(row: Row, panel: Panel) -> Iterator[str]:
    yield from map(_plain_markdown, _fields(row, panel))
    for cell, column in zip(row.cells, panel.columns, strict=True):
        number = _number(cell.value, column)
        yield " ".join(filter(None, (f"**{number}**" if cell.best else number, _plain_markdown(_spread(cell, column)))))


def _barred(cells: "Sequence[str] | Iterator[str]") -> str:
    return "| " + " | ".join(cells) + " |"


def _plain_markdown(text: str) -> str:
    """Escape what Markdown, or the HTML in it, would take for markup."""
    entities = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|_*`\[\]#~])", r"\\\1", " ".join(entities.split()))


def _latex(table: Table) -> str:
    lines = [f"% {' '.join(line.split())}" for line in (table.title, *_captions(table, best="bold"), *table.notes)]
    for panel in table.panels:
        words = len(_headings(panel)) - len(panel.columns)
        lines += [
            "",
            r"\begin{table}",
            rf"\caption{{{_plain_latex(f'{table.title}: {panel.title}')}}}",
            rf"\begin{{tabular}}{{{'l' * words}{'r' * len(panel.columns)}}}",
            r"\hline",
            " & ".join(map(_plain_latex, _headings(panel))) + r" \\",
            r"\hline",
            *(" & ".join(_latex_cells(row, panel)) + r" \\" for row in panel.rows),
            r"\hline",
            r"\end{tabular}",
            *(rf"\par {_plain_latex(note)}" for note in panel.notes),
            r"\end{table}",
        ]
    return "\n".join(lines) + "\n"


def _latex_cells(row: Row, panel: Panel) -> Iterator[str]:
    yield from map(_plain_latex, _fields(row, panel))
    for cell, column in zip(row.cells, panel.columns, strict=True):
        number = _plain_latex(_number(cell.value, column))
        spread = _spread(cell, column)
        small = rf"{{\scriptsize {_plain_latex(spread)}}}" if spread else ""
        yield " ".join(filter(None, (rf"\textbf{{{number}}}" if cell.best else number, small)))


_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "—": "---", "…": r"\ldots{}", "·": r"$\cdot$", "±": r"$\pm$",
    "≤": r"$\le$", "Σ": r"$\Sigma$", "⁶": "$^6$", "\n": " ", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


def _plain_latex(text: str) -> str:
    """Escape what LaTeX would take for a command; done sign by sign, so that no escape is escaped again."""
    return "".join(_LATEX.get(sign, sign) for sign in text)


_CSV = ("dataset", "protocol", "crop", "fingerprint", "kind", "method", "scale", "backbone", "weights", "machine",
        "seeds", "quantity", "value", "low", "high", "deviation")  # fmt: skip


def _csv(table: Table) -> str:
    """One line for each number, unrounded; a gap is an empty value."""
    out = StringIO()
    writer = csv.DictWriter(out, _CSV, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for panel in table.panels:
        for row in panel.rows:
            for cell, column in zip(row.cells, panel.columns, strict=True):
                low, high = cell.interval or (None, None)
                numbers = {"value": cell.value, "low": low, "high": high, "deviation": cell.deviation}
                writer.writerow(_facts(panel) | _facts(row) | {"quantity": column.key} | numbers)
    return out.getvalue()


def _facts(item: Panel | Row) -> dict[str, object]:
    return {key: value for key, value in vars(item).items() if isinstance(value, str | int)}


def _json(table: Table) -> str:
    panels = [_facts(panel) | {"rows": _json_rows(panel), "notes": panel.notes} for panel in table.panels]
    document = _facts_of(table) | {"panels": panels, "notes": table.notes}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _facts_of(table: Table) -> dict[str, object]:
    return {"metric": table.metric, "title": table.title, "caption": table.caption}


def _json_rows(panel: Panel) -> list[dict[str, object]]:
    keys = [column.key for column in panel.columns]
    return [_facts(row) | {"cells": dict(zip(keys, map(asdict, row.cells), strict=True))} for row in panel.rows]


_WRITERS: dict[str, Callable[[Table], str]] = {"markdown": _markdown, "latex": _latex, "csv": _csv, "json": _json}
FORMATS = ("text", *_WRITERS)
