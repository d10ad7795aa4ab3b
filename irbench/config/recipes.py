"""Recipes: TOML files that name registered things and hold values. Read strictly, hashed, and stored with results.

A file `methods/ft-clip.toml` names one class (`encoder = "ft-clip"`) and gives its `Config` in `[params]`. At most two
kinds of tables override it, the later winning: `[at.<scale>]`, then `[on.<dataset>]`.
"""

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_args, get_type_hints

from irbench.core.errors import RecipeError, UsageError, nearest

FOLDER = "IRBENCH_FOLDER"  # in a cell's process: the folder that the command was given in
SCALES = ("tiny", "small", "mobile", "paper")
_TABLES = {"params", "at", "on", "resources"}
C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class MethodHead:
    """What stands above the tables of methods/NAME.toml: an encoder that a searcher completes, or a whole retriever."""

    encoder: str | None = None
    retriever: str = "dense"
    identifier: str | None = (
        None  # the default recipe of methods/identifier, for a retriever that generates identifiers
    )
    scales: tuple[str, ...] = SCALES  # where there is something to run


@dataclass(frozen=True, kw_only=True)
class SearchHead:
    """What stands above the tables of methods/search/NAME.toml."""

    searcher: str


@dataclass(frozen=True, kw_only=True)
class IdentifierHead:
    """What stands above the tables of methods/identifier/NAME.toml."""

    identifier: str


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What training with a recipe takes at a scale, `[resources.SCALE]`: for executors that share machines out."""

    cores: int = 1
    gpus: int = 0
    memory_gb: float = 0.0  # 0: not known

    def __post_init__(self) -> None:
        if self.cores < 1 or self.gpus < 0 or self.memory_gb < 0:
            raise ValueError("at least one core, and no fewer than no GPUs and no memory, are needed")


@dataclass(frozen=True)
class Recipe:
    """One file, read but not yet applied to a scale and a data set."""

    name: str
    path: Path
    text: str
    table: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """SHA-256 of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def title(self) -> str:
        """The first comment after the one that names the class: what this recipe is, in a line."""
        comments = [line[1:].strip() for line in self.text.splitlines() if line.startswith("#")]
        return comments[1] if len(comments) > 1 else ""

    @property
    def source(self) -> str:
        """The Python file that the first comment names."""
        return self.text.partition("\n")[0].partition("class:")[2].strip()

    def head(self, schema: type[C]) -> C:
        """Return what stands above the tables (which class, which defaults) as the frozen dataclass `schema`."""
        return build_config(schema, {k: v for k, v in self.table.items() if k not in _TABLES}, str(self.path))

    def named_dataset(self, dataset: str, *, usual: bool) -> str:
        """Return the data set whose overrides hold: none at an unusual scale, where the recipe has scales."""
        return dataset if usual or "at" not in self.table else ""

    def params(self, *, scale: str, dataset: str) -> dict[str, Any]:
        """Return `[params]` with the overrides for this scale and this data set laid over it.

        `dataset` is empty at a scale that is not the data set's usual one: `[on.<dataset>]` was not written for it.
        """
        merged = dict(self.table.get("params", {}))
        for family, choice in (("at", scale), ("on", dataset)):
            merged |= self.table.get(family, {}).get(choice, {})
        return merged

    def resources(self, scale: str) -> Resources | None:
        """Return what the recipe says that it needs at this scale; None where it says nothing."""
        table = self.table.get("resources", {}).get(scale)
        return None if table is None else build_config(Resources, table, f"{self.path}: [resources.{scale}]")

    def config(self, schema: type[C], *, scale: str, dataset: str, **overrides: object) -> C:
        """Return the parameters as the class's own frozen `Config`; unknown keys and wrong types are errors.

        `overrides` come from the command line and win.
        """
        self._check_overrides(schema)
        values = self.params(scale=scale, dataset=dataset) | overrides
        return build_config(schema, values, str(self.path), overrides=overrides)

    def _check_overrides(self, schema: type) -> None:
        known = {field.name for field in fields(schema)}
        for family in ("at", "resources"):
            for scale in self.table.get(family, {}):
                if scale not in SCALES:
                    raise RecipeError(
                        f"{self.path}: unknown scale [{family}.{scale}]{nearest(scale, SCALES)}", code="unknown-choice"
                    )
                self.resources(scale)
        for family in ("at", "on"):
            for choice, table in self.table.get(family, {}).items():
                for key in table.keys() - known:
                    raise RecipeError(
                        f"{self.path}: unknown key '{key}' in [{family}.{choice}]{nearest(key, known)}",
                        code="unknown-key",
                    )


