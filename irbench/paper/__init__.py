"""The numbers of "IRGen: Generative Modeling for Image Retrieval" (arXiv 2303.10126), typed from its text; percent.

Which of our metrics a published number may stand beside:

- What the paper calls precision@K on In-shop is not hits/K. Its gallery holds 3.2 photographs of an item on average,
  so no method could reach 87 % at K = 10; the published code shortens K once all are found. Hence In-shop's numbers are
  `precision_irgen`. On CUB200 and Cars196, where K ≤ 8 is below the size of every class, both definitions agree.
- Its Recall@K is 1 if any of K is right: `hit_rate`. Its MAP@100 is taken as AP with denominator min(n, 100): no other
  definition allows 76 % on ImageNet.

Known misprints and gaps, kept as printed:

- Table 2's rows marked * (linear search with CGD and IRT_R) come from those methods' own papers, made with other
  preprocessing and sizes; they stand here only where the paper has no reproduction, and their source says so.
  Both rows give the same In-shop numbers.
- Table 3 gives HKM-100 precision@1 88.2 but Recall@1 87.2, which are one quantity. Its row of random identifiers is
  incomplete in the copy used here; what is not listed is unknown.
- Table 6's FT-CLIP row falls from scratch (68.9, 67.3, 66.5, 66.7) and looks like a row of another table.
- Figures 3, 4 and 6 are curves without numbers. Figure 5 is what the text states.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

PROTOCOL, CROP = "closed-set", "none"  # under which the numbers hold
DATASETS = ("inshop", "cub200", "cars196", "imagenet", "places365")


INSHOP_PRECISION = (
    "In-shop's gallery has 12,612 photographs of 3,985 items, 3.2 of each: of 10 answers about 3 can be right. The "
    "paper's 87.0 at K = 10 is therefore not Σh/10; its code divides by the rank of the last right image (Σh/r)"
)


class PaperTable(NamedTuple):
    """One of the paper's tables: what it is about, the metrics of its columns, the data sets of its panels."""

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


class Line(NamedTuple):
    """A row of one of the paper's tables, on one data set: empty `percents` where the paper gives none."""

    cell: str  # as irbench names its own: "ft-clip+scann", "irgen@hkm-200", "cgd+spann@incremental"
    percents: Mapping[str, float]  # by metric as irbench defines it: "precision_irgen@10"
    source: str


class Key(NamedTuple):
    """A cell of the paper's tables; `search` is None where the method answers without an index (IRGen).

    An ablation's method is named as irbench names its own: "irgen@hkm-200" (Table 3), "irgen@num_codebooks-2"
    (Table 4).
    """

    method: str
    search: str | None
    k: int


class Number(NamedTuple):
    """A published number: percent, and the table that it stands in."""

    percent: float
    source: str


@cache
def published(metric: str, dataset: str) -> Mapping[Key, Number]:
    """Return what the paper says of `metric` on `dataset`, its own reproduction preferred; empty where nothing.

    Besides `DATASETS` there is "inshop-incremental" (Table 6): half of the gallery was kept out of training.
    """
    numbers: dict[Key, Number] = {}
    for row in _rows_of(metric):
        if row["dataset"] == dataset and metric in _metrics(row):
            search = None if row["search"] == "beam" else row["search"]
            key = Key(row["method"], search, int(row.get("k", 100)))
            if key not in numbers or row.get("source") == "reproduced":
                numbers[key] = Number(float(row.get("percent") or row["map_at_100_percent"]), _source(row))
    return numbers | (_ablations(metric) if dataset == "inshop" else {})


