"""The paper's numbers, spot-checked against its text, and offered only to the metric they are numbers of."""

import csv
from importlib.resources import files

import pytest

from irbench import paper
from irbench.metrics import retrieval
from irbench.paper import Setup


def plain(metric, dataset):
    """The numbers of methods as they are, without those of the ablations."""
    return [key for key in paper.published(metric, dataset) if not key.setup.is_varied]


@pytest.mark.parametrize(
    ("metric", "dataset", "setup", "k", "percent"),
    [
        ("precision_irgen", "inshop", Setup("irgen"), 10, 87.0),
        ("precision", "cub200", Setup("irgen"), 4, 83.0),
        ("precision", "cars196", Setup("ft-clip", "linear"), 2, 87.7),
        ("hit_rate", "inshop", Setup("res101-img", "linear"), 30, 66.8),
        ("hit_rate", "cub200", Setup("irt-r", "scann"), 2, 86.8),
        ("map", "places365", Setup("irgen"), 100, 44.3),
        ("precision_irgen", "inshop-incremental", Setup("irgen", incremental=True), 30, 12.4),
        ("precision_irgen", "inshop", Setup("irgen", identifier="hkm"), 20, 78.2),
        ("precision_irgen", "inshop", Setup("irgen", identifier="hkm-500"), 1, 89.5),
        ("precision_irgen", "inshop", Setup("irgen", identifier="random"), 10, 75.4),
        ("hit_rate", "inshop", Setup("irgen", overrides=(("num_codebooks", 8),)), 30, 97.8),
    ],
)
def test_printed_numbers(metric, dataset, setup, k, percent):
    assert paper.published(metric, dataset)[paper.Key(setup, k)].percent == percent


def test_inshop_precision_is_the_published_codes_and_no_other():
    assert not paper.published("precision", "inshop")
    assert not paper.published("precision", "inshop-incremental")
    assert len(plain("precision_irgen", "inshop")) == 60
    for dataset in ("cub200", "cars196"):
        assert paper.published("precision", dataset) == paper.published("precision_irgen", dataset)
    assert not any(paper.published(metric, "inshop") for metric in ("mrr", "recall", "r_precision", "map"))


def test_numbers_from_other_papers_say_so():
    recall = paper.published("hit_rate", "inshop")
    assert "own paper" in recall[paper.Key(Setup("cgd", "linear"), 1)].source
    assert recall[paper.Key(Setup("cgd", "spann"), 1)].source == "Table 2"


def test_no_line_of_the_tables_is_lost():
    def lines(name):
        return list(csv.DictReader(files("irbench.paper").joinpath(name).read_text().splitlines()))

    total = sum(len(plain("precision_irgen", dataset)) for dataset in paper.DATASETS)
    assert total == len(lines("table1_precision.csv"))
    assert sum(len(plain("hit_rate", dataset)) for dataset in paper.DATASETS) == len(lines("table2_recall.csv"))
    ablations = [
        key
        for metric in ("precision_irgen", "hit_rate")
        for key in paper.published(metric, "inshop")
        if key.setup.is_varied
    ]
    usual = 2 * 4 * 2  # rows of IRGen itself: two tables, four K, precision and recall
    assert len(ablations) + usual == sum(
        map(len, map(lines, ("table3_identifiers_inshop.csv", "table4_length_inshop.csv")))
    )
    assert paper.seconds_per_query() == {10: 0.07, 30: 0.19}


def test_every_number_is_a_percentage_of_a_known_metric():
    for metric in retrieval.METRICS:
        for dataset in (*paper.DATASETS, "inshop-incremental"):
            assert all(0 < number.percent <= 100 for number in paper.published(metric, dataset).values())


@pytest.mark.parametrize("number", paper.TABLES)
def test_the_lines_of_a_table_hold_each_of_its_numbers_once_in_its_order(number):
    known = paper.TABLES[number]
    rows = list(csv.DictReader(files("irbench.paper").joinpath(f"{known.file}.csv").read_text().splitlines()))
    printed = [row.get("percent") or row["map_at_100_percent"] for row in rows]
    found = [
        percent
        for dataset in known.datasets
        for line in paper.lines(number, dataset)
        for percent in line.percents.values()
    ]
    assert sorted(found) == sorted(map(float, printed))
    setups = [line.setup for line in paper.lines(number, known.datasets[0])]
    assert all(
        [line.setup for line in paper.lines(number, dataset)] == setups for dataset in (*known.datasets, "digits")
    )


def test_a_row_without_numbers_is_a_row_all_the_same():
    (line,) = [line for line in paper.lines(2, "cars196") if line.setup == Setup("irt-r", "linear")]
    assert line == (Setup("irt-r", "linear"), {}, "Table 2: no number")
    assert [line.setup.label for line in paper.lines(3, "inshop")][-2:] == ["irgen", "irgen@rqvae"]
