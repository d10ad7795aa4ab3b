"""What a table is made of: plain values that every format, and the report's pages, are rendered from."""

from dataclasses import dataclass

from irbench.report.quantities import Quantity


@dataclass(frozen=True)
class Cell:
    """A number as it is printed, or None for a gap, with its 95 % interval and its deviation over seeds.

    Measured rows of a panel are tested against each other on the same queries, column by column: `p` is that of the
    row against the best one, after Holm's correction for the comparisons with the best; `rank` is the best and the
    worst place that the row may have, after that for all pairs of rows with the same seeds. None where there is nothing
    to test: one row, or no hits.
    """

    value: float | None = None
    interval: tuple[float, float] | None = None  # 95 %, over classes of queries and seeds; of a time that of its rounds
    deviation: float | None = None  # standard deviation over the seeds, where there are several
    best: bool = False  # as printed, of the measured rows
    p: float | None = None
    tied: bool = False  # not the best, and no significant difference from it
    rank: tuple[int, int] | None = None
    among: int = 0  # rows that the rank compares: those with the same seeds
    rounds: tuple[float, ...] = ()  # of a time that was taken in rounds together with others: what each round gave
    session: str = ""  # equal for times that were taken together
    short: float | None = 0.0  # share of the queries with fewer results than K, or than n; None where not known


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a panel.

    Its `kind` is "measured" (a method as it ran), "published" (as the paper prints it), "gap" (not run, or run without
    success: `reason` says which, and what to do) or "upper bound" (the score of a perfect ranking).
    """

    kind: str
    method: str  # as it is printed, "irgen@beam_size-10"; its parts follow
    family: str = ""  # the method without search and variant: "irgen"
    search: str = ""
    variant: str = ""
    scale: str = ""
    precision: str = ""  # "fp32", "bf16"
    backbone: str
    weights: str  # the origin; of a published row the paper's table
    machine: str = ""  # the processor; only where costs are compared
    threads: int = 0  # of that machine
    data: str = ""  # protocol, crop and images; only where they are mixed in one panel
    ran: tuple[int, ...] = ()  # the seeds that it is the mean of
    reason: str = ""
    cells: tuple[Cell, ...]

    @property
    def seeds(self) -> int:
        """How many seeds it is the mean of."""
        return len(self.ran)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The rows of one data set under one protocol and crop."""

    dataset: str
    protocol: str
    crop: str
    fingerprint: str  # empty where nothing was measured, or where data are mixed
    part: str = ""  # which of the data set's rows it has: "" for methods, "irgen, varied" for the variants of one
    title: str
    columns: tuple[Quantity, ...]
    headline: str = ""  # key of the column whose ranks are printed where there is room for one
    rows: tuple[Row, ...]
    notes: tuple[str, ...]  # gaps and their reasons, queries and images left out


@dataclass(frozen=True, kw_only=True)
class Table:
    """What `irbench table` prints."""

    metric: str
    number: int = 0  # of the paper's table that this one reproduces row by row; 0 for any other
    title: str
    caption: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...]
