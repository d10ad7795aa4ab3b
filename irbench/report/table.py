"""Tables: what was measured, beside what the paper reports, with every gap and its reason.

A table has one panel for each data set *and* fingerprint: numbers under different protocols, crops or images share a
panel only on request. A row is a method as it really ran: its precision, backbone and the origin of its weights are
always shown. A method's ablations have, with the method itself, a panel of their own.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from irbench import paper as published
from irbench.report import lines as made
from irbench.report.lines import Line
from irbench.report.notes import notes_of
from irbench.report.panel import Cell, Panel, Row, Table
from irbench.report.quantities import TWINS, Quantity, can_say, headline, quantities, subject
from irbench.report.ranks import Judge, marked, ranked
from irbench.report.upper_bound import upper_bound
from irbench.results.schema import Dataset, Result

__all__ = ["Cell", "Panel", "Row", "Table", "table"]


def table(  # noqa: PLR0913 -- each is an option of the command
    results: Iterable[Result],
    metric: str,
    *,
    datasets: Sequence[str] = (),
    paper: bool = True,
    include_shortened: bool = False,
    mix: bool = False,
    judge: Judge | None = None,
) -> Table:
    """Return the table of one metric, or cost, over the results.

    Args:
        results: any mixture of results.
        metric: "precision", "hit_rate" … "latency" or "footprint".
        datasets: those to show, "-incremental" at the end for an incremental gallery; none: all that were measured.
        paper: print the paper's numbers where they were made under the same protocol.
        include_shortened: also show results of partial evaluations or trainings, marked as such.
        mix: put what was measured on a data set under different protocols, crops or images into one panel, marked.
        judge: returns the hits of a result (`hits.Reader`); without it there are no tests, ranks and upper bounds.
    """
    words = subject(metric)
    chosen = [result for result in results if is_of(result, datasets)]
    chosen = [result for result in chosen if can_say(result, metric)]
    shown = [result for result in chosen if include_shortened or not result.shortened]
    panels = [panel for group in by_data(shown, mix=mix) for panel in _panels(group, metric, judge, paper=paper)]
    wanted = [name for name in datasets if paper and not any(_holds_paper(panel, name) for panel in panels)]
    panels += [panel for name in wanted for panel in _published_panels(name, metric)]
    unmeasured = sorted(set(datasets) - {panel.dataset for panel in panels})
    notes = (*left_out(len(chosen) - len(shown)), *(f"{name}: nothing measured yet" for name in unmeasured))
    return Table(metric=metric, title=words.title, caption=words.caption, panels=tuple(panels), notes=notes)


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What a panel is about."""

    metric: str
    dataset: str
    protocol: str = published.PROTOCOL
    crop: str = published.CROP
    fingerprint: str = ""
    part: str = ""

    @classmethod
    def of(cls, metric: str, results: Sequence[Result]) -> "Heading":
        """Name the data of results; several kinds of it are "mixed"."""
        facts = [result.dataset for result in results]
        if len({made.data_of(one) for one in facts}) > 1:
            return cls(metric=metric, dataset=facts[0].name, protocol="mixed", crop="mixed")
        first = facts[0]
        return cls(
            metric=metric,
            dataset=name_of(first),
            protocol=first.protocol,
            crop=first.crop,
            fingerprint=first.fingerprint,
        )

    @property
    def mixed(self) -> bool:
        """Do its rows not compare?"""
        return self.protocol == "mixed"

    @property
    def papers(self) -> bool:
        """Were the paper's numbers made under this protocol?"""
        return (self.protocol, self.crop) == (published.PROTOCOL, published.CROP)

    @property
    def title(self) -> str:
        """The title of the panel."""
        which = f" · {self.part}" if self.part else ""
        if self.mixed:
            return f"{self.dataset}{which} · mixed protocols, crops or images"
        data = f"data {self.fingerprint[:8]}" if self.fingerprint else "published only"
        return f"{self.dataset}{which} · {self.protocol} · crop {self.crop} · {data}"


def by_data(results: Sequence[Result], *, mix: bool = False) -> list[list[Result]]:
    """Group results that compare; or, mixed, those of one data set."""
    groups = defaultdict(list)
    for result in results:
        facts = result.dataset
        key = (
            (facts.name,) if mix else (facts.name, facts.incremental > 0, facts.protocol, facts.crop, facts.fingerprint)
        )
        groups[key].append(result)
    return [groups[key] for key in sorted(groups)]


