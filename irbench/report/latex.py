"""A table as LaTeX: plain tabulars that need no package.

Written by hand, since pandas' Styler.to_latex escapes neither signs such as ≈ and ± nor hyphens of options, and needs
booktabs for rules.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from irbench.report.panel import Panel, Row, Table
from irbench.report.wording import captions, headings, number, spread, words

_SIGNS = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "—": "---", "…": r"\ldots{}", "·": r"$\cdot$", "±": r"$\pm$",
    "≤": r"$\le$", "≥": r"$\ge$", "≈": r"$\approx$", "Σ": r"$\Sigma$", "⁶": "$^6$", "\n": " ",
    "`": r"\textasciigrave{}", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


def as_latex(table: Table) -> str:
    """Return a table environment for each panel; title, captions and notes are in comments above.

    Why a row has no numbers is in comments too: an error has no place in a table of a paper.
    """
    lines = [f"% {' '.join(line.split())}" for line in (table.title, *captions(table, best="bold"), *table.notes)]
    for panel in table.panels:
        lines += ["", *_environment(table, panel)]
    return "\n".join(lines) + "\n"


def _environment(table: Table, panel: Panel) -> Iterator[str]:
    names = headings(panel)
    columns = "".join("p{4.5cm}" if name == "backbone, weights" else "l" for name in names) + "r" * len(panel.columns)
    yield from (r"\begin{table}", rf"\caption{{{plain(f'{table.title}: {panel.title}')}}}")
    yield from (rf"\begin{{tabular}}{{{columns}}}", r"\hline")
    yield " & ".join(map(plain, [*names, *(column.label for column in panel.columns)])) + r" \\"
    yield r"\hline"
    yield from (" & ".join(_cells(replace(row, reason=""), panel)) + r" \\" for row in panel.rows)
    yield from (r"\hline", r"\end{tabular}")
    yield from (rf"\par {plain(note)}" for note in panel.notes)
    yield from (f"% {' '.join(f'{row.method}: {row.reason}'.split())}" for row in panel.rows if row.reason)
    yield r"\end{table}"


def _cells(row: Row, panel: Panel) -> Iterator[str]:
    yield from map(plain, words(row, panel))
    for cell, column in zip(row.cells, panel.columns, strict=True):
        value = plain(number(cell, column))
        bounds = spread(cell, column)
        small = rf"{{\scriptsize {plain(bounds)}}}" if bounds else ""
        mark = r"$\approx$" if cell.tied else ""
        yield " ".join(filter(None, (rf"\textbf{{{value}}}" if cell.best else mark + value, small)))


def plain(text: str) -> str:
    """Escape what LaTeX would take for a command; done sign by sign, so that no escape is escaped again.

    Two hyphens of an option such as --grid stay two, and become no dash.
    """
    pieces = re.split("(?<=-)(?=-)", text)
    return "{}".join("".join(_SIGNS.get(sign, sign) for sign in piece) for piece in pieces)
