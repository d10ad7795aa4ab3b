"""The cost of a query over the size of the gallery: what was measured, and each method's law beyond it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irbench.report.figures.sheet import Drawing, Words, dashes, line_of, plain_numbers, sheet, style
from irbench.report.palette import Look

_BEYOND = 10  # times the largest measured size: so far laws are drawn
_POINTS = 100  # of a law
_LAWS = "Marks: measured. Beyond them: the fitted law a + b N^c."

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Growing:
    """One method's cost at several sizes."""

    label: str
    look: Look
    sizes: Values  # [S]
    seconds: Values  # [S] of a query
    law: Callable[[Values], Values]  # seconds at any size


@dataclass(frozen=True, eq=False, kw_only=True)
class Asked:
    """One panel: a way of asking."""

    title: str
    subtitle: str
    methods: Sequence[Growing]


def crossover(panels: Sequence[Asked], notes: Sequence[str]) -> Drawing:
    """Draw the panels side by side, with notes at the foot."""
    looks = {one.label: one.look for panel in panels for one in panel.methods}
    words = Words(
        title="Generating against searching, as the gallery grows",
        heads=[(panel.title, panel.subtitle) for panel in panels],
        legend={label: line_of(look) for label, look in looks.items()},
        notes=[_LAWS, *notes],
    )
    with style():
        figure, axes = sheet(words, height=3.6)
        for one, panel in zip(axes, panels, strict=True):
            for method in panel.methods:
                color = method.look.color
                one.plot(method.sizes, 1000 * method.seconds, color=color, marker=method.look.marker, linestyle="")
                sizes = np.geomspace(method.sizes.min(), _BEYOND * method.sizes.max(), _POINTS)
                ms = 1000 * method.law(sizes)
                one.plot(sizes, ms, color=color, linestyle=dashes(method.look), linewidth=1.2, alpha=0.55)
            one.set(xscale="log", yscale="log", xlabel="images in the gallery", ylabel="ms for a query")
            plain_numbers(one.xaxis)
            plain_numbers(one.yaxis)
    return figure
