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
    assert set(ABLATIONS["identifier"].identifiers) <= set(recipes.names("methods/identifier"))


def test_the_methods_that_are_named_are_the_ones_that_are_varied() -> None:
    found = ablation_cells("length", Request(methods=("irgen-as-published",)))
    assert {cell.method for cell in found} == {"irgen-as-published"}
    assert {cell.name for cell in ablation_cells("fresh", Request(methods=("pixels+linear",)))} == {"pixels+linear"}
    with pytest.raises(UsageError, match="ablate beam: pixels writes no identifiers"):
        ablation_cells("beam", Request(methods=("pixels", "irgen")))


def test_a_change_asked_for_gives_way_to_the_one_that_is_varied() -> None:
    found = ablation_cells("beam", Request(changes=(("decode", "exact"), ("beams", 5))))
    assert all(len(dict(cell.changes)) == len(cell.changes) for cell in found)
    assert {dict(cell.changes).get("beams", 30) for cell in found} == {1, 5, 10, 20, 30}


def test_options_of_generation_are_refused_where_nothing_is_generated() -> None:
    with pytest.raises(UsageError, match="--rerank: none of pixels"):
        cells(Request(methods=("pixels",), changes=(("rerank", 30),)))
    with pytest.raises(UsageError, match="did you mean 'length'"):
        ablation_cells("lenght", Request())
