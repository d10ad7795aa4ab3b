"""Retrieved images: the paper's Figures 7 to 9, a query and the first results of each method.

A relevant result has a blue-green border and a tick, another one a dashed vermilion border and a cross. All images
are one image, so that a page of some hundred of them stays small.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from PIL import Image

from irbench.core.benchmark import Benchmark
from irbench.core.errors import IrbenchError, StoreError, UsageError
from irbench.core.ranking import MISSING, Ranking
from irbench.data.decode import View, fit
from irbench.data.sources import Source
from irbench.report.figures.selection import Group, Panel, Selection
from irbench.report.figures.sheet import Drawing, Words, sheet
from irbench.report.palette import FAINT, INK, MUTED, PAPER, RIGHT, RIGHT_SIGN, WRONG, WRONG_SIGN
from irbench.results.artefacts import Artefacts

_K, _QUERIES, _MOST = 8, 3, 40  # results, queries by default, and queries or results at most
_SIDE, _GAP = 144, 24  # pixels of a image, and between two
_STEP = _SIDE + _GAP
_INCH = 236  # pixels in an inch of the figure
_NAME, _LETTERS = 1.5, 18  # inches for the names of methods, and letters of a line of them
_ALONE = "Results of the queries with the fewest relevant ones"


@dataclass(frozen=True, eq=False)
class Shown:
    """What one result of a run retrieved for all queries."""

    group: Group
    ranking: Ranking
    relevant: NDArray[np.bool_]  # [Q,K]


def retrieved(selection: Selection, artefacts: Artefacts, *, queries: Sequence[int], k: int | None) -> Drawing:
    """Draw the first `k` results of these queries, by default those on which the methods disagree most."""
    if len(selection.panels) > 1:
        names = ", ".join(panel.title for panel in selection.panels)
        raise UsageError(
            f"retrieved images are drawn of one data set: --dataset chooses one of {names}", code="several-datasets"
        )
    (panel,) = selection.panels
    count = min(k or _K, _MOST)
    benchmark = artefacts.benchmark(panel.groups[0].results[0])
    shown, gaps = _find(panel, artefacts, benchmark, count)
    rows = _check_rows(queries, benchmark) or disagreed([one.relevant for one in shown], _groups(benchmark))
    right, wrong = relevant_and_not(benchmark)
    words = Words(
        title="Retrieved images" if queries else _ALONE if len(shown) == 1 else "Results where methods disagree",
        heads=[(panel.title, panel.subtitle)],
        legend={
            f"{RIGHT_SIGN} {right}": Patch(facecolor=PAPER, edgecolor=RIGHT, linewidth=2.2),
            f"{WRONG_SIGN} {wrong}": Patch(facecolor=PAPER, edgecolor=WRONG, linewidth=2.2, linestyle="--"),
        },
        notes=[*_seeds(shown), *gaps, *selection.footnotes],
    )
    canvas = _Canvas(benchmark, shown, rows, count)
    width = _NAME + canvas.width / _INCH
    figure, (axes,) = sheet(words, width=width, height=canvas.height / _INCH - 0.9, left=0.2)
    canvas.draw(axes)
    return figure


def disagreed(relevant: Sequence[NDArray[np.bool_]], labels: NDArray[np.int64], count: int = _QUERIES) -> list[int]:
    """Return the queries, of different classes, whose number of relevant results varies most from method to method.

    Where none does, those with the fewest relevant results.
    """
    found = np.array([one.sum(axis=1) for one in relevant])  # [methods,Q]
    order = np.lexsort((found.sum(axis=0), -found.std(axis=0))).tolist()
    chosen: dict[int, int] = {}
    for row in order:
        chosen.setdefault(int(labels[row]), row)
    return list(chosen.values())[:count]


def relevant_and_not(benchmark: Benchmark | None) -> tuple[str, str]:
    """Return what a relevant result is, and another one; without the data they are of classes."""
    if benchmark is None or benchmark.judgements is None:
        return "same class as the query", "another class"
    return "judged relevant", "not relevant"


def _groups(benchmark: Benchmark) -> NDArray[np.int64]:
    """Return the class of each query [Q], and where it has none a number of its own."""
    return benchmark.queries.labels if benchmark.labelled else np.arange(len(benchmark.queries))


def _find(panel: Panel, artefacts: Artefacts, benchmark: Benchmark, count: int) -> tuple[list[Shown], list[str]]:
    """Return the results of each group's first seed, and notes on those that are not stored here."""
    shown, missing = [], {}
    every = np.arange(len(benchmark.queries))
    for group in panel.groups:
        try:
            ranking = artefacts.ranking(group.results[0]).cut(count)
        except IrbenchError as error:
            missing[group.label] = str(error)
            continue
        shown.append(Shown(group, ranking, benchmark.relevance.grades(every, ranking.rows) > 0))
    if not shown:
        raise StoreError(
            f"no ranking of {panel.title} is in {artefacts.work / 'rankings'}: retrieved images need the work "
            f"folder of the run (--work) and the data (--data); {next(iter(missing.values()))}",
            code="no-ranking",
        )
    gone = f"not shown, since their rankings are not in {artefacts.work / 'rankings'}: {', '.join(missing)}"
    return shown, [gone] if missing else []


