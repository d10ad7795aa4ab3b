"""Figures from stored results: the paper's Figures 3 to 9 with what was measured here, and quality against speed.

    figure = draw("pr", results, artefacts, FigureOptions(datasets=("digits",)))   # a matplotlib Figure with notes
    page += svg(figure)                                                            # for an HTML page
    save(figure, Path("pr.pdf"))                                                   # .svg, .png or .pdf

What cannot be drawn is named in the notes of the figure, of which four lines stand at its foot; where nothing can be
drawn, `draw` raises a `UsageError`.
`svg` returns one `<svg>` element: text as text in fonts that every browser has, no external resources, ids that clash
with no other figure's in the page, and the same bytes every time. Colours are those of `irbench.report.palette`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from irbench.core.errors import UsageError, check_choice
from irbench.report.figures import curves, pareto, retrieved, throughput
from irbench.report.figures.output import FORMATS, check_out, save, svg
from irbench.report.figures.selection import Group, Selection, name_of, select
from irbench.report.figures.sheet import Drawing, style
from irbench.results.artefacts import Artefacts
from irbench.results.schema import Result

__all__ = ["BY", "FORMATS", "KINDS", "Drawing", "FigureOptions", "check_out", "draw", "name_of", "save", "svg"]


@dataclass(frozen=True, kw_only=True)
class FigureOptions:
    """What a figure shows; the defaults suit most results."""

    datasets: Sequence[str] = ()  # all; "digits-incremental" for the incremental gallery
    methods: Sequence[str] = ()  # those without variants; "ft-clip" (every index), "irgen@hkm", "irgen@*"
    seeds: Sequence[int] = ()  # all
    queries: Sequence[int] = ()  # rows that `retrieved` shows; by default those on which methods disagree
    k: int | None = None  # the last K of `precision`, the K of `pareto`, the results that `retrieved` shows
    by: str | None = None  # one of BY: queries one at a time, or in batches
    paper: bool = True  # also published numbers, where they were obtained under the same conditions


@dataclass(frozen=True)
class _Kind:
    """A figure, and how results are selected for it."""

    draw: Callable[[Selection, Artefacts, FigureOptions], Drawing]
    variants: Callable[[Group], bool] = lambda _: False  # those that are drawn by default
    by_machine: bool = False  # for times


_KINDS: Mapping[str, _Kind] = {
    "pr": _Kind(lambda selection, artefacts, _: curves.precision_recall(selection, artefacts)),
    "mrr": _Kind(lambda selection, artefacts, _: curves.mrr(selection, artefacts)),
    "precision": _Kind(
        lambda selection, artefacts, options: curves.precision_at(
            selection, artefacts, k=options.k, published=options.paper
        )
    ),
    "throughput": _Kind(
        lambda selection, _, options: throughput.throughput(
            selection, by=options.by or "latency", published=options.paper
        ),
        variants=lambda group: group.decodes_otherwise,
        by_machine=True,
    ),
    "pareto": _Kind(
        lambda selection, _, options: pareto.pareto(
            selection, pareto.PRECISION, by=options.by or "throughput", k=options.k
        ),
        variants=lambda group: group.searches_otherwise,
        by_machine=True,
    ),
    "recall": _Kind(
        lambda selection, _, options: pareto.pareto(
            selection, pareto.RECALL, by=options.by or "throughput", k=options.k
        ),
        variants=lambda group: group.searches_otherwise,
        by_machine=True,
    ),
    "retrieved": _Kind(
        lambda selection, artefacts, options: retrieved.retrieved(
            selection, artefacts, queries=options.queries, k=options.k
        ),
    ),
}
KINDS = tuple(_KINDS)
BY = ("latency", "throughput")


def draw(
    kind: str, results: Iterable[Result], artefacts: Artefacts, options: FigureOptions = FigureOptions()
) -> Drawing:
    """Return one of `KINDS` over the results; `artefacts` says where the rankings behind them are."""
    check_choice("kind of figure", kind, KINDS)
    if options.by is not None:
        check_choice("--by", options.by, BY)
    chosen = [result for result in results if not options.seeds or result.seed in options.seeds]
    how = _KINDS[kind]
    selection = select(
        chosen, datasets=options.datasets, methods=options.methods, variants=how.variants, by_machine=how.by_machine
    )
    if not selection.panels:
        raise UsageError(
            "; ".join(["no results to draw: irbench run makes some", *selection.notes]), code="nothing-to-draw"
        )
    with style():
        return how.draw(selection, artefacts, options)
