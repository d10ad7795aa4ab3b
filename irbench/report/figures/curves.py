"""Curves over K: precision against recall, precision at K, the reciprocal rank of the first relevant result."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from irbench import paper
from irbench.core.errors import StoreError, UsageError
from irbench.metrics import retrieval
from irbench.metrics.retrieval import Judged
from irbench.metrics.uncertainty import intervals
from irbench.report.figures.selection import Group, Panel, Selection
from irbench.report.figures.sheet import Drawing, Words, dashes, line_of, plain_numbers, sheet
from irbench.report.numbered import setup_of
from irbench.report.palette import MUTED
from irbench.results.artefacts import Artefacts

_DENSE = 20  # up to this K every one is drawn
_STEP = 1.04  # from one K to the next beyond: finer than what can be seen, and half as many intervals up to 100
_LOGARITHMIC = 40
_MRR = (1, 2, 4, 8)  # the paper's
Values = NDArray[np.float64]

_BANDS = "Bands, bars: 95 % confidence interval over queries, by class, and over seeds where there are several."
_MARKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # K at which a curve of all K is marked
_MARKED = f"Marks on a curve are at K = {', '.join(map(str, _MARKS))}, as far as it goes."
_BOUND = "Upper bound: of a perfect ranking, the mean of min(n, K)/K; n gallery images are relevant."
_MISSES = "Missing results count as misses."


@dataclass(frozen=True, eq=False)
class Curve:
    """A metric at several K: the mean over queries and seeds, and its bounds."""

    mean: Values  # [K]
    low: Values  # [K]
    high: Values  # [K]


@dataclass(frozen=True, eq=False)
class Scored:
    """A group with its hits, for each seed where they are stored."""

    group: Group
    judged: tuple[Judged, ...]

    @property
    def top_k(self) -> int:
        """The K up to which every seed has results."""
        return min(one.top_k for one in self.judged)

    @property
    def reach(self) -> int:
        """The last rank at which any query has a hit, where the curve of a method with fewer results ends."""
        ranks = [np.flatnonzero(one.hits.any(axis=0)) for one in self.judged]
        return min(self.top_k, max((1 + int(found[-1]) for found in ranks if found.size), default=1))

    def curve(self, metric: str, ks: Sequence[int]) -> Curve:
        """Return the metric at each of `ks`, with its interval over classes and seeds."""
        names = [f"{metric}@{k}" for k in ks]
        values = np.array([[retrieval.per_query({"": one}, name) for one in self.judged] for name in names])  # [K,S,Q]
        mean = values.mean(axis=(1, 2))
        low, high = intervals(values, self.judged[0].classes) or (mean, mean)
        return Curve(mean, low, high)


def precision_recall(selection: Selection, artefacts: Artefacts) -> Drawing:
    """The paper's Figure 3: precision against recall, a point for each K."""
    found = _find(selection, artefacts)
    notes = [_MARKED, _MISSES, *_hidden(found)]
    notes += [note for panel, scored in found.panels for note in _short(panel, scored)]
    return _figure("Precision against recall", found, _draw_precision_recall, notes=notes)


def precision_at(selection: Selection, artefacts: Artefacts, *, k: int | None, published: bool) -> Drawing:
    """The paper's Figure 6: precision at K, up to `k` or the largest K of any result.

    Dotted: the upper bound, the mean of min(n, K)/K.
    """

    def draw(axes: Axes, panel: Panel, scored: Sequence[Scored]) -> None:
        _draw_precision_at(axes, scored, k)
        if published:
            _draw_published(axes, panel)

    found = _find(selection, artefacts)
    if all(_last(scored, k) < 2 for _, scored in found.panels):
        most = max(one.top_k for _, scored in found.panels for one in scored)
        hint = f"name a last K with -k, up to {most}" if most > 1 else "one result of each query is stored"
        raise UsageError(f"nothing to draw: a curve over K = 1 alone; {hint}", code="nothing-to-draw")
    legend: dict[str, Artist] = {_UPPER_BOUND: Line2D([], [], color=MUTED, linestyle=":")}
    if published and any(_published(panel) for panel, _ in found.panels):
        legend["hollow: published"] = Line2D([], [], color=MUTED, linestyle="", marker="o", markerfacecolor="none")
    return _figure("Precision at K", found, draw, legend=legend, notes=(_BOUND, _MISSES, *_hidden(found)))