def _check_rows(queries: Sequence[int], benchmark: Benchmark) -> list[int]:
    for row in queries:
        if row >= len(benchmark.queries):
            raise UsageError(
                f"--query {row}: {benchmark.name} has queries 0 to {len(benchmark.queries) - 1}", code="bad-value"
            )
    if len(queries) > _MOST:
        raise UsageError(f"{len(queries)} queries in one figure: at most {_MOST} can be read", code="bad-value")
    return list(dict.fromkeys(queries))


def _seeds(shown: Sequence[Shown]) -> list[str]:
    seeds = sorted({one.group.results[0].seed for one in shown})
    return [f"Results of seed {', '.join(map(str, seeds))}."]


@dataclass(frozen=True, eq=False)
class _Canvas:
    """The place of each image, in pixels from the upper left: a block for each query, a row for each method."""

    benchmark: Benchmark
    shown: Sequence[Shown]
    rows: Sequence[int]
    count: int

    @property
    def width(self) -> int:
        """Pixels for the query, a space, and the results."""
        return (self.count + 1) * _STEP + 3 * _GAP

    @property
    def block(self) -> int:
        """Pixels that one query takes: a line of text, its methods, a space."""
        return len(self.shown) * _STEP + 4 * _GAP

    @property
    def height(self) -> int:
        """Pixels of all queries."""
        return self.block * len(self.rows)

    def draw(self, axes: Axes) -> None:
        """Draw all blocks on axes without frame and ticks."""
        ground = np.full((self.height, self.width, 3), 255, np.uint8)
        queries, gallery = Source(self.benchmark.queries), Source(self.benchmark.gallery)
        for place, row in enumerate(self.rows):
            top = place * self.block + 2 * _GAP
            _paste(ground, queries, row, (0, top))
            _text(axes, (0, top - _GAP / 2), f"query {row}: {self.benchmark.queries.ids[row][-70:]}", va="bottom")
            for line, one in enumerate(self.shown):
                y = top + line * _STEP
                _text(axes, (-_GAP, y + _SIDE / 2), textwrap.fill(one.group.label, _LETTERS), ha="right", va="center")
                for rank, found in enumerate(one.ranking.rows[row].tolist()):
                    at = (_STEP + 3 * _GAP + rank * _STEP, y)
                    if found != MISSING:
                        _paste(ground, gallery, found, at)
                    _border(axes, at, missing=found == MISSING, relevant=bool(one.relevant[row, rank]))
        axes.imshow(ground, interpolation="none", extent=(0, self.width, self.height, 0), zorder=0)
        axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        axes.axis("off")


def _paste(ground: NDArray[np.uint8], source: Source, row: int, at: tuple[int, int]) -> None:
    x, y = at
    ground[y : y + _SIDE, x : x + _SIDE] = _square(source.seen(row))


def _square(image: Image.Image) -> NDArray[np.uint8]:
    """The image as [S,S,3]; a tiny one keeps its pixels, which a smooth enlargement would only blur."""
    if max(image.size) <= _SIDE // 2:
        times = _SIDE // max(image.size)
        image = image.resize((times * image.width, times * image.height), Image.Resampling.NEAREST)
    return fit(image, View(_SIDE))


def _border(axes: Axes, at: tuple[int, int], *, missing: bool, relevant: bool) -> None:
    x, y = at
    if missing:
        axes.add_patch(Rectangle(at, _SIDE, _SIDE, facecolor=PAPER, edgecolor=FAINT, linewidth=1, label="missing"))
        _text(axes, (x + _SIDE / 2, y + _SIDE / 2), "no\nresult", ha="center", va="center", color=MUTED, fontsize=7)
        return
    color, sign, style, name = (RIGHT, RIGHT_SIGN, "-", "relevant") if relevant else (WRONG, WRONG_SIGN, "--", "other")
    axes.add_patch(Rectangle(at, _SIDE, _SIDE, fill=False, edgecolor=color, linewidth=2.2, linestyle=style, label=name))
    badge = {"boxstyle": "square,pad=0.15", "facecolor": color, "edgecolor": "none"}
    _text(axes, (x + _SIDE - 4, y + _SIDE - 6), sign, ha="right", va="bottom", color=PAPER, fontsize=6.5, bbox=badge)


def _text(axes: Axes, at: tuple[float, float], text: str, **style: Any) -> None:
    defaults: dict[str, Any] = {"fontsize": 8.5, "color": INK}
    axes.text(*at, text, **(defaults | style))
