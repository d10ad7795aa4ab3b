"""Ablations: which cells they are made of."""

from dataclasses import replace
from pathlib import Path

import pytest
from raising import raises

from irbench.config import recipes
from irbench.core.errors import UsageError
from irbench.experiments.ablations import ABLATIONS, ablation_cells
from irbench.experiments.build import Builder
from irbench.experiments.plan import GRIDS, Request, cells
from irbench.runtime.cache import Store
from irbench.runtime.machine import Runtime


def test_a_change_to_the_usual_value_is_the_usual_cell() -> None:
    assert cells(Request(methods=("irgen",), overrides=(("rerank", 0),))) == cells(Request(methods=("irgen",)))
    published = Request(methods=("irgen-as-published",), datasets=("cub200",), overrides=(("beam_size", 8),))
    assert [cell.variant for cell in cells(published)] == [None]  # 8 are usual there
    assert [cell.variant for cell in cells(replace(published, datasets=("inshop",)))] == ["beam_size-8"]


@pytest.mark.parametrize("name", ABLATIONS)
def test_the_cells_of_an_ablation_differ_and_hold_irgen_itself(name: str) -> None:
    found = ablation_cells(name, Request(seeds=(0, 1)))
    assert len(found) == len(set(found)) == len({(cell.name, cell.variant, cell.seed) for cell in found})
    irgens = {cell.variant for cell in found if cell.method == "irgen"}
    assert irgens >= ({"incremental"} if name == "fresh" else {None}) or (name in ("index", "embedding") and not irgens)


def test_fresh_images_are_asked_of_every_method_of_the_grid() -> None:
    assert {cell.name for cell in ablation_cells("fresh", Request())} == set(GRIDS["quick"])
    assert all(cell.incremental for cell in ablation_cells("fresh", Request()))


def test_an_index_is_varied_in_its_own_settings_and_one_without_any_is_one_point() -> None:
    found = ablation_cells("index", Request(methods=("ft-clip", "pixels+linear"), datasets=("cars196-holdout",)))
    by_name: dict[str, set[str | None]] = {}
    for cell in found:
        by_name.setdefault(cell.name, set()).add(cell.variant)
    assert by_name["ft-clip+ivfpq"] == {None, *(f"nprobe-{cells}" for cells in (2, 4, 8, 16, 32))}  # 1 is usual there
    assert by_name["ft-clip+linear"] == by_name["pixels+linear"] == {None}
    assert {key for cell in found for key, _ in cell.overrides} == {
        "nprobe", "reorder", "tree_from", "leaves_searched", "search_heads", "query", "expansion_search", "itopk_size",
        "search_window_size"}  # fmt: skip
    on_digits = ablation_cells("index", Request(methods=("ft-clip+ivfpq",), scale="small"))
    assert "small,nprobe-1" in {cell.variant for cell in on_digits}  # 5 are usual there, at every scale
    for method in ("irgen", "classify"):
        with raises(UsageError, "no-search", method):
            ablation_cells("index", Request(methods=(method,)))


def test_embeddings_are_reduced_and_rounded_and_always_compared_one_by_one() -> None:
    found = ablation_cells("embedding", Request(methods=("ft-clip", "pixels+linear")))
    mine = [(cell.search, cell.overrides) for cell in found if cell.method == "ft-clip"]
    assert mine == [(cell.search, cell.overrides) for cell in found if cell.method == "pixels"]
    assert {search for search, _ in mine} == {"linear", "fp16", "sq8", "binary"}
    assert {key for search, overrides in mine for key, _ in overrides if search == "linear"} == {
        "embedding.dims", "embedding.pca"}  # fmt: skip
    assert ("binary", (("rerank", 0),)) in mine
    with raises(UsageError, "no-search", "irgen"):
        ablation_cells("embedding", Request(methods=("irgen",)))


def test_decoders_are_trained_for_multiples_of_their_recipes_epochs_and_nothing_else_is() -> None:
    found = ablation_cells("training", Request(datasets=("omniglot-small",)))
    assert {(cell.identifier, dict(cell.overrides).get("irgen.epochs")) for cell in found} == {
        (identifier, epochs) for identifier in ("random", "hkm", "semantic") for epochs in (15, None, 60, 120, 240)
    }
    assert {key for cell in found for key, _ in cell.overrides} == {"irgen.epochs"}
    (asked, *_) = ablation_cells("training", Request(overrides=(("irgen.epochs", 6),), identifiers=("semantic",)))
    assert dict(asked.overrides) == {"irgen.epochs": 3}


def test_points_of_a_curve_are_different_searchers_and_share_what_is_trained(tmp_path: Path) -> None:
    points = ablation_cells("index", Request(methods=("ft-clip",)))
    workshops = [Builder(cell, Runtime(store=Store(tmp_path))) for cell in points]
    assert len({(shop.cell.search, shop.searcher().config) for shop in workshops}) == len(points)
    assert len({str(shop.encoder().identity) for shop in workshops}) == 1


def test_identifiers_that_are_compared_have_recipes() -> None:
    assert set(ABLATIONS["identifier"].identifiers) <= set(recipes.names("methods/identifier"))


def test_the_methods_that_are_named_are_the_ones_that_are_varied() -> None:
    found = ablation_cells("length", Request(methods=("irgen-as-published",)))
    assert {cell.method for cell in found} == {"irgen-as-published"}
    assert {cell.name for cell in ablation_cells("fresh", Request(methods=("pixels+linear",)))} == {"pixels+linear"}
    with raises(UsageError, "no-identifiers", "ablate beam", "pixels"):
        ablation_cells("beam", Request(methods=("pixels", "irgen")))


def test_a_change_asked_for_gives_way_to_the_one_that_is_varied() -> None:
    found = ablation_cells("beam", Request(overrides=(("decode", "exact"), ("beam_size", 5))))
    assert all(len(dict(cell.overrides)) == len(cell.overrides) for cell in found)
    assert {dict(cell.overrides)["beam_size"] for cell in found} == {1, 5, 8, 10, 20, 30}


def test_options_of_generation_are_refused_where_nothing_is_generated() -> None:
    with raises(UsageError, "unknown-key", "rerank", "pixels"):
        cells(Request(methods=("pixels",), overrides=(("rerank", 30),)))
    with raises(UsageError, "unknown-choice", "'lenght'", "'length'"):
        ablation_cells("lenght", Request())