def mrr(selection: Selection, artefacts: Artefacts) -> Drawing:
    """The paper's Figure 4: mean reciprocal rank at 1, 2, 4, 8."""
    return _figure("Mean reciprocal rank of the first relevant result", _find(selection, artefacts), _draw_mrr)


_UPPER_BOUND = "upper bound"


@dataclass(frozen=True, eq=False)
class _Found:
    """The panels of which something can be drawn, and what is missing in words."""

    panels: list[tuple[Panel, list[Scored]]]
    gaps: list[str]


def _find(selection: Selection, artefacts: Artefacts) -> _Found:
    """Find the hits; where none are stored, raise a UsageError."""
    found = []
    missing: dict[str, list[str]] = defaultdict(list)
    for panel in selection.panels:
        scored = []
        for group in panel.groups:
            judged, seeds = _judged(group, artefacts)
            scored += [Scored(group, judged)] if judged else []
            if seeds:
                missing[f"{panel.title}, seed {', '.join(map(str, seeds))}"].append(group.label)
        if scored:
            found.append((panel, scored))
    gaps = [f"{where}: hits are stored neither beside the result nor in --work: {', '.join(who)}"
            for where, who in missing.items()]  # fmt: skip
    if not found:
        raise UsageError(f"nothing to draw: {'; '.join(gaps)}", code="nothing-to-draw")
    return _Found(found, [*gaps, *selection.footnotes])


def _judged(group: Group, artefacts: Artefacts) -> tuple[tuple[Judged, ...], list[int]]:
    """Return the hits of each seed, and the seeds without stored hits."""
    known, unknown = [], []
    for result in group.results:
        try:
            known.append(artefacts.judged(result)[""])
        except StoreError:
            unknown.append(result.seed)
    return tuple(known), unknown


def _hidden(found: _Found) -> Iterator[str]:
    """Name the methods whose curves coincide."""
    for panel, scored in found.panels:
        alike: dict[tuple[bytes, ...], list[str]] = defaultdict(list)
        for one in scored:
            alike[tuple(judged.hits.tobytes() for judged in one.judged)].append(one.group.label)
        for names in alike.values():
            if len(names) > 1:
                yield f"{panel.title}: hits at the same ranks, one curve: {', '.join(names)}"


def _short(panel: Panel, scored: Sequence[Scored]) -> list[str]:
    """One line about the methods whose results end before those of others."""
    ends = [f"{one.group.label} {one.reach}" for one in scored if one.reach < one.top_k]
    return [f"{panel.title}: curves end after the last hit, at rank: {', '.join(ends)}"] if ends else []


def _figure(
    title: str,
    found: _Found,
    draw: Callable[[Axes, Panel, Sequence[Scored]], None],
    *,
    legend: Mapping[str, Artist] | None = None,
    notes: Iterable[str] = (),
) -> Drawing:
    names = {one.group.label: line_of(one.group.look) for _, scored in found.panels for one in scored}
    words = Words(
        title=title,
        heads=[(panel.title, panel.subtitle) for panel, _ in found.panels],
        legend=dict(sorted(names.items())) | dict(legend or {}),
        notes=[_BANDS, *notes, *found.gaps],
    )
    figure, axes = sheet(words)
    for one, (panel, scored) in zip(axes, found.panels, strict=True):
        draw(one, panel, scored)
    return figure


def _draw_precision_recall(axes: Axes, _: Panel, scored: Sequence[Scored]) -> None:
    for one in scored:
        ks = _ks(one.reach, _MARKS)
        precision, recall = one.curve("precision", ks), one.curve("recall", ks)
        _line(axes, one.group, recall.mean, precision, marked=[ks.index(k) for k in _MARKS if k in ks])
    axes.set(xlabel="recall (Σh/n)", ylabel="precision (Σh/K)")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    _up_to_all(axes)


