"""Ablations: which cells they are made of."""

import pytest

from irbench import recipes
from irbench.ablation import ABLATIONS, ablation_cells
from irbench.errors import UsageError
from irbench.grid import GRIDS, Request, cells


def test_a_change_to_the_usual_value_is_the_usual_cell() -> None:
    assert cells(Request(methods=("irgen",), changes=(("beams", 30),))) == cells(Request(methods=("irgen",)))
    on_cub = cells(Request(methods=("irgen",), datasets=("cub200",), changes=(("beams", 30),)))  # where 8 are usual
    assert [cell.variant for cell in on_cub] == ["beams-30"]


@pytest.mark.parametrize("name", ABLATIONS)
def test_the_cells_of_an_ablation_differ_and_hold_irgen_itself(name: str) -> None:
    found = ablation_cells(name, Request(seeds=(0, 1)))
    assert len(found) == len(set(found)) == len({(cell.name, cell.variant, cell.seed) for cell in found})
    assert {cell.variant for cell in found if cell.method == "irgen"} >= {"fresh" if name == "fresh" else None}


def test_fresh_images_are_asked_of_every_method_of_the_grid() -> None:
    assert {cell.name for cell in ablation_cells("fresh", Request())} == set(GRIDS["quick"])
    assert all(cell.fresh for cell in ablation_cells("fresh", Request()))


def test_identifiers_that_are_compared_have_recipes() -> None:
    for identifier in ABLATIONS["identifier"].identifiers:
        recipes.find("methods/identifier", identifier)


def test_options_of_generation_are_refused_where_nothing_is_generated() -> None:
    with pytest.raises(UsageError, match="--rerank: none of pixels"):
        cells(Request(methods=("pixels",), changes=(("rerank", 30),)))
    with pytest.raises(UsageError, match="did you mean 'length'"):
        ablation_cells("lenght", Request())
