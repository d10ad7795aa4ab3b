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

from irbench.core.errors import UsageError, check_choice
from irbench.report.figures import answers, curves, pareto, throughput
from irbench.report.figures.output import FORMATS, check_format, save, svg
from irbench.report.figures.selection import Group, Selection, name_of, select
from irbench.report.figures.sheet import style
from irbench.results.artefacts import Artefacts
from irbench.results.schema import Result

__all__ = ["BY", "FORMATS", "KINDS", "Wishes", "check_format", "draw", "name_of", "save", "svg"]


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a figure is to show; every default is a choice that reads well."""

    datasets: Sequence[str] = ()  # all; "digits-incremental" for the gallery that grew
    methods: Sequence[str] = ()  # those without variants; "ft-clip" (every index), "irgen@hkm", "irgen@*"
    seeds: Sequence[int] = ()  # all
    queries: Sequence[int] = ()  # rows of the queries that `answers` shows; by default those that divide the methods
    k: int | None = None  # answers: the last K of `precision`, the K of `pareto`, those that `answers` shows
    by: str | None = None  # one of BY: queries asked one at a time, or in batches
    paper: bool = True  # also published numbers, where they were made under the same conditions


@dataclass(frozen=True)
class _Kind:
    """A figure, and how results are chosen for it."""

    draw: Callable[[Selection, Artefacts, Wishes], Figure]
    variants: Callable[[Group], bool] = lambda _: False  # those that are drawn unasked
    by_machine: bool = False  # for times


_KINDS: Mapping[str, _Kind] = {
    "pr": _Kind(lambda selection, kept, _: curves.precision_recall(selection, kept)),
    "mrr": _Kind(lambda selection, kept, _: curves.mrr(selection, kept)),
    "precision": _Kind(
        lambda selection, kept, wishes: curves.precision_at(selection, kept, k=wishes.k, published=wishes.paper)
    ),
    "throughput": _Kind(
        lambda selection, _, wishes: throughput.throughput(
            selection, by=wishes.by or "latency", published=wishes.paper
        ),
        variants=lambda group: group.decodes_otherwise,
        by_machine=True,
    ),
    "pareto": _Kind(
        lambda selection, _, wishes: pareto.pareto(selection, by=wishes.by or "throughput", k=wishes.k),
        variants=lambda group: group.asks_otherwise,
        by_machine=True,
    ),
    "answers": _Kind(
        lambda selection, kept, wishes: answers.answers(selection, kept, queries=wishes.queries, k=wishes.k),
    ),
}
KINDS = tuple(_KINDS)
BY = ("latency", "throughput")


def draw(kind: str, results: Iterable[Result], kept: Artefacts, wishes: Wishes = Wishes()) -> Figure:
    """Return one of `KINDS` over the results; `kept` says where the answers behind them lie."""
    check_choice("kind of figure", kind, KINDS)
    if wishes.by is not None:
        check_choice("--by", wishes.by, BY)
    chosen = [result for result in results if not wishes.seeds or result.seed in wishes.seeds]
    how = _KINDS[kind]
    selection = select(
        chosen, datasets=wishes.datasets, methods=wishes.methods, variants=how.variants, by_machine=how.by_machine
    )
    if not selection.panels:
        raise UsageError("; ".join(["no results to draw: irbench run makes some", *selection.notes]))
    with style():
        return how.draw(selection, kept, wishes)
