"""Every setting that the paper states, and what the recipes resolve to on each of its data sets."""

import csv
from importlib.resources import files

import pytest

from irbench import paper
from irbench.config import recipes
from irbench.config.registry import ENCODERS, IDENTIFIERS, RETRIEVERS, SEARCHERS

STATED = list(csv.DictReader(files("irbench.paper").joinpath("settings.csv").read_text().splitlines()))
NAMED = {(row["family"], row["recipe"], row["key"], row["dataset"]) for row in STATED}
KINDS = {"methods/identifier": (IDENTIFIERS,), "methods/search": (SEARCHERS,), "methods": (ENCODERS, RETRIEVERS)}


def resolved(family, name, dataset):
    """What a recipe says on a data set at the paper's scale, with the defaults of its schema."""
    recipe = recipes.find(family, name)
    registry = next(one for one in KINDS[family] if one.kind in recipe.table)
    schema = registry.schema(recipe.table[registry.kind])
    return recipe.config(schema, scale="paper", dataset=dataset)


def read(text, like):
    """Read a stated value as the type of the resolved one."""
    if isinstance(like, tuple):
        return tuple(map(float, text.split()))
    return type(like)(text)


@pytest.mark.parametrize("row", STATED, ids=lambda row: f"{row['recipe']}.{row['key']} {row['dataset']}")
def test_recipes_resolve_to_what_the_paper_states(row):
    everywhere = row["dataset"] == "*"
    for dataset in paper.DATASETS if everywhere else [row["dataset"]]:
        if everywhere and (row["family"], row["recipe"], row["key"], dataset) in NAMED:
            continue
        value = getattr(resolved(row["family"], row["recipe"], dataset), row["key"])
        assert value == read(row["value"], value), dataset


def test_a_rqvae_map_has_256_codes():
    config = resolved("methods/identifier", "rqvae", "inshop")
    side = config.image_size // 2 ** (len(config.multipliers) - 1)
    assert side * side * config.num_quantizers == 256


def test_beams_and_blocks_are_the_published_ones_where_everything_is_as_published():
    found = {dataset: resolved("methods", "irgen-as-published", dataset) for dataset in paper.DATASETS}
    assert {dataset: (one.beam_size, one.num_layers) for dataset, one in found.items()} == {
        "inshop": (30, 12), "cub200": (8, 12), "cars196": (8, 12), "imagenet": (30, 24), "places365": (30, 24),
    }  # fmt: skip