def _draw_precision_at(axes: Axes, scored: Sequence[Scored], k: int | None) -> None:
    stated = {k for one in scored for k in _stated(one.group)}
    last = _last(scored, k)
    for one in scored:
        ks = _ks(min(last, one.top_k), stated)
        curve = one.curve("precision", ks)
        _line(axes, one.group, np.array(ks, float), curve, marked=[ks.index(k) for k in sorted(stated) if k in ks])
    ks = _ks(last)
    positives = scored[0].judged[0].positives
    bound = [float(np.minimum(positives, k).mean() / k) for k in ks]
    axes.plot(ks, bound, color=MUTED, linestyle=":", label=_UPPER_BOUND, zorder=1)
    if last > _LOGARITHMIC:
        axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(k for k in {1, *stated, last} if k <= last)))
    axes.xaxis.set_minor_locator(NullLocator())
    plain_numbers(axes.xaxis)
    axes.set(xlabel="K", ylabel="precision (Σh/K)")
    _up_to_all(axes)


def _last(scored: Sequence[Scored], k: int | None) -> int:
    """Return the K at which the curves of a panel end."""
    stated = {k for one in scored for k in _stated(one.group)}
    return min(k or max(stated, default=10), max(one.top_k for one in scored))


def _draw_published(axes: Axes, panel: Panel) -> None:
    for group, ks, percents in _published(panel):
        look = group.look
        axes.plot(ks, percents, linestyle="", marker=look.marker, color=look.color, markerfacecolor="none",
                  markersize=8, label=f"{group.label}, published")  # fmt: skip


def _published(panel: Panel) -> list[tuple[Group, list[int], list[float]]]:
    """The paper's numbers for the methods of a panel, at scale `paper` under its protocol."""
    if (panel.facts.protocol, panel.facts.crop) != (paper.PROTOCOL, paper.CROP):
        return []
    numbers = paper.published("precision", panel.title)
    found = []
    for group in panel.groups:
        setup = setup_of(group.results[0])
        same = {key.k: number.percent / 100 for key, number in numbers.items() if key.setup == setup}
        if same and group.results[0].scale == "paper":
            found.append((group, list(same), list(same.values())))
    return found


def _draw_mrr(axes: Axes, _: Panel, scored: Sequence[Scored]) -> None:
    """Points side by side: methods are often equal and would hide each other."""
    for place, one in enumerate(scored):
        curve = one.curve("mrr", _MRR)
        x = np.arange(len(_MRR)) + 0.5 * ((place + 0.5) / len(scored) - 0.5)
        look = one.group.look
        axes.plot(x, curve.mean, color=look.color, linestyle=dashes(look), linewidth=1, alpha=0.6)
        axes.errorbar(
            x, curve.mean, yerr=_arms(curve), color=look.color, marker=look.marker, linestyle="", linewidth=1.2,
            label=one.group.label,
        )  # fmt: skip
    axes.set_xticks(range(len(_MRR)), [str(k) for k in _MRR])
    axes.set(xlabel="K", ylabel="MRR@K")
    axes.grid(visible=False, axis="x")
    _up_to_all(axes)


def _line(axes: Axes, group: Group, x: Values, curve: Curve, *, marked: list[int]) -> None:
    look = group.look
    axes.fill_between(x, curve.low, curve.high, color=look.color, alpha=0.13, linewidth=0)
    axes.plot(
        x, curve.mean, color=look.color, linestyle=dashes(look), marker=look.marker, markevery=marked,
        label=group.label,
    )  # fmt: skip


def _arms(curve: Curve) -> Values:
    """[2,K] lengths of error bars; rounding must not make them negative."""
    return np.maximum(0, [curve.mean - curve.low, curve.high - curve.mean])


def _up_to_all(axes: Axes) -> None:
    """Percent on the vertical axis, which ends at 100 %."""
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    low, high = axes.get_ylim()
    room = 0.03 * (min(high, 1) - max(low, 0))
    axes.set_ylim(max(low, 0), min(high, 1 + room))


def _ks(last: int, marked: Iterable[int] = ()) -> list[int]:
    """Return the K at which a curve is computed: all at first, then steps, the last one and those that are marked."""
    steps, k = [last], float(_DENSE)
    while (k := k * _STEP) < last:
        steps.append(round(k))
    return sorted({*range(1, min(last, _DENSE) + 1), *steps, *(mark for mark in marked if mark <= last)})


def _stated(group: Group) -> set[int]:
    """The K at which the group's results have the precision."""
    names = {name for result in group.results for name in result.metrics}
    return {int(name.partition("@")[2]) for name in names if name.startswith("precision@")}
