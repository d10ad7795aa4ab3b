"""The paper's tables: every row of them, its number where the paper has it, and what was measured or how to do it."""

import csv
import io
import json
import shlex
from dataclasses import replace

import pytest
import typer
from chosen import CUB, Artefacts, drawn, result, rows
from raising import raises

from irbench import paper
from irbench.cli.main import app
from irbench.core.errors import UsageError
from irbench.experiments.ablations import ablation_cells
from irbench.experiments.plan import GRIDS, Request, cells
from irbench.report.numbered import commands, numbered
from irbench.report.render import FORMATS, render

CASES = [(number, dataset) for number, known in paper.TABLES.items() for dataset in known.datasets]
DIGITS = replace(CUB, name="digits", fingerprint="d" * 64)


def panel_of(number, dataset, results=(), **options):
    (found,) = [one for one in numbered(number, results, **options).panels if one.dataset == dataset]
    return found


@pytest.mark.parametrize(("number", "dataset"), CASES)
def test_without_results_every_row_has_its_number_and_how_to_measure_it(number, dataset):
    shown = panel_of(number, dataset)
    lines = paper.lines(number, dataset)
    assert [row.method for row in shown.rows] == [line.setup.label for line in lines for _ in range(2)]
    assert [row.kind for row in shown.rows] == ["published", "gap"] * len(lines)
    keys = [column.key for column in shown.columns]
    for line, row, gap in zip(lines, shown.rows[::2], shown.rows[1::2], strict=True):
        known = {key: cell.value for key, cell in zip(keys, row.cells, strict=True) if cell.value is not None}
        assert list(known.values()) == list(line.percents.values())
        assert gap.reason.startswith("not run: irbench ")


def made_by(command):
    """The cells that a command line runs, as `irbench` itself would read it."""
    words = shlex.split(command)[1:]
    read = typer.main.get_command(app).commands[words[0]].make_context(words[0], words[1:]).params
    request = Request(
        methods=tuple(read["method"] or ()),
        identifiers=tuple(read["identifier"] or ()),
        datasets=tuple(read["dataset"]),
        grid=read["grid"],
    )
    found = ablation_cells(read["what"], request) if words[0] == "ablate" else cells(request)
    return {(cell.dataset, cell.label) for cell in found}


@pytest.mark.parametrize(("number", "dataset"), CASES)
def test_the_commands_of_gaps_make_the_cells_that_are_missing(number, dataset):
    shown = panel_of(number, dataset)
    where = dataset.removesuffix("-incremental")
    for gap in shown.rows[1::2]:
        assert (where, gap.method) in made_by(gap.reason.removeprefix("not run: "))
    every = {(where, row.method) for row in shown.rows}
    together = commands([line.setup for line in paper.lines(number, dataset)], dataset)
    assert every <= set().union(*map(made_by, together))
    assert any(together[0] in note for note in shown.notes)


def test_the_grid_of_the_paper_is_its_first_table_and_the_control():
    setups = [line.setup for line in paper.lines(1, "inshop")]
    assert {setup.label for setup in setups} | {"classify"} == set(GRIDS["paper"])
    assert commands(setups, "cub200") == ["irbench run --grid paper -d cub200"]


def test_what_was_measured_stands_below_what_was_published_at_any_scale():
    results = [
        result(40, method="ft-clip", search="scann"),
        result(60, method="ft-clip", search="scann", variant="small", scale="small"),
        result(method="irgen", search=None, variant="hkm"),
        result(status="skipped", reason="no\nweights", metrics={}, backbone=None, method="clip", search="linear"),
    ]
    shown = panel_of(1, "cub200", results)
    kinds = {row.method: [] for row in shown.rows}
    for row in shown.rows:
        kinds[row.method].append(row.kind)
    assert kinds.pop("ft-clip+scann") == ["published", "measured"]
    assert kinds.pop("ft-clip+scann@small") == ["measured"]
    assert set(map(tuple, kinds.values())) == {("published", "gap")}
    assert [row.reason for row in shown.rows if row.method == "clip+linear"] == ["", "skipped: weights"]
    order = [row.method for row in shown.rows if row.kind != "gap"]
    assert order.index("ft-clip+scann@small") == order.index("cgd+spann") - 1
    assert any(
        note.startswith("13 of the paper's rows were not run here: irbench run -m res101") for note in shown.notes
    )


def test_fresh_galleries_are_for_the_sixth_table_only():
    fresh = replace(CUB, name="inshop", incremental=500, fingerprint="e" * 64)
    results = [result(method="irgen", search=None, dataset=fresh, variant="incremental")]
    measured = [row.method for row in rows(numbered(6, results))]
    assert measured == ["irgen@incremental"]
    assert not rows(numbered(1, results))
    more = [result(method="irgen", search=None, dataset=fresh, variant="incremental,unseen-generate")]
    assert not rows(numbered(6, more))


