"""Query time by component: the paper's Figure 5, over beam sizes and beside the other methods."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from irbench import paper
from irbench.core.errors import UsageError
from irbench.report.figures.selection import Group, Panel, Selection
from irbench.report.figures.sheet import Drawing, Words, sheet
from irbench.report.palette import INK, PAPER, STAGES
from irbench.results.schema import QueryTimes, Result

_LABELS = {
    "read": "reading the file",
    "encode": "encoder",
    "decoder": "decoder",
    "trie": "trie",
    "lookup": "lookup of images",
    "search": "search (the rest of it)",
    "other": "between encode and search",
}
_IRGEN = "irgen"  # the only method whose time the paper states
_BY = {"latency": "ms, one query at a time", "throughput": "ms for each query of a batch"}
_DIAMOND: Any = {"linestyle": "", "marker": "D", "color": INK, "markerfacecolor": PAPER, "markeredgecolor": INK,
                 "markeredgewidth": 1.2}  # fmt: skip
_NOTE = (
    "Medians over queries and seeds, each component's by itself; beside the bar that of the total, and p95: the 95th "
    "percentile."
)
_CUT = "A bar that ends in // goes on beyond the axis: its components are in proportion to each other, not to the axis."
_SHOWN = 0.74  # of the axis that a cut bar takes: as far as the longest whole one, which leaves room for the text
_FAR = 4  # times as long as the next shorter one: a bar that is cut, or nothing could be seen of the others


@dataclass(frozen=True, eq=False)
class Bar:
    """The time of a query of one group, in ms."""

    label: str
    group: Group
    parts: Mapping[str, float]  # by stage
    total: float
    p95: float | None
    seeds: int  # that were timed in such detail

    @property
    def length(self) -> float:
        """The sum of its parts, in ms, which is not the median of their sums."""
        return sum(self.parts.values())


def throughput(selection: Selection, *, by: str, published: bool) -> Drawing:
    """Draw stacked bars of the stages of a query: `by` "latency" one at a time, by "throughput" in batches."""
    found = [(panel, bars) for panel in selection.panels if (bars := _bars(panel, by))]
    if not found:
        raise UsageError(f"nothing to draw: no result has the components of {_BY[by]}", code="nothing-to-draw")
    stages = [stage for stage in STAGES if any(bar.parts.get(stage) for _, bars in found for bar in bars)]
    legend: dict[str, Any] = {_LABELS[stage]: Patch(color=STAGES[stage]) for stage in stages}
    stated = published and by == "latency"
    if stated and any(_published(bar) for _, bars in found for bar in bars):
        legend["published, V100 16 GB"] = Line2D([], [], **_DIAMOND)
    is_any_cut = any(bar.length > _end(bars, stated=stated) for _, bars in found for bar in bars)
    words = Words(
        title="Query time by component",
        heads=[(panel.title, panel.subtitle) for panel, _ in found],
        legend=legend,
        notes=[_NOTE, *([_CUT] if is_any_cut else []),
               *_gaps(found), *(_not_drawn(found) if stated else []), *selection.footnotes],
    )  # fmt: skip
    rows = max(len(bars) for _, bars in found)
    figure, axes = sheet(words, height=0.5 + 0.3 * rows, left=1.4)
    for one, (_, bars) in zip(axes, found, strict=True):
        _draw(one, bars, by, _end(bars, stated=stated))
        if points := list(_diamonds(bars, stated=stated)):
            one.plot(*zip(*points, strict=True), **_DIAMOND, zorder=5, label="published")
    return figure


def stages(times: QueryTimes) -> dict[str, float]:
    """Return the ms of each of `STAGES`, none counted twice; time between the parts of a stage counts as that stage."""
    part = {stage: getattr(times, f"{stage}_p50", None) or 0.0 for stage in STAGES}
    searched = part["search"] - part["decoder"] - part["trie"] - part["lookup"]
    between = (times.total_p50 or 0.0) - part["encode"] - part["search"]
    return part | {
        "encode": max(0.0, part["encode"] - part["read"]),
        "search": max(0.0, searched),
        "other": max(0.0, between),
    }


def _bars(panel: Panel, by: str) -> list[Bar]:
    bars = [bar for group in panel.groups if (bar := _bar(panel, group, by))]
    return sorted(bars, key=lambda bar: (bar.group.name, panel.rank(bar.group)))


def _bar(panel: Panel, group: Group, by: str) -> Bar | None:
    """Medians over the seeds that were timed in most detail; None where none was timed so."""
    timed = [times for result in group.results if (times := _times(result, by)) and times.total_p50 is not None]
    detail = [sum(value is not None for value in asdict(times).values()) for times in timed]
    if not timed:
        return None
    known = [times for times, known in zip(timed, detail, strict=True) if known == max(detail)]
    parts = [stages(times) for times in known]
    tails = [times.total_p95 for times in known if times.total_p95 is not None]
    return Bar(
        label=_label(panel, group),
        group=group,
        parts={stage: median(one[stage] for one in parts) for stage in STAGES},
        total=median(times.total_p50 or 0.0 for times in known),
        p95=median(tails) if tails else None,
        seeds=len(known),
    )


def _times(result: Result, by: str) -> QueryTimes | None:
    return result.cost.query_ms if by == "latency" else result.cost.batched_ms


def _label(panel: Panel, group: Group) -> str:
    """The group with the value of what is varied, also where that is the default."""
    key = panel.varied(group.name)
    value = group.value(key) if key else None
    plain = not group.setting or list(group.overrides) == [key]
    return group.told_apart(f"{group.name}, {key} {value}") if plain and value is not None else group.label


def _draw(axes: Axes, bars: Sequence[Bar], by: str, end: float) -> None:
    axes.set_xlim(0, end)
    for row, bar in enumerate(bars):
        shown, start = _SHOWN * end / bar.length if bar.length > end else 1.0, 0.0
        for stage, width in bar.parts.items():
            axes.barh(row, shown * width, left=start, height=0.62, color=STAGES[stage], label=stage)
            start += shown * width
        tail = f" (p95 {_number(bar.p95)})" if bar.p95 is not None else ""
        _write(axes, row, start, f"{'// ' if shown < 1 else ''}{_number(bar.total)} ms{tail}")
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlabel(_BY[by])
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _end(bars: Sequence[Bar], *, stated: bool) -> float:
    """Return where the axis ends, with room for the texts behind the bars."""
    return max(
        1.35 * _longest([bar.total for bar in bars]), *(1.1 * ms for ms, _ in _diamonds(bars, stated=stated)), 0.0
    )


def _diamonds(bars: Sequence[Bar], *, stated: bool) -> Iterator[tuple[float, int]]:
    """Yield the paper's times in ms, each with the row of its bar."""
    return ((ms, row) for row, bar in enumerate(bars) if stated and (ms := _published(bar)) is not None)


