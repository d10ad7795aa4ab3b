"""The numbers of "IRGen: Generative Modeling for Image Retrieval" (arXiv 2303.10126), typed from its text; percent.

Which of our metrics a published number may stand beside:

- What the paper calls precision@K on In-shop is not hits/K. Its gallery holds 3.2 photographs of an item on average,
  so no method could reach 87 % at K = 10; the published code shortens K once all positives are retrieved. Hence
  In-shop's numbers are `precision_irgen`. On CUB200 and Cars196, where K ≤ 8 is below the size of every class, both
  definitions agree.
- Its Recall@K is 1 if any of the first K results is relevant: `hit_rate`. Its MAP@100 is taken as AP with denominator
  min(n, 100). A denominator of n is ruled out (an ImageNet class has 1,281 images on average, so 100 results reach at
  most 100/1,281, and the paper has 76.0 %); the number of retrieved positives is not.

Known misprints and gaps, kept as printed:

- Table 2's rows marked * (linear search with CGD and IRT_R) come from those methods' own papers, obtained with
  other preprocessing and sizes; they are used only where the paper has no reproduction, and their source says so.
  Both rows give the same In-shop numbers.
- Table 3 gives HKM-100 precision@1 88.2 but Recall@1 87.2, which are one quantity. Its row of random identifiers is
  incomplete in the copy used here; what is not listed is unknown.
- Table 6's FT-CLIP row falls from scratch (68.9, 67.3, 66.5, 66.7) and looks like a row of another table.
- Figures 3, 4 and 6 are curves without numbers. Figure 5 is what the text states.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from irbench.core.cell import Cell, Overrides

PROTOCOL, CROP = "closed-set", "none"  # under which the numbers hold
DATASETS = ("inshop", "cub200", "cars196", "imagenet", "places365")


INSHOP_PRECISION = (
    "In-shop's gallery has 12,612 photographs of 3,985 items, 3.2 of each: of 10 results about 3 can be relevant. The "
    "paper's 87.0 at K = 10 is therefore not Σh/10; its code divides by the rank of the last relevant image (Σh/r)"
)


class PaperTable(NamedTuple):
    """One of the paper's tables: its title, the metrics of its columns, the data sets of its panels."""

    title: str
    metrics: tuple[str, ...]
    datasets: tuple[str, ...]
    file: str


TABLES: Mapping[int, PaperTable] = {
    1: PaperTable("Precision", ("precision",), DATASETS[:3], "table1_precision"),
    2: PaperTable("Recall@K", ("hit_rate",), DATASETS[:3], "table2_recall"),
    3: PaperTable("Kinds of identifiers", ("precision", "hit_rate"), ("inshop",), "table3_identifiers_inshop"),
    4: PaperTable("Length of identifiers", ("precision", "hit_rate"), ("inshop",), "table4_length_inshop"),
    5: PaperTable("MAP@100 among a million images", ("map",), DATASETS[3:], "table5_map100"),
    6: PaperTable(
        "Images added after training", ("precision", "hit_rate"), ("inshop-incremental",), "table6_fresh_inshop"
    ),
}


@dataclass(frozen=True)
class Setup:
    """A method as the paper's tables list it, in the fields of `core.cell.Cell`."""

    method: str
    search: str | None = None
    identifier: str | None = None  # None: the method's own
    overrides: Overrides = ()
    incremental: bool = False

    @property
    def is_varied(self) -> bool:
        """Is it an ablation of its method?"""
        return self.identifier is not None or bool(self.overrides)

    @property
    def cell(self) -> Cell:
        """The same as a cell at the paper's scale, of no particular data set."""
        return Cell(dataset="", scale="paper", default_scale="paper", **vars(self))

    @property
    def label(self) -> str:
        """What tables call it: "ft-clip+scann", "irgen@num_codebooks-2"."""
        return self.cell.label


class Line(NamedTuple):
    """A row of one of the paper's tables, on one data set: empty `percents` where the paper gives none."""

    setup: Setup
    percents: Mapping[str, float]  # by metric as irbench defines it: "precision_irgen@10"
    source: str


class Key(NamedTuple):
    """What a published number is of."""

    setup: Setup
    k: int


class Number(NamedTuple):
    """A published number: percent, and the table that prints it."""

    percent: float
    source: str


