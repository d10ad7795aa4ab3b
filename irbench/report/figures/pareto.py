"""Quality against speed: a curve through the settings of each method; what is certainly beaten is faded.

Only the points of the Pareto front are named, others on hover: of sixty names none could be read.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from statistics import fmean, median, stdev
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, PercentFormatter
from numpy.typing import NDArray

from irbench.core.errors import UsageError
from irbench.report.figures.labels import Line, place_labels
from irbench.report.figures.selection import Group, Panel, Selection
from irbench.report.figures.sheet import Drawing, Words, dashes, line_of, plain_numbers, sheet
from irbench.report.palette import Look, colored_by_search
from irbench.results.schema import Result

_DEFAULT_K = 10
_UNITS = {"throughput": "queries/s", "latency": "ms"}
_FADED = "Faded: another point is better and faster, beyond both bars."
_NOT_FADED = "No point is faded: the times were not taken together (irbench time takes them so)."


@dataclass(frozen=True)
class Comparison:
    """What is compared with what."""

    title: str
    quality: str  # in words, with {k}
    speeds: dict[str, str]  # by "throughput" and "latency", in words
    note: str
    known: Callable[[Result], dict[int, tuple[float, tuple[float, float] | None]]]  # mean and interval by K
    speed: Callable[[Result, str], float | None]
    concerns: Callable[[Group], bool] = lambda _: True
    of_indexes: bool = False  # what is compared are indexes: all of their points are shown, and they have colours


@dataclass(frozen=True, eq=False)
class Point:
    """A group as quality and speed."""

    group: Group
    speed: tuple[float, float, float]  # median, least and most over the seeds: queries per second, or ms
    quality: tuple[float, float, float]  # mean, and the ends of its bar
    look: Look

    @property
    def session(self) -> str:
        """Equal for points whose times were taken together; empty where not all of a point were."""
        sessions = {one.cost.session.id if one.cost.session else "" for one in self.group.results}
        return sessions.pop() if len(sessions) == 1 else ""

    @property
    def bars(self) -> tuple[Line, Line]:
        """Its two bars of uncertainty."""
        (speed, slowest, fastest), (mean, low, high) = self.speed, self.quality
        return ((slowest, mean), (fastest, mean)), ((speed, low), (speed, high))


def pareto(selection: Selection, compared: Comparison, *, by: str, k: int | None) -> Drawing:
    """Draw quality at K against queries per second (`by` "throughput") or the time of a query ("latency")."""
    found = []
    for panel in [replace(one, groups=tuple(filter(compared.concerns, one.groups))) for one in selection.panels]:
        chosen = k or _common_k(panel, compared)
        points = [point for group in panel.groups if (point := _point(group, compared, by, chosen))]
        if compared.of_indexes and len({point.group.results[0].method for point in points}) == 1:
            points = [replace(point, look=colored_by_search(point.look, point.group.search)) for point in points]
        if points:
            found.append((panel, chosen, points))
    if not found:
        wish = compared.quality.format(k=k or "K")
        every = {one for panel in selection.panels for group in panel.groups for result in group.results
                 for one in compared.known(result)}  # fmt: skip
        known = f" (K is one of {', '.join(map(str, sorted(every)))})" if every else ""
        raise UsageError(
            f"nothing to draw: no result has both {wish} and {compared.speeds[by]}{known}; try another -k or --by",
            code="nothing-to-draw",
        )
    fronts = [_front(points, by) for _, _, points in found]
    lowest = [_lowest(points, points if compared.of_indexes else front)
              for (_, _, points), front in zip(found, fronts, strict=True)]  # fmt: skip
    shown = [[point for point in points if point.quality[0] >= low]
             for (_, _, points), low in zip(found, lowest, strict=True)]  # fmt: skip
    looks = {point.group.name: point.look for points in shown for point in points}
    timed = any(point.session for points in shown for point in points)
    words = Words(
        title=compared.title,
        heads=[(panel.title, panel.subtitle) for panel, _, _ in found],
        legend={name: line_of(look) for name, look in sorted(looks.items())},
        notes=[
            compared.note,
            _FADED if timed else _NOT_FADED,
            *_below(found, shown),
            *_gaps(found, compared),
            *selection.footnotes,
        ],
    )
    figure, axes = sheet(words, height=3.6)
    hover: dict[str, str] = {}
    for one, (panel, chosen, points), front, low in zip(axes, found, fronts, lowest, strict=True):
        lines = _draw(one, points, by, hover)
        _limit(one, points, by, low)
        _label(one, panel, front, lines)
        one.set(xlabel=f"{compared.speeds[by]} (log scale, faster →)", ylabel=compared.quality.format(k=chosen))
    figure.hover = hover
    return figure


def dominated(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which of the points [N,2] are dominated: another one is as good in both, better in one. More is better."""
    as_good = np.all(points[None] >= points[:, None], axis=2)
    better = np.any(points[None] > points[:, None], axis=2)
    return np.asarray((as_good & better).any(axis=1))


