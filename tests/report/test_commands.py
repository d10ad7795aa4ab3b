"""The command that a report names for a result makes that very cell again: read by the command line itself."""

from itertools import chain

import pytest
from chosen import result

from irbench.cli import run as commands
from irbench.core.cell import Cell
from irbench.experiments.ablations import ABLATIONS, ablation_cells
from irbench.experiments.plan import Request, cells
from irbench.report.commands import command_of
from irbench.results.schema import Dataset, RecipeUsed, Result, of_cell

SHORT = {"datasets": ("omniglot-small",), "seeds": (3,)}
RUNS = [
    Request(**SHORT, grid="full"),
    Request(**SHORT, methods=("irgen",), identifiers=("hkm-200", "random"), scale="small", epochs=3),
    Request(**SHORT, methods=("ft-clip+spann",), crop="bbox", protocol="metric-learning", max_queries=5),
    Request(**SHORT, methods=("irgen",), overrides=(("decode", "exact"), ("rerank", 30))),
]
CELLS = list(
    dict.fromkeys(
        chain(
            chain.from_iterable(map(cells, RUNS)),
            chain.from_iterable(ablation_cells(name, Request(**SHORT)) for name in ABLATIONS),
        )
    )
)


def made_of(cell: Cell):
    facts = Dataset(name=cell.dataset, protocol=cell.protocol, crop=cell.crop, fingerprint="f", train=1, gallery=1,
                    queries=1, classes=1, incremental=int(cell.incremental))  # fmt: skip
    return Result(dataset=facts, shortened=cell.shortened, status="ok", inputs="", recipe=RecipeUsed(text="", hash=""),
                  created="", **of_cell(cell))  # fmt: skip


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_command_line_reads_the_cell_from_its_command(cell, call, monkeypatch):
    asked = []
    monkeypatch.setattr(commands, "carry_out", lambda _, plan, *__, **___: asked.extend(e.cell for e in plan()))
    program, *words = command_of(made_of(cell)).split()
    assert program == "irbench"
    assert call(*words)[0] == 0
    assert asked == [cell]


def test_what_cannot_be_known_is_a_word_in_capitals():
    facts = Dataset(name="photos-1a2b3c", protocol="closed-set", crop="none", fingerprint="f", train=1, gallery=1,
                    queries=1, classes=1)  # fmt: skip
    assert command_of(result(dataset=facts)) == "irbench run --method ft-clip+scann --dataset PATH --seed 0"
    imported = result(dataset=facts, method="theirs", search=None, variant="imported")
    assert command_of(imported) == "irbench import RUN --method theirs --dataset PATH"
