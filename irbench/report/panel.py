"""What a table is made of: plain values that every format, and the report's pages, are written from."""

from dataclasses import dataclass

from irbench.report.quantities import Quantity


@dataclass(frozen=True)
class Cell:
    """A number as it is printed, or None for a gap, with its 95 % interval or its deviation over seeds.

    Measured rows of a panel are tested against each other on the same queries, column by column: `p` is that of the
    row against the best one, `rank` the places that the row may stand in, both after Holm's correction for all pairs
    of rows in the column. None where there is nothing to test: one row, or no hits beside the result.
    """

    value: float | None = None
    interval: tuple[float, float] | None = None  # of the mean over the queries, where there is one seed
    deviation: float | None = None  # standard deviation over the seeds, where there are several
    best: bool = False  # as printed, of the measured rows
    p: float | None = None
    tied: bool = False  # not the best, and cannot be told from it
    rank: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a panel.

    Its `kind` is "measured" (a method as it ran), "published" (as the paper prints it), "gap" (not run, or run without
    success: `reason` says which, and what to do) or "upper bound" (the most that the gallery allows).
    """

    kind: str
    method: str
    scale: str = ""
    backbone: str
    weights: str  # the origin; for a published row the table it stands in
    machine: str = ""  # told where prices are compared
    data: str = ""  # protocol, crop and images; told where they are mixed in one panel
    seeds: int = 0
    reason: str = ""
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The rows of one data set under one protocol and crop."""

    dataset: str
    protocol: str
    crop: str
    fingerprint: str  # empty where nothing was measured, or where data are mixed
    part: str = ""  # which of the data set's rows stand here: "" for methods, "irgen, varied" for one's variants
    title: str
    columns: tuple[Quantity, ...]
    headline: str = ""  # key of the column whose ranks are printed where there is room for one
    rows: tuple[Row, ...]
    notes: tuple[str, ...]  # gaps and their reasons, queries left out


@dataclass(frozen=True, kw_only=True)
class Table:
    """What `irbench table` prints."""

    metric: str
    number: int = 0  # of the paper's table that this one follows row by row; 0 for any other
    title: str
    caption: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...]
