"""Builds what a cell names from its recipes: the one place where recipes, registries and classes meet."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from irbench.config import recipes
from irbench.config.recipes import IdentifierHead, MethodHead, Recipe, SearchHead, build_config
from irbench.config.registry import ENCODERS, IDENTIFIERS, RETRIEVERS, SEARCHERS, Registry
from irbench.core.cell import Cell
from irbench.core.errors import NotApplicable, RecipeError, UsageError
from irbench.runtime.code import code_digest
from irbench.runtime.machine import Runtime

if TYPE_CHECKING:
    from irbench.protocols import Encoder, Identifier, Retriever, Searcher

OWN = "embedding."  # how the keys begin of the retriever that is made of an encoder and a searcher
_COMPONENTS = (ENCODERS, SEARCHERS, IDENTIFIERS)
_REGISTRIES = (RETRIEVERS, *_COMPONENTS)


@dataclass(frozen=True)
class Builder:
    """The components of one cell (see irbench.protocols.Components), each built from its recipe when asked for."""

    cell: Cell
    runtime: Runtime
    processes: int = field(default=1, kw_only=True)  # that train its networks together

    def retriever(self) -> "Retriever":
        """Return the cell's retriever, ready to be trained."""
        recipe, head = self._method(self.cell.method)
        if head.encoder is not None:
            own = {key.removeprefix(OWN): value for key, value in self.cell.overrides if key.startswith(OWN)}
            config = build_config(RETRIEVERS.schema(head.retriever), own, "embedding")  # [params] are the encoder's
            return RETRIEVERS.load(head.retriever)(config, self.runtime, self)
        cls, config = self._class_and_config(RETRIEVERS, head.retriever, recipe)
        return cls(config, self.runtime, self)

    def check(self) -> None:
        """Build the retriever and read the recipes that it builds on; what is wrong with one is a `RecipeError`."""
        self.retriever()
        for recipe in built_on(self.cell, self.recipes()):
            head = recipe.head(MethodHead)
            registry, name = (ENCODERS, head.encoder) if head.encoder else (RETRIEVERS, head.retriever)
            self._class_and_config(registry, name, recipe)

    def encoder(self, method: str | None = None) -> "Encoder":
        """Return the encoder of recipe `method`, by default the cell's own; its vectors are cached."""
        from irbench.retrievers.cached_encoder import CachedEncoder

        cls, config = self._encoder(method or self.cell.method)
        identity: dict[str, object] = {
            "config": asdict(config),
            "runtime": [self.runtime.seed, self.runtime.device, self.runtime.precision],
            "code": code_digest(cls, CachedEncoder),
        }
        if self.processes > 1:  # some networks depend on it, and their vectors with them
            identity["processes"] = self.processes
        return CachedEncoder(cls(config, self.runtime), self.runtime.store, identity)

    def uncached_encoder(self, method: str) -> "Encoder":
        """Return the encoder of recipe `method` itself, not yet trained."""
        cls, config = self._encoder(method)
        encoder: Encoder = cls(config, self.runtime)
        return encoder

    def searcher(self) -> "Searcher":
        """Return the cell's searcher."""
        if self.cell.search is None:
            raise UsageError(
                f"method '{self.cell.method}' searches among vectors: name an index, as in --search linear",
                code="no-search",
            )
        recipe = recipes.find("methods/search", self.cell.search)
        cls, config = self._class_and_config(SEARCHERS, recipe.head(SearchHead).searcher, recipe)
        return cls(config, self.runtime)

    def query_keys(self) -> frozenset[str]:
        """Return the keys, and RECIPE.KEYs, on which what the cell's index holds does not depend."""
        if self.cell.search is None:
            return frozenset()
        recipe, schema = self._search()
        return _with_recipe(recipe, getattr(schema, "query_keys", frozenset()))

    def search_keys(self) -> frozenset[str]:
        """Return the keys, and RECIPE.KEYs, on which neither its networks nor its embeddings depend."""
        if self.cell.search is None:
            return frozenset()
        recipe, schema = self._search()
        head = self._method(self.cell.method)[1]
        encoder = {one.name for one in fields(ENCODERS.schema(head.encoder))} if head.encoder else set[str]()
        own = frozenset(f"{OWN}{one.name}" for one in fields(RETRIEVERS.schema(head.retriever)))
        return own | _with_recipe(recipe, {one.name for one in fields(schema)} - encoder)

    def _search(self) -> tuple[Recipe, Any]:
        recipe = recipes.find("methods/search", self.cell.search or "")
        return recipe, SEARCHERS.schema(recipe.head(SearchHead).searcher)

    def identifier(self) -> "Identifier":
        """Return the cell's identifier."""
        if self.cell.identifier is None:
            raise UsageError(
                f"method '{self.cell.method}' generates identifiers: name one, as in --identifier semantic",
                code="no-identifiers",
            )
        recipe = recipes.find("methods/identifier", self.cell.identifier)
        cls, config = self._class_and_config(IDENTIFIERS, recipe.head(IdentifierHead).identifier, recipe)
        return cls(config, self.runtime, self)

    def names_code_of_the_user(self) -> bool:
        """Do the cell's recipes name classes of the user's? Nothing is imported to find out."""
        return names_code_of_the_user(self.recipes())

    def classes(self) -> list[type]:
        """Return every class that the cell's ranking is made by."""
        head = recipes.find("methods", self.cell.method).head(MethodHead)
        return [RETRIEVERS.load(head.retriever), *self.component_classes()]

    def component_classes(self) -> list[type]:
        """Return the classes that the cell's recipes name, but for its retriever's."""
        from irbench.retrievers.cached_encoder import CachedEncoder

        found: list[type] = [CachedEncoder]
        for recipe in self.recipes():
            named = ((registry, recipe.table.get(registry.kind)) for registry in _COMPONENTS)
            found += [registry.load(name) for registry, name in named if isinstance(name, str) and name in registry]
        return found

    def recipes(self) -> list[Recipe]:
        """Return every recipe that the cell is made of, those of methods that it builds on included."""
        return self.named_recipes(self.cell.method)

    def named_recipes(self, method: str | None) -> list[Recipe]:
        """Return the recipes of `method` and of the cell's search and identifier, and those that these build on."""
        found = [recipes.find("methods", method)] if method is not None else []
        if self.cell.search is not None:
            found.append(recipes.find("methods/search", self.cell.search))
        if self.cell.identifier is not None:
            found.append(recipes.find("methods/identifier", self.cell.identifier))
        return found + [recipe for recipe in built_on(self.cell, found) if recipe.name != method]

    def _encoder(self, method: str) -> tuple[Any, Any]:
        recipe, head = self._method(method)
        if head.encoder is None:
            raise RecipeError(f"{recipe.path}: names no encoder", code="no-encoder")
        return self._class_and_config(ENCODERS, head.encoder, recipe)

    def _method(self, method: str) -> tuple[Recipe, MethodHead]:
        recipe = recipes.find("methods", method)
        head = recipe.head(MethodHead)
        if self.cell.scale not in head.scales:
            raise NotApplicable(
                f"{method} is used as it was published, and at scale {self.cell.scale} there is nothing to load: "
                f"run it with --scale {head.scales[0]}",
                code="not-at-scale",
            )
        return recipe, head

    def _class_and_config(self, registry: Registry, name: str, recipe: Recipe) -> tuple[Any, Any]:
        schema = registry.schema(name)
        wished = _asked_of(self.cell, recipe)
        if self.cell.epochs is not None:
            wished["epochs"] = self.cell.epochs
        overrides = {f.name: wished[f.name] for f in fields(schema) if f.name in wished}
        config = recipe.config(schema, scale=self.cell.scale, dataset=dataset_of(self.cell, recipe), **overrides)
        return registry.load(name), config


