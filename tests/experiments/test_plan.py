"""From a request to cells."""

from pathlib import Path

import pytest
from raising import raises

from irbench.core.cell import Cell
from irbench.core.errors import RecipeError, UsageError
from irbench.experiments.build import Builder
from irbench.experiments.plan import GRIDS, PAPER_DATASETS, Request, cells


def names(found: list[Cell]) -> list[str]:
    return [cell.name for cell in found]


def test_nothing_asked_is_the_quick_grid_on_digits() -> None:
    found = cells(Request())
    assert names(found) == list(GRIDS["quick"])
    assert {(cell.dataset, cell.scale, cell.seed, cell.variant) for cell in found} == {("digits", "tiny", 0, None)}


def test_images_of_ones_own_are_for_the_pretrained_network_of_a_laptop(tmp_path: Path) -> None:
    found = cells(Request(datasets=(str(tmp_path),)))
    assert {cell.scale for cell in found} == {"mobile"}
    assert {"imagenet+linear", "ft-clip+linear", "irgen", "classify"} <= set(names(found))


def test_the_papers_grid_is_every_row_of_its_tables_and_the_control_on_its_five_data_sets() -> None:
    found = cells(Request(grid="paper"))
    assert len(found) == len(PAPER_DATASETS) * (2 + 3 * 4 + 1 + 1)
    assert {cell.scale for cell in found} == {"paper"}


def test_methods_and_searches_are_crossed_and_a_plus_chooses_one() -> None:
    request = Request(methods=("ft-clip", "pixels+linear", "irgen"), searches=("scann", "spann"), seeds=(1, 2))
    found = cells(request)
    assert names(found) == [n for n in ("ft-clip+scann", "ft-clip+spann", "pixels+linear", "irgen") for _ in (1, 2)]
    assert [cell.identifier for cell in found if cell.method == "irgen"] == ["semantic"] * 2


def test_asking_twice_is_one_cell() -> None:
    assert names(cells(Request(methods=("pixels", "pixels+linear")))) == ["pixels+linear"]


@pytest.mark.parametrize(
    ("asked", "variant"),
    [
        ({"scale": "small"}, "small"),
        ({"protocol": "metric-learning", "crop": "bbox"}, "crop-bbox,metric-learning"),
        ({"epochs": 3, "max_queries": 5}, "epochs-3,queries-5"),
    ],
)
def test_whatever_is_unusual_is_in_the_name_of_the_result(asked: dict, variant: str) -> None:
    (cell,) = cells(Request(methods=("irgen",), **asked))
    assert cell.variant == variant


def test_cells_that_differ_in_anything_have_different_places() -> None:
    requests = [Request(), Request(scale="small"), Request(epochs=1), Request(epochs=2), Request(max_queries=1)]
    places = [(c.dataset, c.name, c.variant, c.seed) for request in requests for c in cells(request)]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize(
    ("request_", "code", "named"),
    [
        (Request(methods=("irgen+linear",)), "no-search", ["irgen+linear"]),
        (Request(methods=("ft-clip",), searches=("fais",)), "unknown-name", ["search", "'fais'"]),
        (
            Request(methods=("irgen",), identifiers=("semantc",)),
            "unknown-name",
            ["identifier", "'semantc'", "'semantic'"],
        ),
    ],
)
def test_names_are_checked_before_anything_runs(request_: Request, code: str, named: list[str]) -> None:
    with raises(UsageError, code, *named):
        cells(request_)


@pytest.mark.parametrize(
    ("overrides", "decoder", "tokenizer"),
    [
        ((("epochs", 3),), 3, 3),
        ((("irgen.epochs", 3),), 3, 6),
        ((("semantic.epochs", 5), ("epochs", 3)), 3, 5),
        ((("ft-clip.epochs", 4),), 16, 6),  # of the network that both start from
    ],
)
def test_a_key_is_set_in_every_recipe_or_in_the_one_that_is_named(runtime, overrides, decoder, tokenizer) -> None:
    (cell,) = cells(Request(methods=("irgen",), overrides=overrides))
    retriever = Builder(cell, runtime).retriever()
    assert (retriever.config.epochs, retriever.identifier.config.epochs) == (decoder, tokenizer)
    assert dict(cell.overrides) == dict(overrides)


def test_a_key_of_a_recipe_that_the_cell_does_not_have_is_refused() -> None:
    with raises(UsageError, "unknown-key", "rqvae.epochs"):
        cells(Request(methods=("irgen",), overrides=(("rqvae.epochs", 3),)))


def test_a_method_that_an_override_names_takes_the_place_of_the_one_in_the_recipe(runtime) -> None:
    starts = (("irgen.start", "cgd"), ("semantic.start", "cgd"))
    (cell,) = cells(Request(methods=("irgen",), overrides=(*starts, ("cgd.epochs", 4))))
    assert dict(cell.overrides) == {**dict(starts), "cgd.epochs": 4}
    assert [recipe.name for recipe in Builder(cell, runtime).recipes()] == ["irgen", "semantic", "cgd"]
    with raises(UsageError, "unknown-key", "ft-clip.epochs"):
        cells(Request(methods=("irgen",), overrides=(*starts, ("ft-clip.epochs", 4))))
    (one, both) = cells(Request(methods=("ft-clip+linear", "irgen"), overrides=(("start", "cgd"), ("cgd.epochs", 4))))
    assert one.overrides == ()
    assert [recipe.name for recipe in Builder(both, runtime).recipes()] == ["irgen", "semantic", "cgd"]


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        ((("irgen.start", "cgd"),), "other-fit"),
        ((("semantic.start", "cgd"),), "other-fit"),
        ((("start", "cgd"), ("cgd.fit", "center-crop")), None),
        ((("start", "cgd"), ("fit", "squash")), None),
        ((("ft-clip.fit", "squash"),), "other-fit"),
        ((("irgen.backbone", "test_vit"),), "wrong-backbone"),
        ((("start", "weights"), ("fit", "squash")), None),
    ],
)
def test_networks_start_from_those_of_their_kind_or_the_cell_is_refused(runtime, overrides, code: str | None) -> None:
    (cell,) = cells(Request(methods=("irgen",), overrides=overrides))
    if code is None:
        Builder(cell, runtime).check()
        return
    with raises(RecipeError, code):
        Builder(cell, runtime).check()


def test_a_factory_string_is_a_part_of_a_searchs_name() -> None:
    (cell,) = cells(Request(methods=("ft-clip+faiss:IVF64,PQ8x4",), overrides=(("rerank", 50), ("ft-clip.epochs", 3))))
    assert (cell.search, dict(cell.overrides)) == (
        "faiss",
        {"factory": "IVF64,PQ8x4", "rerank": 50, "ft-clip.epochs": 3},
    )
    assert (
        cell
        == cells(
            Request(
                methods=("ft-clip",),
                searches=("faiss",),
                overrides=(("factory", "IVF64,PQ8x4"), ("rerank", 50), ("ft-clip.epochs", 3)),
            )
        )[0]
    )
    found = cells(Request(methods=("pixels",), searches=("faiss:Flat", "faiss", "faiss:HNSW8", "hnsw:HNSW16", "sq8")))
    assert [(one.search, one.overrides) for one in found] == [
        ("faiss", ()),
        ("faiss", (("factory", "HNSW8"),)),
        ("hnsw", (("factory", "HNSW16"),)),
        ("sq8", ()),
    ]
    for asked in ("scann:HNSW8", "faiss:"):
        with raises(UsageError, "unused-option", asked):
            cells(Request(methods=("pixels",), searches=(asked,)))
