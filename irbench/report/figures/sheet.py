"""The sheet that a figure is drawn on: title, panels side by side, a legend below them, and notes at the foot.

A few lines of notes have room there; a `Drawing` carries all of them, and what is shown on hover, for whoever shows it.
Sizes are in inches. Nothing here touches matplotlib's global figures; its settings hold inside `style()` only.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from irbench.report.palette import FAINT, INK, MUTED, PAPER, Look

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # names of users may hold a dollar sign
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "figure.facecolor": PAPER,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "lines.markeredgecolor": PAPER,  # so that marks on top of each other stay apart
    "lines.markeredgewidth": 0.6,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "irbench",  # the same figure gets the same ids
    "pdf.fonttype": 42,
}
_MOST = 4  # lines of notes at the foot
_TITLE, _ROUND = 0.5, 1.15  # inches: the figure's title; a panel's head and what stands below its axis
_LEGEND_ROW, _NOTE = 0.23, 0.165
_LETTERS = 16.5  # of small print, in an inch


@contextmanager
def style() -> Iterator[None]:
    """Hold the settings of matplotlib under which a figure is drawn, and written."""
    with rc_context(_STYLE):
        yield


class Drawing(Figure):
    """A figure with its notes, and the texts that a page shows on hover, by the id of an artist (`Artist.set_gid`)."""

    notes: tuple[str, ...] = ()
    hover: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Words:
    """All text around the panels; the title also tells what the figure is to those who cannot see it."""

    title: str
    heads: Sequence[tuple[str, str]]  # title and subtitle of each panel
    legend: Mapping[str, Artist]
    notes: Sequence[str]


def sheet(words: Words, *, width: float = 4.9, height: float = 3.2, left: float = 0.6) -> tuple[Drawing, list[Axes]]:
    """Return a figure with a panel for each head, at most two side by side; each panel takes `width` x `height`.

    `left` is what the names on a panel's upright axis may take of its width.
    """
    across = min(2, len(words.heads))
    down = -(-len(words.heads) // across)
    wide = max(6.2, across * width)
    columns = max(1, int(wide / (0.8 + 0.07 * max(map(len, words.legend), default=0))))
    legend = 0.1 + _LEGEND_ROW * -(-len(words.legend) // columns)
    notes = _at_the_foot(words.notes, wide)
    body, foot = _TITLE + down * (height + _ROUND), legend + 0.2 + _NOTE * len(notes)
    figure = Drawing(figsize=(wide, body + foot), layout="constrained")
    figure.set_label(words.title)
    figure.notes = tuple(words.notes)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(body, foot)).flat
    upper.suptitle(words.title, x=0.1 / wide, ha="left", fontsize=13, fontweight="bold")
    panels = list(upper.subplots(down, across, squeeze=False).flat)
    for axes in panels[len(words.heads) :]:
        axes.remove()
    for axes, (title, subtitle) in zip(panels, words.heads, strict=False):
        _head(axes, title, subtitle, wide / across - left)
    if words.legend:
        lower.legend(
            words.legend.values(), words.legend.keys(), loc="upper left", bbox_to_anchor=(0, 1), ncols=columns,
            handlelength=2.6, columnspacing=1.6,
        )  # fmt: skip
    text = "\n".join(notes)
    lower.text(0.12 / wide, 1 - legend / foot, text, fontsize=8, color=MUTED, va="top", linespacing=1.35)
    return figure, panels[: len(words.heads)]


def _at_the_foot(notes: Sequence[str], width: float) -> list[str]:
    """Return the lines at the foot: as many of the notes, the first ones, as have room, and how many more there are."""
    wrapped = [_wrapped(note, width) for note in notes]
    if sum(map(len, wrapped)) <= _MOST:
        return [line for lines in wrapped for line in lines]
    shown = [i for i in range(len(wrapped)) if sum(map(len, wrapped[: i + 1])) < _MOST]
    more = len(wrapped) - len(shown)
    which = f"{more} notes" if more == len(wrapped) else f"{more} more note{'s' if more > 1 else ''}"
    return [*(line for i in shown for line in wrapped[i]), f"{which}: printed by irbench plot, and in the report"]


def line_of(look: Look) -> Line2D:
    """Return what stands for a curve in the legend."""
    return Line2D([], [], color=look.color, marker=look.marker, linestyle=dashes(look))


def dashes(look: Look) -> Any:
    """Return the line style of a look, as matplotlib writes it."""
    return (0, look.dash) if look.dash else "-"


def plain_numbers(axis: Axis) -> None:
    """Write the numbers of a logarithmic axis as 100, 1,000."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def _head(axes: Axes, title: str, subtitle: str, width: float) -> None:
    lines = _wrapped(subtitle, width)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=6 + 11 * len(lines))
    axes.annotate(
        "\n".join(lines), (0, 1), xytext=(0, 5), xycoords="axes fraction", textcoords="offset points",
        fontsize=8, color=MUTED, va="bottom",
    )  # fmt: skip


def _wrapped(text: str, width: float) -> list[str]:
    return textwrap.wrap(text, int(width * _LETTERS), subsequent_indent="   ", break_on_hyphens=False)