def _asked_of(cell: Cell, recipe: Recipe) -> dict[str, Any]:
    """Return what the cell overrides, KEY for all of its recipes and RECIPE.KEY, which wins, for this one."""
    asked, mine = dict(cell.overrides), f"{recipe.name}."
    for_all = {key: value for key, value in asked.items() if "." not in key}
    return for_all | {key.removeprefix(mine): value for key, value in asked.items() if key.startswith(mine)}


def _with_recipe(recipe: Recipe, keys: Collection[str]) -> frozenset[str]:
    return frozenset(keys) | {f"{recipe.name}.{key}" for key in keys}


def names_code_of_the_user(found: Sequence[Recipe]) -> bool:
    """Does one of these recipes name a class of the user's? Nothing is imported to find out."""
    named = ((registry, recipe.table.get(registry.kind)) for recipe in found for registry in _REGISTRIES)
    return any(isinstance(name, str) and name in registry and not registry[name].built_in for registry, name in named)


def built_on(cell: Cell, found: Sequence[Recipe]) -> list[Recipe]:
    """Return the recipes of methods that are values in these recipes, and in the recipes of those methods.

    A value that the cell overrides counts in place of the recipe's: `start = "cgd"` for `start = "ft-clip"`.
    """
    known, names, waiting = set(recipes.names("methods")), set[str](), list(found)
    while waiting:
        recipe = waiting.pop()
        values = recipe.params(scale=cell.scale, dataset=dataset_of(cell, recipe)) | _asked_of(cell, recipe)
        more = {value for value in values.values() if isinstance(value, str) and value in known} - names
        names |= more
        waiting += [recipes.find("methods", name) for name in more]
    return [recipes.find("methods", name) for name in sorted(names)]


def dataset_of(cell: Cell, recipe: Recipe) -> str:
    """Return the data set whose overrides hold: none where the recipe has scales and this is not its usual one."""
    return recipe.named_dataset(cell.dataset, usual=cell.scale == cell.default_scale)