def is_of(result: Result, datasets: Sequence[str]) -> bool:
    """Tell whether a result is about one of `datasets`; all are, where none is named."""
    return not datasets or not {result.dataset.name, name_of(result.dataset)}.isdisjoint(datasets)


def name_of(facts: Dataset) -> str:
    """The data set as the paper's tables name it: "-incremental" where half of the gallery was added after training."""
    return f"{facts.name}-incremental" if facts.incremental else facts.name


def assemble(
    heading: Heading,
    columns: Sequence[Quantity],
    lines: Sequence[Line],
    judge: Judge | None,
    more_notes: Iterable[str] = (),
) -> Panel:
    """Return the panel of `lines` in their order, with the best marked, ranks, the upper bound and notes."""
    notes: list[str] = []
    if heading.mixed:
        lines = [replace(line, row=replace(line.row, data=made.data_of(line.results[0].dataset))) for line in lines]
        notes.append("rows under different protocols, crops or images do not compare: no best is marked")
    else:
        lines = marked(lines, columns)
    rows = [line.row for line in lines]
    if judge and not heading.mixed:
        lines, notes = ranked(lines, columns, judge)
        highest = upper_bound(lines, heading.metric, columns, judge)
        rows = [*(line.row for line in lines), *([highest] if highest else [])]
    return Panel(
        dataset=heading.dataset,
        protocol=heading.protocol,
        crop=heading.crop,
        fingerprint=heading.fingerprint,
        part=heading.part,
        title=heading.title,
        columns=tuple(columns),
        headline=headline(heading.metric, columns),
        rows=tuple(rows),
        notes=(*notes_of(heading.dataset, lines, columns), *notes, *more_notes),
    )


def _panels(results: Sequence[Result], metric: str, judge: Judge | None, *, paper: bool) -> Iterator[Panel]:
    heading = Heading.of(metric, results)
    columns = columns_of(metric, heading.dataset if paper and heading.papers else "", results)
    lines = list(made.measured(results, metric, columns))
    if paper and heading.papers:
        lines += made.published(_definitions(metric), heading.dataset, columns)
    for part, some in _parts(lines):
        yield assemble(replace(heading, part=part), columns, sorted(some, key=_place), judge)


def _published_panels(dataset: str, metric: str) -> Iterator[Panel]:
    heading = Heading(metric=metric, dataset=dataset)
    columns = columns_of(metric, dataset, ())
    lines = list(made.published(_definitions(metric), dataset, columns))
    gap = f"nothing measured under this protocol yet: irbench run --dataset {dataset}"
    for part, some in _parts(lines):
        yield assemble(replace(heading, part=part), columns, sorted(some, key=_place), None, [gap])


def columns_of(metric: str, dataset: str, results: Sequence[Result]) -> tuple[Quantity, ...]:
    """Return the columns that results, and the paper on `dataset`, have of a metric."""
    own, *twin = [{key.k for key in published.published(name, dataset)} for name in _definitions(metric)]
    return quantities(metric, results, sorted(own), sorted(set().union(*twin) - own))


def _definitions(metric: str) -> list[str]:
    return [metric, *([TWINS[metric]] if metric in TWINS else [])]


def _parts(lines: Sequence[Line]) -> Iterator[tuple[str, list[Line]]]:
    """Yield the methods as their recipes define them, then each method that was varied, with all its variants."""
    families = sorted({line.row.family for line in lines if line.varied})
    usual = [line for line in lines if not line.varied]
    if {line.row.family for line in usual} - set(families[:1]):
        yield "", usual
    for family in families:
        yield f"{family}, varied", [line for line in lines if line.row.family == family]


def _place(line: Line) -> tuple[object, ...]:
    """Sort by name, numbers in it by size, and what the paper reports below what was measured of the same."""
    row = line.row
    variant = re.sub(r"\d+", lambda number: number[0].zfill(6), row.variant)
    cell = (row.family, row.search, line.varied, variant)
    return *cell, row.kind == "published", row.method, row.scale, row.precision, row.data


def _holds_paper(panel: Panel, dataset: str) -> bool:
    return (panel.dataset, panel.protocol, panel.crop) == (dataset, published.PROTOCOL, published.CROP)


def left_out(shortened: int) -> Iterator[str]:
    """Say how many shortened results are not shown."""
    if shortened:
        yield f"{shortened} shortened results (partial evaluation or training) are left out: --shortened shows them"