@lru_cache(maxsize=1024)
def in_force(texts: str, *, scale: str, dataset: str, usual: bool) -> tuple[tuple[str, str], ...]:
    """Return what recipes say at a scale on a data set: RECIPE.KEY and the value as JSON, in order of the keys.

    What they say at other scales and on other data sets, where they run, and their comments make no difference.

    Args:
        texts: of all files, each after a line "### NAME", as results hold them.
        scale: the one whose [at.SCALE] counts.
        dataset: the one whose [on.DATASET] counts.
        usual: is it the data set's usual scale? At others only files without scales have an [on.DATASET].
    """
    before, *named = re.split(r"^### (.+)\n", texts, flags=re.MULTILINE)
    said: dict[str, str] = {}
    for name, text in zip(["", *named[::2]], [before, *named[1::2]], strict=True):
        try:
            table = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError):  # no recipe, then, but what stands in place of one
            said[name] = text
            continue
        recipe = Recipe(name, Path(), text, table)
        head = {key: value for key, value in table.items() if key not in (*_TABLES, "scales")}
        values = head | recipe.params(scale=scale, dataset=recipe.named_dataset(dataset, usual=usual))
        said |= {f"{name}.{key}".lstrip("."): json.dumps(value, default=str) for key, value in values.items()}
    return tuple(sorted(said.items()))


def build_config(
    schema: type[C], values: Mapping[str, object], where: str, *, overrides: Mapping[str, object] = MappingProxyType({})
) -> C:
    """Check `values` against the frozen dataclass `schema` and build it.

    The message of an error opens with `where` they stand; those of `overrides` were set from outside.
    """
    from pydantic import TypeAdapter, ValidationError

    _check_keys(schema, values, where)
    for key, value in values.items():
        _check_value(value, f"{where}: {key}")
    try:
        # through JSON, whose strict mode takes an array for a tuple but never "3" for 3
        return TypeAdapter(schema).validate_json(json.dumps(dict(values)), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "params"
        place = f"{key} = {overrides[key]!r} in place of what {where} says" if key in overrides else f"{where}: {key}"
        raise RecipeError(f"{place}: {first['msg']}", code="bad-value") from None


def _check_keys(schema: type, values: Mapping[str, object], where: str) -> None:
    """Refuse keys that `schema` does not have, in the tables within it too, which pydantic would drop in silence."""
    types = get_type_hints(schema)
    known = {field.name: types[field.name] for field in fields(schema)}
    for key in values.keys() - known.keys():
        raise RecipeError(f"{where}: unknown key '{key}'{nearest(key, known)}", code="unknown-key")
    for key, value in values.items():
        tables = [table for table in (value if isinstance(value, list) else [value]) if isinstance(table, dict)]
        for inner in (known[key], *get_args(known[key])):
            if isinstance(inner, type) and is_dataclass(inner):
                for table in tables:
                    _check_keys(inner, table, f"{where}: {key}")


def _check_value(value: object, where: str) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise RecipeError(
            f"{where}: {value} is not a finite number, text, true or false, or a list of them", code="bad-value"
        ) from None


def find(family: str, name: str) -> Recipe:
    """Read recipe `name` of `family`: "methods", "methods/search", "methods/identifier" or "datasets"."""
    for folder in folders():
        path = folder / family / f"{name}.toml"
        if path.is_file() and path.stem == name:  # "search/linear" is no method
            return read(path)
    known = names(family)
    raise UsageError(
        f"unknown {_SINGULAR[family]} '{name}'{nearest(name, known)} (irbench list {PLURAL[family]})",
        code="unknown-name",
    )


_SINGULAR = {"methods": "method", "methods/search": "search", "methods/identifier": "identifier",
             "datasets": "dataset"}  # fmt: skip
PLURAL = {"methods": "methods", "methods/search": "searchers", "methods/identifier": "identifiers",
           "datasets": "datasets"}  # fmt: skip


def read(path: Path) -> Recipe:
    """Read one recipe file."""
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: {error}", code="bad-recipe") from None
    for key in _TABLES & table.keys():
        _check_table(table[key], f"{path}: [{key}]")
    for family in ("at", "on", "resources"):
        for choice, overrides in table.get(family, {}).items():
            _check_table(overrides, f"{path}: [{family}.{choice}]")
    return Recipe(path.stem, path, text, table)


def _check_table(value: object, where: str) -> None:
    if not isinstance(value, dict):
        raise RecipeError(f"{where} is a table, not a value", code="bad-recipe")


def names(family: str) -> list[str]:
    """Return the names of all recipes of `family`, the user's own included."""
    return sorted({path.stem for folder in folders() for path in (folder / family).glob("*.toml")})


def own_folders() -> Iterator[Path]:
    """Yield the folders in which the user's own recipes are looked for, and the Python files beside them."""
    folder = Path(os.environ.get(FOLDER, ""))
    own = os.environ.get("IRBENCH_RECIPES")
    if own:
        yield folder / own
    yield folder


def folders() -> Iterator[Path]:
    """Yield where recipes are looked for: the user's folder, the current one, the installed package or the checkout."""
    yield from own_folders()
    package = Path(__file__).parents[1]
    yield package / "_recipes" if (package / "_recipes").is_dir() else package.parent