def beaten(point: Point, others: Sequence[Point], by: str) -> bool:
    """Return whether another point, timed together with this one, is better and faster beyond the bars of both."""
    alike = [other for other in others if point.session and other.session == point.session]
    return any(other.quality[1] > point.quality[2] and _faster(other, point, by) for other in alike)


def _faster(one: Point, other: Point, by: str) -> bool:
    """Is every seed of the one faster than every seed of the other?"""
    return one.speed[1] > other.speed[2] if by == "throughput" else one.speed[2] < other.speed[1]


def _front(points: Sequence[Point], by: str) -> list[Point]:
    """Return the points of which none is better and faster by its mean and median."""
    sign = 1 if by == "throughput" else -1
    worse = dominated(np.array([(sign * point.speed[0], round(point.quality[0], 9)) for point in points]))
    return [point for point, is_worse in zip(points, worse, strict=True) if not is_worse]


def _lowest(points: Sequence[Point], front: Sequence[Point]) -> float:
    """Where the axis ends: below the front and half of all points; others may be so low that all else is flat."""
    best = [point.quality[0] for point in front]
    lowest = min(*best, median(point.quality[0] for point in points))
    return lowest - 0.3 * max(max(best) - lowest, 0.02)


def curves(points: Sequence[Point]) -> Iterator[list[Point]]:
    """Yield for each key the points of one method that differ in its value alone, ordered by that number.

    What differs in anything else (other identifiers, exact decoding, two numbers at once) is on no curve.
    """
    for key in dict.fromkeys(key for point in points for key in point.group.overrides):
        alike: dict[tuple[tuple[str, str], ...], list[tuple[float, Point]]] = defaultdict(list)
        for point in points:
            overrides = point.group.overrides
            value = point.group.number(key)
            if value is not None and (overrides or not point.group.setting):
                rest = tuple(sorted((name, other) for name, other in overrides.items() if name != key))
                alike[rest].append((value, point))
        for found in alike.values():
            if len(found) > 1 and any(key in point.group.overrides for _, point in found):
                yield [point for _, point in sorted(found, key=lambda pair: pair[0])]


def _common_k(panel: Panel, compared: Comparison) -> int:
    """10 where all results have it, else the largest K that all have."""
    stated = [set(compared.known(result)) for group in panel.groups for result in group.results]
    common = set.intersection(*stated) if stated else set()
    return _DEFAULT_K if _DEFAULT_K in common else max(common, default=_DEFAULT_K)


def _point(group: Group, compared: Comparison, by: str, k: int) -> Point | None:
    speeds = [speed for result in group.results if (speed := compared.speed(result, by))]
    estimates = [one for result in group.results if (one := compared.known(result).get(k)) is not None]
    if not speeds or not estimates:
        return None
    means = [mean for mean, _ in estimates]
    mean = fmean(means)
    spread = stdev(means) if len(means) > 1 else 0.0
    low, high = (estimates[0][1] or (mean, mean)) if len(means) == 1 else (mean - spread, mean + spread)
    return Point(group, (median(speeds), min(speeds), max(speeds)), (mean, low, high), group.family_look)


def _precision(result: Result) -> dict[int, tuple[float, tuple[float, float] | None]]:
    named = ((name.partition("@")[2], one) for name, one in result.metrics.items() if name.startswith("precision@"))
    return {int(k): (one.mean, one.ci95) for k, one in named if one.mean is not None}


def _of_queries(result: Result, by: str) -> float | None:
    if by == "throughput":
        return result.cost.queries_per_s
    return result.cost.query_ms.total_p50 if result.cost.query_ms else None


def _neighbours(result: Result) -> dict[int, tuple[float, tuple[float, float] | None]]:
    found = cast("dict[str, Any]", result.retriever.get("neighbours", {}))
    return {int(k): (share, None) for k, share in found.get("recall", {}).items()}


def _of_search(result: Result, by: str) -> float | None:
    times = result.cost.batched_ms if by == "throughput" else result.cost.query_ms
    alone = times.search_p50 if times else None
    return 1000 / alone if alone and by == "throughput" else alone


