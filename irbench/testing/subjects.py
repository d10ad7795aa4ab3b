"""What is checked: a class, built as a cell builds it, or an object that is ready to be used."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

from irbench.config import recipes
from irbench.config.recipes import MethodHead, Recipe, build_config
from irbench.config.registry import Registry
from irbench.core.cell import Cell
from irbench.core.errors import UsageError
from irbench.experiments.build import Builder
from irbench.protocols import Components
from irbench.runtime.cache import Store
from irbench.runtime.machine import Runtime

T = TypeVar("T")
Make = Callable[[Runtime], Any]

# keys of recipes that decide how long a training takes, and what they are set to unless the caller says otherwise
_SHORT: Mapping[str, Any] = {
    "image_size": 32, "resize_size": 32, "epochs": 1, "batch": 16,
    "num_codebooks": 3, "codebook_size": 8, "clusters": 3, "starts": 1,
    "num_layers": 1, "width": 32, "num_heads": 2, "beam_size": 5,
}  # fmt: skip


@dataclass(frozen=True)
class Subject(Generic[T]):
    """Makes what is checked, in a temporary work folder that lives as long as this value."""

    name: str
    build: Make
    runtime: Runtime | None = None  # its store is not used
    ready: bool = False  # `build` hands out one object again and again

    def make(self, *, seed: int = 0, work: str = "work") -> T:
        """Return an instance; equal `work` means that what was trained before is taken up again."""
        store = Store(Path(self._folder.name) / work)
        runtime = self.runtime or Runtime(store=store, threads=1)
        made: T = self.build(replace(runtime, store=store, seed=seed))
        return made

    @cached_property
    def _folder(self) -> "TemporaryDirectory[str]":
        return TemporaryDirectory(prefix="irbench-testing-")


def subject(
    thing: Any, registry: Registry, *, config: Any, recipe: str | None, runtime: Runtime | None, limits: dict[str, Any]
) -> Subject[Any]:
    """Return the subject for a registered name, a class or an object.

    A class is built with `config`, or from `recipe`, by default the one that is called like the class's registered
    name or else the first that names it; `limits` set keys of it. A class that is not registered is built from the
    dataclass `Config` of its module.
    """
    if isinstance(thing, str):
        thing = registry.load(thing)
    if not isinstance(thing, type):
        return Subject(type(thing).__name__, lambda _: thing, runtime, ready=True)
    found = _recipe_of(thing, registry, recipe)
    short = limits if registry.kind == "searcher" else {**_SHORT, **limits}
    given = config if config is not None else _config_of(thing, found, short, limits)
    if registry.kind in ("encoder", "searcher"):
        return Subject(thing.__name__, lambda where: thing(given, where), runtime)
    cell = _cell(registry.kind, found, short)
    return Subject(thing.__name__, lambda where: thing(given, where, _components(cell, where)), runtime)


def _config_of(cls: type, recipe: Recipe | None, short: dict[str, Any], limits: dict[str, Any]) -> Any:
    schema = getattr(sys.modules[cls.__module__], "Config", None)
    if schema is None:
        raise UsageError(f"{cls.__name__}: its module has no dataclass Config; pass one with config=", code="no-config")
    known = {field.name for field in fields(schema)}
    changes = {key: value for key, value in short.items() if key in known or key in limits}
    if recipe is None or (known == set() and "encoder" in recipe.table):  # whose [params] are the encoder's
        return build_config(schema, changes, cls.__name__)
    return recipe.config(schema, scale=_scale(recipe), dataset="", **changes)


def _recipe_of(cls: type, registry: Registry, name: str | None) -> Recipe | None:
    """Return the recipe `name`, or one that names the class; None where there is none."""
    family = registry.family
    if name is not None:
        return recipes.find(family, name)
    registered = next((known for known in registry if registry[known].module == cls.__module__), None)
    if registered is None:
        return None
    candidates = sorted(recipes.names(family), key=lambda known: known != registered)
    found = (recipes.find(family, known) for known in candidates)
    return next((recipe for recipe in found if recipe.table.get(registry.kind) == registered), None)


def _scale(recipe: Recipe) -> str:
    scales = recipe.table.get("scales", ["tiny"])
    return "tiny" if "tiny" in scales else str(scales[0])


def _cell(kind: str, recipe: Recipe | None, short: dict[str, Any]) -> Cell:
    """Return the cell whose components an identifier or a retriever is made of."""
    identifier = recipe.name if recipe and kind == "identifier" else None
    method = "irgen" if kind == "identifier" else recipe.name if recipe else "pixels"
    head = recipes.find("methods", method).head(MethodHead)
    return Cell(
        method=method,
        search="linear",
        identifier=identifier or head.identifier,
        dataset="toy",
        scale="tiny" if "tiny" in head.scales else head.scales[0],
        epochs=short.get("epochs"),
        overrides=tuple((key, value) for key, value in short.items() if key != "epochs"),
    )


def _components(cell: Cell, runtime: Runtime) -> Components:
    return Builder(cell, runtime)
