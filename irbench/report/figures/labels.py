"""Labels beside points, each where it covers no other label and no point, if there is such a place."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import BboxBase
from numpy.typing import NDArray

from irbench.report.palette import MUTED

_Place = tuple[float, float, str, str]

# where a label may stand, in points from its point, and how it is aligned there; the best places first
_PLACES: tuple[_Place, ...] = (
    (0, 8, "center", "bottom"), (0, -8, "center", "top"), (9, 0, "left", "center"), (-9, 0, "right", "center"),
    (7, 7, "left", "bottom"), (-7, 7, "right", "bottom"), (7, -7, "left", "top"), (-7, -7, "right", "top"),
    (0, 20, "center", "bottom"), (0, -20, "center", "top"), (20, 12, "left", "bottom"), (-20, 12, "right", "bottom"),
    (20, -12, "left", "top"), (-20, -12, "right", "top"), (0, 32, "center", "bottom"), (0, -32, "center", "top"),
)  # fmt: skip
_MARK = 5.0  # points around the middle of a mark that labels leave free
_ROOM = 3.0  # points between two labels
_OUTSIDE = 10  # times as bad as lying on something: what is outside of the axes lies on their numbers
_STEPS = 60  # into which a line that labels leave free is cut

Line = tuple[tuple[float, float], tuple[float, float]]
Boxes = NDArray[np.float64]  # [N,4] x0, y0, x1, y1 in pixels


def place_labels(axes: Axes, labels: Sequence[tuple[float, float, str]], lines: Sequence[Line] = ()) -> None:
    """Write each text near its point and off the lines; points are in data coordinates, the first labels choose first.

    The axes have to have their limits already: what moves afterwards is not seen.
    """
    figure = axes.get_figure(root=True)
    if figure is None or not labels:
        return
    figure.draw_without_rendering()  # only then is it known where the axes are
    marks = axes.transData.transform([(x, y) for x, y, _ in labels])
    taken = np.concatenate([_around(marks, _MARK * figure.dpi / 72), *(_along(axes, line) for line in lines)])
    for x, y, text in labels:
        written = axes.annotate(
            text, (x, y), xytext=(0, 0), textcoords="offset points", fontsize=7.5, color=MUTED, zorder=6
        )
        written.set_in_layout(False)  # else the axes would make room for it, and its point would move
        box = _put(written, min(_PLACES, key=partial(_cost, written, axes.bbox, taken)))
        taken = np.concatenate([taken, [box.padded(_ROOM * figure.dpi / 72).extents]])


def _around(middles: Boxes, room: float) -> Boxes:
    return np.concatenate([middles - room, middles + room], axis=1)


def _along(axes: Axes, line: Line) -> Boxes:
    """Small boxes along a line, which is straight on the screen."""
    start, end = axes.transData.transform(line)
    return _around(start + np.linspace(0, 1, _STEPS)[:, None] * (end - start), 1.0)


def _cost(written: Annotation, inside: BboxBase, taken: Boxes, place: _Place) -> float:
    """Return the area that the label would cover of what is taken, and more for what it has outside of the axes."""
    box = np.array(_put(written, place).extents)
    outside = float((box[2] - box[0]) * (box[3] - box[1])) - float(_shared(box, np.array([inside.extents]))[0])
    return _OUTSIDE * outside + float(_shared(box, taken).sum())


def _put(written: Annotation, place: _Place) -> BboxBase:
    x, y, across, upright = place
    written.set(position=(x, y), horizontalalignment=across, verticalalignment=upright)
    return written.get_window_extent()


def _shared(box: NDArray[np.float64], others: Boxes) -> NDArray[np.float64]:
    """[N] the area that `box` [4] has in common with each of the others."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return np.prod(np.maximum(sides, 0), axis=1)