PRECISION = Comparison(
    title="Quality against speed",
    quality="precision@{k}",
    speeds={"throughput": "queries per second, in batches", "latency": "ms, one query at a time"},
    note=(
        "Named: no point is better and faster. Bars: range over seeds (time); one standard deviation over seeds, or "
        "for one seed the 95 % confidence interval (precision)."
    ),
    known=_precision,
    speed=_of_queries,
)
RECALL = Comparison(
    title="Recall of the exact neighbours against speed",
    quality="recall@{k} of the exact neighbours",
    speeds={
        "throughput": "queries per second of the search alone, in batches",
        "latency": "ms of the search alone, one query at a time",
    },
    note=(
        "Named: no point is better and faster. Bars over several seeds: range (time), one standard deviation (recall). "
        "Encoding is not counted; whether the neighbours are right is not asked."
    ),
    known=_neighbours,
    speed=_of_search,
    concerns=lambda group: bool(group.search),
    of_indexes=True,
)


def _draw(axes: Axes, points: Sequence[Point], by: str, hover: dict[str, str]) -> list[Line]:
    """Draw curves and points, and return the lines that names should not cover."""
    axes.set_xscale("log")
    lines: list[Line] = []
    for name, family in groupby(points, key=lambda point: point.group.name):
        members = list(family)
        style = members[0].look
        for curve in curves(members):
            x, y = [point.speed[0] for point in curve], [point.quality[0] for point in curve]
            axes.plot(x, y, color=style.color, linestyle=dashes(style), linewidth=1.2, alpha=0.55, zorder=2, label=name)
            lines += pairwise(zip(x, y, strict=True))
    for point in points:
        id_ = f"point-{len(hover)}"
        _mark(axes, point, id_, faded=beaten(point, points, by))
        hover[id_] = f"{point.group.label}: {100 * point.quality[0]:.1f} %, {_number(point.speed[0])} {_UNITS[by]}"
    return [*lines, *(line for point in points for line in point.bars)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _limit(axes: Axes, points: Sequence[Point], by: str, lowest: float) -> None:
    low, high = axes.get_ylim()
    bottom = max(low, lowest)
    axes.set_ylim(bottom, min(high, 1.0 + 0.05 * (1.0 - bottom)))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    slow, fast = min(point.speed[1] for point in points), max(point.speed[2] for point in points)
    room = max(1.25, (fast / slow) ** 0.12)
    axes.set_xlim(slow / room, fast * room)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if fast < 40 * slow else (1,)))
    plain_numbers(axes.xaxis)
    if by == "latency":
        axes.invert_xaxis()


def _label(axes: Axes, panel: Panel, front: Sequence[Point], lines: Sequence[Line]) -> None:
    """Name the points of the front beside them, off the lines."""
    names = [
        point.group.told_apart(", ".join(filter(None, (point.group.name, _text(panel, point))))) for point in front
    ]
    labels = [(point.speed[0], point.quality[0], name) for point, name in zip(front, names, strict=True)]
    place_labels(axes, labels, lines)


def _mark(axes: Axes, point: Point, id_: str, *, faded: bool) -> None:
    speed, slowest, fastest = point.speed
    mean, low, high = point.quality
    style = point.look
    drawn = axes.errorbar(
        speed, mean,
        xerr=[[speed - slowest], [fastest - speed]], yerr=[[max(0.0, mean - low)], [max(0.0, high - mean)]],
        color=style.color, marker=style.marker, markersize=8, elinewidth=1, alpha=0.3 if faded else 1,
        zorder=3 if faded else 4, label=point.group.label,
    )  # fmt: skip
    drawn.lines[0].set_gid(id_)


def _text(panel: Panel, point: Point) -> str:
    """The setting of a point; nothing where a method has one point only."""
    group = point.group
    key = panel.varied(group.name)
    if key is None:
        return group.setting
    value = group.value(key)
    if group.setting and list(group.overrides) != [key]:
        return group.setting.replace("-", " ").replace(",", ", ")
    return f"{key} {value}" if value is not None else "default"


def _below(found: Sequence[tuple[Panel, int, Sequence[Point]]], shown: Sequence[Sequence[Point]]) -> Iterator[str]:
    """Name the points that lie below the axis."""
    for (panel, _, points), drawn in zip(found, shown, strict=True):
        below = [f"{point.group.label} {100 * point.quality[0]:.1f} %" for point in points if point not in drawn]
        if below:
            yield f"{panel.title}: below the axis: {', '.join(below)}"


def _gaps(found: Sequence[tuple[Panel, int, Sequence[Point]]], compared: Comparison) -> Iterator[str]:
    for panel, k, points in found:
        drawn = {point.group.label for point in points}
        missing = [group.label for group in panel.groups if group.label not in drawn]
        if missing:
            yield f"{panel.title}: {compared.quality.format(k=k)} or its time was not measured: {', '.join(missing)}"
