"""Tables as text for a terminal, Markdown, LaTeX, CSV or JSON.

CSV is written by pandas. Markdown is not: its to_markdown needs a further library and escapes no markup.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from irbench.core.errors import check_choice
from irbench.report.latex import as_latex
from irbench.report.panel import Panel, Row, Table
from irbench.report.text import as_text
from irbench.report.wording import TIED, captions, headings, number, spread, words


def render(tables: Table | Sequence[Table], format: str, *, width: int = 110, color: bool = False) -> str:  # noqa: A002 -- as on the CLI
    """Return one table, or several as one text, in one of `FORMATS`; `width` in columns and `color` concern text."""
    several = [tables] if isinstance(tables, Table) else list(tables)
    if format == "text":
        return "\n\n".join(as_text(table, width, color=color) for table in several)
    check_choice("--format", format, FORMATS)
    return _WRITERS[format](several)


def _markdown(table: Table) -> str:
    lines = [f"## {_plain_markdown(table.title)}", ""]
    for panel in table.panels:
        names = headings(panel)
        rules = ["---"] * len(names) + ["---:"] * len(panel.columns)
        labels = [_plain_markdown(name) for name in (*names, *(column.label for column in panel.columns))]
        lines += [f"### {_plain_markdown(panel.title)}", "", _barred(labels), _barred(rules)]
        lines += [_barred(_markdown_cells(row, panel)) for row in panel.rows]
        lines += ["", *(f"- {_plain_markdown(note)}" for note in panel.notes), ""]
    lines += [_plain_markdown(line) + "  " for line in (*captions(table, best="bold"), *table.notes)]
    return "\n".join(lines) + "\n"


def _markdown_cells(row: Row, panel: Panel) -> Iterator[str]:
    yield from map(_plain_markdown, words(row, panel))
    for cell, column in zip(row.cells, panel.columns, strict=True):
        value = number(cell, column)
        shown = f"**{value}**" if cell.best else (TIED if cell.tied else "") + value
        yield " ".join(filter(None, (shown, _plain_markdown(spread(cell, column)))))


def _barred(cells: "Sequence[str] | Iterator[str]") -> str:
    return "| " + " | ".join(cells) + " |"


def _plain_markdown(text: str) -> str:
    """Escape what Markdown, or the HTML in it, would take for markup."""
    entities = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|_*`\[\]#~])", r"\\\1", " ".join(entities.split()))


_CSV = ("table", "metric", "dataset", "part", "protocol", "crop", "fingerprint", "kind", "method", "family", "search",
        "variant", "data", "scale", "precision", "backbone", "weights", "machine", "threads", "seeds", "reason",
        "quantity", "value", "low", "high", "deviation", "short", "best", "p", "tied",
        "rank_from", "rank_to")  # fmt: skip
_FORMULA = tuple("=+-@\t\r")  # how a text begins that a spreadsheet takes for a formula


def _csv(tables: Sequence[Table]) -> str:
    """One line for each number, unrounded; a gap is an empty value."""
    import pandas as pd

    frame = pd.DataFrame(_csv_lines(tables), columns=list(_CSV), dtype=object)
    return str(frame.to_csv(index=False, lineterminator="\n"))


def _csv_lines(tables: Sequence[Table]) -> Iterator[dict[str, object]]:
    for table in tables:
        for panel in table.panels:
            for row in panel.rows:
                facts = {"table": table.number or "", "metric": table.metric} | _facts(panel) | _facts(row)
                facts = {key: _no_formula(value) for key, value in facts.items()}
                yield from (facts | numbers for numbers in _csv_cells(row, panel))


def _no_formula(value: object) -> object:
    """Put an apostrophe before a text that a spreadsheet would compute."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _csv_cells(row: Row, panel: Panel) -> Iterator[dict[str, object]]:
    for cell, column in zip(row.cells, panel.columns, strict=True):
        low, high = cell.interval or (None, None)
        first, last = cell.rank or (None, None)
        yield {
            "quantity": column.key, "value": cell.value, "low": low, "high": high, "deviation": cell.deviation,
            "short": cell.short, "best": int(cell.best), "p": cell.p, "tied": int(cell.tied),
            "rank_from": first, "rank_to": last,
        }  # fmt: skip


def _facts(item: Table | Panel | Row) -> dict[str, object]:
    return {key: value for key, value in vars(item).items() if isinstance(value, str | int)}


def _json(tables: Sequence[Table]) -> str:
    documents = [_document(table) for table in tables]
    whole = documents[0] if len(documents) == 1 else {"tables": documents}
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _document(table: Table) -> dict[str, object]:
    panels = [_facts(panel) | {"rows": _json_rows(panel), "notes": panel.notes} for panel in table.panels]
    return _facts(table) | {"panels": panels, "notes": table.notes}


def _json_rows(panel: Panel) -> list[dict[str, object]]:
    keys = [column.key for column in panel.columns]
    return [_facts(row) | {"cells": dict(zip(keys, map(asdict, row.cells), strict=True))} for row in panel.rows]


_WRITERS: dict[str, Callable[[Sequence[Table]], str]] = {
    "markdown": lambda tables: "\n\n".join(map(_markdown, tables)),
    "latex": lambda tables: "\n\n".join(map(as_latex, tables)),
    "csv": _csv,
    "json": _json,
}
FORMATS = ("text", *_WRITERS)
