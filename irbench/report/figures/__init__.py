"""Figures from stored results: the paper's Figures 3 to 9 with what was measured here, and quality against speed.

    figure = draw("pr", results, kept, datasets=("digits",))   # a matplotlib Figure, made without global state
    page += svg(figure)                                        # for an HTML page
    save(figure, Path("pr.pdf"))                               # .svg, .png or .pdf

What cannot be drawn is named at the foot of the figure; where nothing can be drawn, `draw` raises a `UsageError`.
`svg` returns one `<svg>` element: text as text in fonts that every browser has, nothing from elsewhere, ids that clash
with no other figure's in the page, and the same characters every time. Colours are those of `irbench.report.palette`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from irbench.errors import UsageError, check_choice
from irbench.kept import Kept
from irbench.report.figures import curves
from irbench.report.figures.output import FORMATS, check_format, save, svg
from irbench.report.figures.selection import Panel, select
from irbench.report.figures.sheet import style
from irbench.results import Result

__all__ = ["FORMATS", "KINDS", "Wishes", "check_format", "draw", "save", "svg"]


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a figure is to show; every default is a choice that reads well."""

    datasets: Sequence[str] = ()  # all; "digits-fresh" for the gallery that grew
    methods: Sequence[str] = ()  # those without variants; "ft-clip" (every index), "irgen@hkm", "irgen@*"
    seeds: Sequence[int] = ()  # all
    k: int | None = None  # answers: the last K of `precision`
    paper: bool = True  # also published numbers, where they were made under the same conditions


@dataclass(frozen=True)
class _Kind:
    """A figure, and how results are chosen for it."""

    draw: Callable[[Sequence[Panel], Kept, Wishes], Figure]
    settings: bool = False  # with variants that only ask an index or a model otherwise
    by_machine: bool = False


_KINDS: Mapping[str, _Kind] = {
    "pr": _Kind(lambda panels, kept, _: curves.precision_recall(panels, kept)),
    "mrr": _Kind(lambda panels, kept, _: curves.mrr(panels, kept)),
    "precision": _Kind(
        lambda panels, kept, wishes: curves.precision_at(panels, kept, k=wishes.k, published=wishes.paper)
    ),
}
KINDS = tuple(_KINDS)


def draw(kind: str, results: Iterable[Result], kept: Kept, wishes: Wishes = Wishes()) -> Figure:
    """Return one of `KINDS` over the results; `kept` says where the answers behind them lie."""
    check_choice("kind of figure", kind, KINDS)
    chosen = [result for result in results if not wishes.seeds or result.seed in wishes.seeds]
    how = _KINDS[kind]
    panels, notes = select(
        chosen, datasets=wishes.datasets, methods=wishes.methods, settings=how.settings, by_machine=how.by_machine
    )
    if not panels:
        raise UsageError("; ".join(["no results to draw: irbench run makes some", *notes]))
    with style():
        return how.draw(panels, kept, wishes)