def test_other_data_sets_follow_with_the_rows_that_were_run_and_other_protocols_are_left_out():
    other = replace(CUB, protocol="metric-learning", fingerprint="0" * 64)
    results = [
        result(method="irgen", search=None, dataset=DIGITS),
        result(method="pixels", search="linear", dataset=DIGITS),
        result(method="ft-clip", search="scann", dataset=other),
    ]
    shown = numbered(1, results)
    assert [panel.dataset for panel in shown.panels] == ["inshop", "cub200", "cars196", "digits"]
    assert [row.method for row in shown.panels[-1].rows] == ["irgen"]
    assert "14 of the paper's rows" in shown.panels[-1].notes[-1]
    assert "1 results under another protocol" in shown.notes[0]
    assert [panel.dataset for panel in numbered(1, results, datasets=["digits"]).panels] == ["digits"]


def test_one_data_set_can_be_asked_for_and_one_without_these_rows_is_told_of():
    for name in ("inshop", "inshop-incremental"):
        assert [panel.dataset for panel in numbered(6, [], datasets=[name]).panels] == ["inshop-incremental"]
    assert [panel.dataset for panel in numbered(1, [], datasets=["cub200"]).panels] == ["cub200"]
    pixels = result(method="pixels", search="linear", dataset=DIGITS)
    shown = numbered(1, [pixels], datasets=["digits"])
    assert not shown.panels
    assert shown.notes[0].startswith("digits: none of this table's rows was run")


def test_shortened_results_are_counted_and_shown_when_asked():
    short = result(method="irgen", search=None, variant="epochs-3", shortened={"epochs": 3})
    assert "1 shortened" in numbered(1, [short]).notes[0]
    assert [row.method for row in rows(numbered(1, [short], include_shortened=True))] == ["irgen (shortened: epochs=3)"]


def test_rows_are_ranked_as_in_any_table():
    kept = Artefacts(irgen=[drawn(0.9, 0)], other=[])
    worse = replace(next(kept.results()), method="ft-clip", search="spann")
    kept.hits["ft-clip"] = [drawn(0.4, 1)]
    shown = panel_of(1, "cub200", [next(kept.results()), worse], judge=kept)
    assert {row.method: row.cells[0].rank for row in shown.rows if row.kind == "measured"} == {
        "ft-clip+spann": (2, 2), "irgen": (1, 1),
    }  # fmt: skip
    assert shown.rows[-1].kind == "upper bound"


def test_inshops_table_says_why_its_numbers_are_no_shares_of_k():
    for number, dataset in ((1, "inshop"), (3, "inshop"), (4, "inshop"), (6, "inshop-incremental")):
        assert paper.INSHOP_PRECISION in panel_of(number, dataset).notes
    assert paper.INSHOP_PRECISION not in panel_of(2, "inshop").notes


@pytest.mark.parametrize("width", [80, 110])
def test_all_tables_are_one_document_in_every_format(width):
    tables = [numbered(number, [result(method="irgen", search=None, dataset=DIGITS)]) for number in paper.TABLES]
    for form in FORMATS:
        text = render(tables, form, width=width)
        assert "irbench ablate length" in text
    assert max(map(len, render(tables, "text", width=width).splitlines())) <= width
    parsed = json.loads(render(tables, "json"))
    assert [table["number"] for table in parsed["tables"]] == [1, 2, 3, 4, 5, 6]
    lines = list(csv.DictReader(io.StringIO(render(tables, "csv"))))
    assert {line["table"] for line in lines} == set("123456")
    published = [line for line in lines if line["kind"] == "published" and line["value"]]
    assert len(published) == sum(len(line.percents) for case in CASES for line in paper.lines(*case))
    assert all(line["reason"].startswith("not run: ") for line in lines if line["kind"] == "gap")


def test_no_name_or_option_of_a_command_is_broken():
    shown = numbered(1, [result(method="irgen", search=None, dataset=DIGITS)])
    for width in range(80, 120, 7):
        words = render(shown, "text", width=width).split()
        assert words.count("cgd+spann") == words.count("irt-r+spann")
        assert not [word for word in words if word.endswith("-") and word.strip("-")]
    assert "irbench run -{}-grid paper -d inshop" in render(shown, "latex")


def test_a_table_that_the_paper_has_not():
    with raises(UsageError, "unknown-choice", "--table", 7):
        numbered(7, [])
