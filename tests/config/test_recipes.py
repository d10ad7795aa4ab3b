"""Recipes: read strictly, overridden in a known order, and every shipped one fits the class that it names."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raising import raises

from irbench.config import recipes
from irbench.config.recipes import SCALES, IdentifierHead, MethodHead, SearchHead
from irbench.config.registry import ENCODERS, IDENTIFIERS, LOADERS, RETRIEVERS, SEARCHERS
from irbench.core.errors import RecipeError, UsageError
from irbench.data.datasets import Head as DatasetHead
from irbench.experiments.build import Builder, dataset_of
from irbench.experiments.plan import Request, cells

ROOT = Path(__file__).parents[2]
FAMILIES = ("methods", "methods/search", "methods/identifier", "datasets")
SHIPPED = [(family, path) for family in FAMILIES for path in sorted((ROOT / family).glob("*.toml"))]


@dataclass(frozen=True, kw_only=True)
class Config:
    cells: int
    share: float = 0.5
    betas: tuple[float, float] = (0.9, 0.96)
    start: str | None = None
    mirror: bool = False


def recipe(tmp_path, text, name="ivf"):
    path = tmp_path / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return recipes.read(path)


def config(tmp_path, text, *, scale="tiny", dataset="digits", **overrides):
    return recipe(tmp_path, text).config(Config, scale=scale, dataset=dataset, **overrides)


def test_later_tables_win_and_the_command_line_wins_over_all(tmp_path):
    text = """
    [params]
    cells = 1
    share = 0.1
    start = "params"
    betas = [0.1, 0.2]
    [at.tiny]
    cells = 2
    share = 0.2
    start = "at"
    [on.digits]
    cells = 3
    share = 0.3
    """
    assert config(tmp_path, text, cells=4) == Config(cells=4, share=0.3, start="at", betas=(0.1, 0.2))
    assert config(tmp_path, text, scale="paper", dataset="cub200") == Config(
        cells=1, share=0.1, start="params", betas=(0.1, 0.2)
    )


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("[params]\ncels = 1", "unknown-key", ["'cels'", "'cells'"]),
        ("[params]\ncells = 1\n[at.small]\nshrae = 0.1", "unknown-key", ["'shrae'", "[at.small]", "'share'"]),
        ("[params]\ncells = 1\n[on.cub200]\nzzz = 0.1", "unknown-key", ["'zzz'", "[on.cub200]"]),
        ("[params]\ncells = 1\n[at.tinny]\ncells = 2", "unknown-choice", ["[at.tinny]", "'tiny'"]),
        ("[params]\nshare = 1.0", "bad-value", ["cells: ", "required"]),
        ('[params]\ncells = "1"', "bad-value", ["cells: ", "integer"]),
        ("[params]\ncells = 1.0", "bad-value", ["cells: ", "integer"]),
        ("[params]\ncells = true", "bad-value", ["cells: ", "integer"]),
        ("[params]\ncells = 1\nmirror = 1", "bad-value", ["mirror: ", "boolean"]),
        ("[params]\ncells = 1\nbetas = [0.1]", "bad-value", ["betas"]),
        ("[params]\ncells = 1\nshare = nan", "bad-value", ["share", "nan"]),
        ("[params]\ncells = 1\nstart = 2020-01-01", "bad-value", ["start", "2020-01-01"]),
        ("[params]\ncells = 1\n[at]\ntiny = 3", "bad-recipe", ["[at.tiny]"]),
        ("[params]\ncells = 1\n[resources.papr]\ncores = 2", "unknown-choice", ["[resources.papr]", "'paper'"]),
        ("[params]\ncells = 1\n[resources.paper]\ncore = 2", "unknown-key", ["[resources.paper]", "'core'", "'cores'"]),
        ("[params]\ncells = 1\n[resources.paper]\ncores = 0", "bad-value", ["[resources.paper]", "core"]),
        ("[params]\ncells = 1\n[resources]\npaper = 3", "bad-recipe", ["[resources.paper]"]),
        ("[params]\ncells = 1\n[on]\ndigits = 3", "bad-recipe", ["[on.digits]"]),
        ("params = 3", "bad-recipe", ["[params]"]),
        ("[params", "bad-recipe", []),
        ("x = " + "[" * 3000, "bad-recipe", []),
        ("x = " + "9" * 6000, "bad-recipe", []),
    ],
)
def test_a_mistake_is_told_with_file_and_key(tmp_path, text, code, named):
    with raises(RecipeError, code, "ivf.toml", *named) as error:
        config(tmp_path, text)
    assert "\n" not in str(error.value)


def test_a_value_from_outside_is_not_blamed_on_the_file(tmp_path):
    with raises(RecipeError, "bad-value", "cells = 'many'", "ivf.toml") as error:
        config(tmp_path, "[params]\ncells = 1", cells="many")
    assert not str(error.value).startswith(str(tmp_path))


@given(key=st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=1, max_size=8))
def test_no_unknown_key_slips_through(tmp_path_factory, key):
    folder = tmp_path_factory.getbasetemp()
    if key not in Config.__dataclass_fields__:
        for text in (f"{key} = 1", f"[at.tiny]\n{key} = 1", f"[on.elsewhere]\n{key} = 1"):
            with raises(RecipeError, "unknown-key", f"'{key}'"):
                config(folder, f"[params]\ncells = 1\n{text}")


def test_a_head_is_as_strict(tmp_path):
    with raises(RecipeError, "unknown-key", "'seracher'", "'searcher'"):
        recipe(tmp_path, 'seracher = "x"\n[params]').head(SearchHead)
    with raises(RecipeError, "bad-value", "searcher: ", "required"):
        recipe(tmp_path, "[params]").head(SearchHead)
    assert recipe(tmp_path, 'searcher = "x"\n[params]\ncells = 1').head(SearchHead) == SearchHead(searcher="x")


def test_the_users_own_folder_comes_first(tmp_path, monkeypatch):
    shipped = recipes.find("methods/search", "linear")
    own = tmp_path / "own" / "methods" / "search"
    own.mkdir(parents=True)
    (own / "linear.toml").write_text("# class: mine\n")
    (own / "mine.toml").write_text("")
    here = tmp_path / "here" / "methods" / "search"
    here.mkdir(parents=True)
    (here / "linear.toml").write_text("# class: here\n")
    monkeypatch.chdir(tmp_path / "here")
    assert recipes.find("methods/search", "linear").source == "here"
    monkeypatch.setenv("IRBENCH_RECIPES", str(tmp_path / "own"))
    assert recipes.find("methods/search", "linear").source == "mine"
    assert recipes.find("methods/search", "linear").hash != shipped.hash
    assert {"mine", "linear", "ivfpq"} <= set(recipes.names("methods/search"))


@pytest.mark.parametrize(
    ("family", "name", "named"),
    [
        ("methods/search", "ivpq", ["search", "'ivpq'", "'ivfpq'", "irbench list searchers"]),
        ("methods", "irgn", ["method", "'irgn'", "'irgen'"]),
        ("datasets", "cub", ["dataset", "'cub'"]),
        ("methods", "search/linear", ["method", "'search/linear'"]),
        ("methods", "../datasets/digits", ["method", "'../datasets/digits'"]),
        ("methods", "", ["method", "''"]),
        ("methods", "nul\0", ["method", "'nul\0'"]),
    ],
)
def test_an_unknown_name_is_told(family, name, named):
    with raises(UsageError, "unknown-name", *named):
        recipes.find(family, name)


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with raises(RecipeError, "bad-recipe", "x.toml"):
        recipes.read(tmp_path / "x.toml")


def named_class(family, found):
    """The registry and the name in it that a shipped recipe leads to."""
    if family == "datasets":
        return LOADERS, found.head(DatasetHead).loader
    if family == "methods/search":
        return SEARCHERS, found.head(SearchHead).searcher
    if family == "methods/identifier":
        return IDENTIFIERS, found.head(IdentifierHead).identifier
    head = found.head(MethodHead)
    return (RETRIEVERS, head.retriever) if head.encoder is None else (ENCODERS, head.encoder)


@pytest.mark.parametrize(("family", "path"), SHIPPED, ids=lambda value: getattr(value, "stem", value))
def test_every_shipped_recipe_fits_its_class_at_every_scale(family, path):
    found = recipes.read(path)
    registry, name = named_class(family, found)
    assert isinstance(registry.load(name), type)
    for scale in SCALES:
        for dataset in ("elsewhere", *recipes.names("datasets")):
            found.config(registry.schema(name), scale=scale, dataset=dataset)


@pytest.mark.parametrize(("family", "path"), SHIPPED, ids=lambda value: getattr(value, "stem", value))
def test_every_shipped_recipe_is_short_and_names_its_class_file(family, path):
    found = recipes.read(path)
    registry, name = named_class(family, found)
    assert len(found.text.splitlines()) <= 70
    assert found.source == registry[name].module.replace(".", "/") + ".py"
    assert (ROOT / found.source).is_file()
    assert found.title
    assert set(found.table.get("on", {})) <= set(recipes.names("datasets"))


@pytest.mark.parametrize(
    ("registry", "names", "change", "key"),
    [
        (ENCODERS, "pixels off-the-shelf ft-clip cgd irt-r", {"fit": "crop"}, "fit"),
        (ENCODERS, "pixels off-the-shelf ft-clip cgd irt-r", {"image_size": 0}, "image_size"),
        (ENCODERS, "off-the-shelf ft-clip cgd irt-r", {"image_size": 9, "resize_size": 8}, "resize_size"),
        (ENCODERS, "off-the-shelf ft-clip", {"drop_path": 1.0}, "drop_path"),
        (ENCODERS, "off-the-shelf", {"backbone": "vit_small_patch14_dinov2"}, "backbone"),  # its weights were random
        (ENCODERS, "ft-clip cgd irt-r", {"optimizer": "sgd"}, "optimizer"),
        (ENCODERS, "ft-clip cgd irt-r", {"schedule": "linear"}, "schedule"),
        (ENCODERS, "ft-clip", {"epochs": 0}, "epochs"),
        (ENCODERS, "ft-clip", {"batch": -1}, "batch"),
        (ENCODERS, "ft-clip", {"lr": 0.0}, "lr"),
        (ENCODERS, "ft-clip", {"warmup": 1.5}, "warmup"),
        (ENCODERS, "cgd", {"train_size": 300}, "train_size"),
        (ENCODERS, "ft-clip", {"betas": [0.9, 1.0]}, "betas"),
        (ENCODERS, "cgd", {"descriptors": "SX"}, "descriptors"),
        (ENCODERS, "cgd", {"descriptors": "SGM", "dim": 32}, "dim"),
        (ENCODERS, "irt-r", {"memory_ratio": -0.1}, "memory_ratio"),
        (IDENTIFIERS, "semantic", {"codebook_size": 0}, "codebook_size"),
        (IDENTIFIERS, "semantic", {"num_codebooks": 0}, "num_codebooks"),
        (RETRIEVERS, "irgen", {"beam_size": 0}, "beam_size"),
        (RETRIEVERS, "irgen", {"width": 100, "num_heads": 12}, "num_heads"),
        (SEARCHERS, "linear", {"spare": -1}, "spare"),
        (SEARCHERS, "ivfpq", {"subspaces": 0}, "subspaces"),
        (SEARCHERS, "ivfpq", {"bits": 17}, "bits"),
        (SEARCHERS, "scann", {"leaves_searched": 5.0}, "leaves_searched"),
        (SEARCHERS, "spann", {"ratio": 1.5}, "ratio"),
        (SEARCHERS, "spann", {"replicas": 0}, "replicas"),
    ],
)
def test_a_value_out_of_bounds_is_refused_when_the_recipe_is_read(registry, names, change, key):
    family = {"searcher": "methods/search", "identifier": "methods/identifier"}.get(registry.kind, "methods")
    shipped = {"off-the-shelf": "clip"}
    for name in names.split():
        found = recipes.find(family, shipped.get(name, name))
        with raises(RecipeError, "bad-value", ".toml", key):
            found.config(registry.schema(name), scale="paper", dataset="elsewhere", **change)


def test_recipes_ship_at_all():
    assert {family for family, _ in SHIPPED} == set(FAMILIES)
    names = {path.stem for family, path in SHIPPED if family == "methods"}
    assert names >= {"res101-img", "clip", "cgd", "irt-r", "ft-clip", "pixels", "irgen"}
    assert not list((ROOT / "methods").rglob("*.py"))


@pytest.mark.parametrize(
    ("method", "dataset", "scale", "epochs"),
    [
        ("ft-clip", "omniglot-small", "tiny", 40),  # [on.omniglot-small], at its own scale
        ("ft-clip", "omniglot-small", "paper", 200),  # not there
        ("irt-r", "cars196", "paper", 16),
        ("irt-r", "cars196", "small", 200),  # a published number of steps is not for a network from scratch
        ("irgen", "digits", "tiny", 16),
    ],
)
def test_exceptions_for_a_data_set_hold_at_its_usual_scale_only(method, dataset, scale, epochs) -> None:
    (cell,) = cells(Request(methods=(method,), datasets=(dataset,), scale=scale))
    recipe = recipes.find("methods", method)
    assert recipe.params(scale=scale, dataset=dataset_of(cell, recipe))["epochs"] == epochs


@pytest.mark.parametrize("method", [path.stem for family, path in SHIPPED if family == "methods"])
def test_every_shipped_method_finds_its_classes(method, runtime) -> None:
    (cell,) = cells(Request(methods=(method,)))
    found = Builder(cell, runtime).classes()
    assert len(found) >= 2
    assert all(isinstance(cls, type) for cls in found)


_TEXTS = """### a
# class: x
encoder = "a"
scales = ["tiny"]
[params]
epochs = 3
[at.small]
epochs = 4
[on.digits]
batch = 8
### b
searcher = "b"
[on.digits]
nprobe = 2
"""
_IN_FORCE = {"a.encoder": '"a"', "a.epochs": "3", "a.batch": "8", "b.searcher": '"b"', "b.nprobe": "2"}


@pytest.mark.parametrize(
    ("old", "new", "asked", "changes"),
    [
        ("", "", {}, {}),
        ("# class: x", "# a comment", {}, {}),
        ('["tiny"]', '["tiny", "mobile"]', {}, {}),
        ("[at.small]\nepochs = 4", "[at.small]\nepochs = 5\n[at.mobile]\nepochs = 6", {}, {}),
        ("nprobe = 2", "nprobe = 3", {}, {"b.nprobe": "3"}),
        ("", "", {"scale": "small"}, {"a.epochs": "4"}),
        ("", "", {"scale": "small", "usual": False}, {"a.epochs": "4", "a.batch": None}),
        ("", "", {"dataset": "cub200"}, {"a.batch": None, "b.nprobe": None}),
        (
            "[on.digits]\nnprobe = 2\n",
            "no TOML",
            {},
            {"b.searcher": None, "b.nprobe": None, "b": 'searcher = "b"\nno TOML'},
        ),
    ],
)
def test_what_recipes_say_at_other_scales_and_of_other_data_is_not_in_force(old, new, asked, changes) -> None:
    found = recipes.in_force(_TEXTS.replace(old, new), **{"scale": "tiny", "dataset": "digits", "usual": True} | asked)
    assert dict(found) == {key: value for key, value in (_IN_FORCE | changes).items() if value is not None}