def _longest(totals: Sequence[float]) -> float:
    """Return the longest of the times that are not far beyond all others."""
    longest = 0.0
    for total in sorted(totals):
        if longest and total > _FAR * longest and total > median(totals):
            break
        longest = total
    return longest


def _number(ms: float) -> str:
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}"


def _write(axes: Axes, row: int, end: float, text: str) -> None:
    """Write the time behind the bar."""
    axes.annotate(text, (end, row), xytext=(4, 0), textcoords="offset points", ha="left", va="center", fontsize=8.5,
                  color=INK)  # fmt: skip


def _published(bar: Bar) -> float | None:
    """The paper's time for this beam size, in ms; None where it has none, and at other scales."""
    group = bar.group
    alike = not group.setting or list(group.overrides) == ["beam_size"]
    if group.method != _IRGEN or group.results[0].scale != "paper" or not alike:
        return None
    seconds = paper.seconds_per_query().get(int(group.value("beam_size") or 0))
    return None if seconds is None else 1000 * seconds


def _not_drawn(found: Sequence[tuple[Panel, Sequence[Bar]]]) -> Iterator[str]:
    """State the paper's times where a smaller network was measured, with which they do not compare."""
    small = {bar.group.results[0].scale for _, bars in found for bar in bars if bar.group.method == _IRGEN} - {"paper"}
    if small:
        times = ", ".join(f"{1000 * s:.0f} ms with {beams} beams" for beams, s in paper.seconds_per_query().items())
        yield (
            f"The paper states {times}, on a V100 16 GB, for a network many times as large as those of scale "
            f"{' and '.join(sorted(small))}; not drawn here."
        )


def _gaps(found: Sequence[tuple[Panel, Sequence[Bar]]]) -> Iterator[str]:
    for panel, bars in found:
        untimed = sorted({group.label for group in panel.groups} - {bar.group.label for bar in bars})
        if untimed:
            yield f"{panel.title}: no such timings: {', '.join(untimed)}"
        for bar in bars:
            if (rough := len(bar.group.results) - bar.seeds) > 0:
                yield f"{panel.title}, {bar.group.label}: {rough} seeds that were timed in less detail are left out"