@cache
def lines(number: int, dataset: str) -> tuple[Line, ...]:
    """Return all rows of Table `number` in the paper's order, with what it says of each on `dataset`.

    Of RQ-VAE's identifiers the text of Section 4.2 gives no more than a bound; they stand in Table 3 all the same.
    """
    rows = [row | {"table": TABLES[number].file} for row in _read(TABLES[number].file)]
    rows = [{"dataset": "inshop", "percent": row.get("map_at_100_percent", ""), "k": "100"} | row for row in rows]
    found = []
    for cell in dict.fromkeys(map(_cell, rows)):
        here = [row for row in rows if row["dataset"] == dataset and _cell(row) == cell]
        percents = {f"{_metrics(row)[0]}@{row['k']}": float(row["percent"]) for row in here}
        found.append(Line(cell, percents, _source(here[0]) if here else f"Table {number}: no number"))
    if number == 3:
        bound = "Section 4.2: less than 10 percent" if dataset == "inshop" else f"Table {number}: no number"
        found.append(Line("irgen@rqvae", {}, bound))
    return tuple(found)


def _cell(row: Mapping[str, str]) -> str:
    """Return what irbench calls a row of any of the tables."""
    if row["table"] in _ABLATIONS:
        name = _ABLATIONS[row["table"]](row)
        return f"irgen@{name}" if name else "irgen"
    name = row["method"] if row["search"] == "beam" else f"{row['method']}+{row['search']}"
    return f"{name}@incremental" if row["dataset"].endswith("-incremental") else name


def _ablations(metric: str) -> dict[Key, Number]:
    """Return what Tables 3 and 4 say; their rows of IRGen itself are Table 1's and 2's over again."""
    numbers = {}
    for table, variant in _ABLATIONS.items():
        for row in _read(table):
            name = variant(row)
            if name and metric == _INSHOP_METRICS[row["metric"]]:
                source = f"Table {table.removeprefix('table')[0]}"
                numbers[Key(f"irgen@{name}", None, int(row["k"]))] = Number(float(row["percent"]), source)
    return numbers


# the paper's words in its tables about In-shop, and what irbench calls the same quantity
_INSHOP_METRICS = {"precision": "precision_irgen", "recall": "hit_rate"}
_ABLATIONS: Mapping[str, Callable[[Mapping[str, str]], str | None]] = {
    "table3_identifiers_inshop": lambda row: {"semantic": None, "hkm-100": "hkm"}.get(
        row["identifier"], row["identifier"]
    ),
    "table4_length_inshop": lambda row: f"num_codebooks-{row['length']}" if row["length"] != "4" else None,
}


@cache
def seconds_per_query() -> Mapping[int, float]:
    """Return what Figure 5's text says of one query on a V100 with 16 GB, by beam size."""
    return {int(row["beam"]): float(row["seconds_per_query"]) for row in _read("figure5_throughput")}


def _rows_of(metric: str) -> Iterator[dict[str, str]]:
    tables = {
        "precision": ("table1_precision", "table6_fresh_inshop"),
        "precision_irgen": ("table1_precision", "table6_fresh_inshop"),
        "hit_rate": ("table2_recall", "table6_fresh_inshop"),
        "map": ("table5_map100",),
    }
    for name in tables.get(metric, ()):
        for row in _read(name):
            yield row | {"table": name}


def _metrics(row: dict[str, str]) -> tuple[str, ...]:
    """Return the metrics, as irbench defines them, that this row gives."""
    by_table = {"table1_precision": "precision", "table2_recall": "hit_rate", "table5_map100": "map"}
    metric = row.get("metric") or by_table[row["table"]]
    if metric == "recall":
        return ("hit_rate",)
    if metric != "precision":
        return (metric,)
    return ("precision_irgen",) if row["dataset"].startswith("inshop") else ("precision", "precision_irgen")


def _source(row: dict[str, str]) -> str:
    table = f"Table {row['table'].removeprefix('table')[0]}"
    if row.get("source") == "original-paper":
        return f"{table}, from the method's own paper"
    if (row["table"], row.get("method")) == ("table6_fresh_inshop", "ft-clip"):
        return f"{table}, a row that looks misplaced"
    return table


@cache
def _read(name: str) -> tuple[dict[str, str], ...]:
    text = files(__package__).joinpath(f"{name}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))