@cache
def published(metric: str, dataset: str) -> Mapping[Key, Number]:
    """Return the paper's numbers of `metric` on `dataset`, its own reproductions preferred; empty where it has none.

    Besides `DATASETS` there is "inshop-incremental" (Table 6): half of the gallery was held out of training.
    """
    numbers: dict[Key, Number] = {}
    for row in _rows_of(metric):
        if row["dataset"] == dataset and metric in _metrics(row):
            key = Key(_setup(row), int(row["k"]))
            if key not in numbers or row.get("source") == "reproduced":
                numbers[key] = Number(float(row["percent"]), _source(row))
    return numbers


@cache
def lines(number: int, dataset: str) -> tuple[Line, ...]:
    """Return all rows of Table `number` in the paper's order, with its numbers for each on `dataset`.

    Of RQ-VAE's identifiers the text of Section 4.2 gives no more than a bound; Table 3 lists them all the same.
    """
    rows = _rows(TABLES[number].file)
    found = []
    for setup in dict.fromkeys(map(_setup, rows)):
        here = [row for row in rows if row["dataset"] == dataset and _setup(row) == setup]
        percents = {f"{_metrics(row)[0]}@{row['k']}": float(row["percent"]) for row in here}
        found.append(Line(setup, percents, _source(here[0]) if here else f"Table {number}: no number"))
    if number == 3:
        bound = "Section 4.2: less than 10 percent" if dataset == "inshop" else f"Table {number}: no number"
        found.append(Line(Setup("irgen", identifier="rqvae"), {}, bound))
    return tuple(found)


@cache
def seconds_per_query() -> Mapping[int, float]:
    """Return the seconds that Figure 5's text states for one query on a V100 with 16 GB, by beam size."""
    return {int(row["beam"]): float(row["seconds_per_query"]) for row in _read("figure5_throughput")}


_ABLATIONS = ("table3_identifiers_inshop", "table4_length_inshop")
# the paper's identifiers, and what irbench calls them; None: IRGen's own
_IDENTIFIERS = {"semantic": None, "hkm-100": "hkm"}
_NUM_CODEBOOKS = "4"  # of IRGen itself


def _setup(row: Mapping[str, str]) -> Setup:
    """Return what a row of any of the tables is about."""
    if row["table"] == "table3_identifiers_inshop":
        return Setup("irgen", identifier=_IDENTIFIERS.get(row["identifier"], row["identifier"]))
    if row["table"] == "table4_length_inshop":
        usual = row["length"] == _NUM_CODEBOOKS
        return Setup("irgen", overrides=() if usual else (("num_codebooks", int(row["length"])),))
    search = None if row["search"] == "beam" else row["search"]
    return Setup(row["method"], search, incremental=row["dataset"].endswith("-incremental"))


def _rows_of(metric: str) -> Iterator[dict[str, str]]:
    """Yield the rows of the tables that give this metric; of ablations those of IRGen itself repeat Tables 1 and 2."""
    tables = {
        "precision": ("table1_precision", "table6_fresh_inshop"),
        "precision_irgen": ("table1_precision", "table6_fresh_inshop", *_ABLATIONS),
        "hit_rate": ("table2_recall", "table6_fresh_inshop", *_ABLATIONS),
        "map": ("table5_map100",),
    }
    for name in tables.get(metric, ()):
        yield from (row for row in _rows(name) if name not in _ABLATIONS or _setup(row).is_varied)


def _metrics(row: Mapping[str, str]) -> tuple[str, ...]:
    """Return the metrics, as irbench defines them, that this row gives."""
    by_table = {"table1_precision": "precision", "table2_recall": "hit_rate", "table5_map100": "map"}
    metric = row.get("metric") or by_table[row["table"]]
    if metric == "recall":
        return ("hit_rate",)
    if metric != "precision":
        return (metric,)
    return ("precision_irgen",) if row["dataset"].startswith("inshop") else ("precision", "precision_irgen")


def _source(row: Mapping[str, str]) -> str:
    table = f"Table {row['table'].removeprefix('table')[0]}"
    if row.get("source") == "original-paper":
        return f"{table}, from the method's own paper"
    if (row["table"], row.get("method")) == ("table6_fresh_inshop", "ft-clip"):
        return f"{table}, a row that looks misplaced"
    return table


@cache
def _rows(name: str) -> tuple[dict[str, str], ...]:
    """Return the rows of a table with the columns that its file leaves out."""
    rows = [{"table": name, "dataset": "inshop", "k": "100"} | row for row in _read(name)]
    return tuple(row | {"percent": row.get("percent") or row["map_at_100_percent"]} for row in rows)


@cache
def _read(name: str) -> tuple[dict[str, str], ...]:
    text = files(__package__).joinpath(f"{name}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))
