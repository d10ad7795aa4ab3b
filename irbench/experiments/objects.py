"""Methods and searchers without a recipe: live Python objects, arrays, Python files, and models of MTEB by name."""

import ast
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeGuard, cast
from uuid import uuid4

import numpy as np

from irbench.core import pyfile
from irbench.core.benchmark import Benchmark
from irbench.core.errors import MissingLibrary, RecipeError, UsageError
from irbench.core.names import checked_name, legal_name
from irbench.data import datasets
from irbench.experiments.build import Builder
from irbench.protocols import Encoder, Retriever, Searcher
from irbench.runtime.code import code_digest, file_digest
from irbench.runtime.environment import without_secrets
from irbench.runtime.machine import Runtime

_UNNAMED = "method"  # the name of an object whose own has no letter or digit
MARKS = ("method_file", "search_file", "mteb", "benchmark")  # of what a result reports of its retriever
_MTEB = "mteb:"
_KINDS = {"retriever": {"index", "search"}, "searcher": {"build", "search"}, "encoder": {"encode"}}


@dataclass(frozen=True)
class PythonFile:
    """A Python file that holds one encoder, searcher or retriever; a plain value that can cross into another process.

    It is what the file assigns to `method`, or else an instance of the one class that the file defines with the
    methods of such an object, made without arguments.
    """

    path: Path

    @property
    def name(self) -> str:
        """The file's name, as a method's name."""
        return legal_name(self.path.stem, _UNNAMED)

    @property
    def place(self) -> str:
        """Where the file lies: its path, seen from the current folder if it is below that, and a digest of all of it.

        The digest tells files of one name in two folders apart, each seen from its own.
        """
        here = Path.cwd()
        seen = self.path.relative_to(here) if self.path.is_relative_to(here) else self.path
        return f"{without_secrets(str(seen))} ({hashlib.sha256(os.fsencode(self.path)).hexdigest()[:8]})"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the file does, and of what it imports from beside it."""
        return file_digest(self.path)

    def check(self) -> None:
        """Find what is wrong with the file without running it."""
        _ = self._tree

    @cached_property
    def _tree(self) -> ast.Module:
        if not self.path.is_file():
            raise UsageError(f"{self.path}: no such file", code="no-such-file")
        return pyfile.parse(self.path)

    @cached_property
    def kind(self) -> str:
        """The kind of its object, from its text where one of its classes is the only one or is assigned to `method`.

        Anything else is known only once the file has run.
        """
        classes = {node.name: _kind_of_class(node) for node in self._tree.body if isinstance(node, ast.ClassDef)}
        named = [_called(node.value) for node in self._tree.body if _assigns_method(node)]
        assigns = "method" in {name.id for name in ast.walk(self._tree) if isinstance(name, ast.Name)}
        known = [classes.get(name, "") for name in named] if assigns else [kind for kind in classes.values() if kind]
        return known[0] if len(known) == 1 and known[0] else kind_of(self.load())

    def load(self) -> Any:
        """Run the file and return its object."""
        module = pyfile.load(self.path, f"{pyfile.module_name(self.path)}_{self.digest[:16]}")  # and its neighbours
        return self._found(vars(module), module.__name__)

    def _found(self, names: dict[str, Any], module: str) -> Any:
        if "method" in names:
            method = names["method"]
            if is_vectors(method) or (kind_of(method) and not isinstance(method, str | type)):
                return method
            raise RecipeError(
                f"{self.path}: method is {method!r:.60}; an object with encode, build and search, or index and search "
                "is needed",
                code="bad-python-file",
            )
        own = [one for one in names.values() if isinstance(one, type) and one.__module__ == module]
        fit = [one for one in own if kind_of(one) and not one.__name__.startswith("_")]
        if len(fit) != 1:
            raise RecipeError(
                f"{self.path}: {len(fit)} classes have encode, build and search, or index and search; assign the "
                "object that is meant to `method`",
                code="bad-python-file",
            )
        return fit[0]()


@dataclass(frozen=True)
class MtebModel:
    """An image model that MTEB has under a name; a plain value that can cross into another process."""

    model: str  # "openai/clip-vit-base-patch32"

    kind: ClassVar[str] = "encoder"

    @property
    def name(self) -> str:
        """The model's name, as a method's name."""
        return legal_name(f"mteb-{self.model}", _UNNAMED)

    @cached_property
    def digest(self) -> str:
        """The model and the revision that MTEB loads of it; the model alone where MTEB is not installed."""
        from irbench.retrievers import mteb_encoder

        with suppress(MissingLibrary):
            return f"{_MTEB}{self.model}, {mteb_encoder.origin(mteb_encoder.find(self.model))}"
        return f"{_MTEB}{self.model}"

    def check(self) -> None:
        """Find out whether MTEB has the model; where MTEB is not installed, the cell will tell."""
        _ = self.digest

    def encoder(self, runtime: Runtime) -> Encoder:
        """Return the model as an encoder whose vectors are stored, those of queries apart: prompts may differ."""
        from irbench.retrievers.mteb_encoder import MtebEncoder, StoredByRole

        encoder = MtebEncoder.named(self.model, runtime.device)
        identity = {"model": self.digest, "device": runtime.device, "code": code_digest(MtebEncoder, StoredByRole)}
        return StoredByRole.of(encoder, runtime.store, identity)


_Reference = (PythonFile, MtebModel)  # what stands for an object that is made where it is needed


@dataclass(frozen=True, eq=False)
class Named:
    """An object, or what stands for one, under the name that it is to have in results; None leaves it to the object."""

    object: Any
    name: str | None = None
    search: str | None = None  # that is part of what was asked for: "mteb:NAME+ivfpq"

    @classmethod
    def of(cls, asked: Any, name: str | None = None) -> "Named | None":
        """Return what is asked for with its name, which "NAME=PATH.py" gives too; None where it is a recipe's name."""
        if isinstance(asked, cls):
            return asked
        if asked is None or isinstance(asked, type):
            what = "None" if asked is None else "a class"
            raise UsageError(f"{asked}: an object is needed, not {what}", code="not-a-method")
        if isinstance(asked, str | Path) and str(asked).endswith(".py"):
            before, equals, path = str(asked).partition("=")
            if equals and "/" not in before and not Path(asked).is_file():
                if name is not None:
                    raise UsageError(f"name={name!r}: '{asked}' has a name already", code="unused-option")
                asked, name = path, before
            return cls(PythonFile(Path(asked).resolve()), name)
        if isinstance(asked, str) and (model := _model_asked(asked)) is not None:
            given, wanted, search = model
            if given is not None and name is not None:
                raise UsageError(f"name={name!r}: '{asked}' has a name already", code="unused-option")
            return cls(MtebModel(wanted), name or given, search)
        if not isinstance(asked, str):
            return cls(asked, name)
        if name is not None:
            raise UsageError(f"name={name!r}: '{asked}' is a recipe and has a name", code="unused-option")
        return None

    @property
    def title(self) -> str:
        """What it is called in results; a given name that would have to be changed is refused, not changed."""
        if self.name is None:
            return name_of(self.object)
        return checked_name(self.name, "an object")


@dataclass(frozen=True, eq=False)
class Objects:
    """What stands in place of the recipes of a cell's method, search and data set; None where there is a recipe."""

    method: Any = None
    search: Any = None
    benchmark: Benchmark | None = None

    @property
    def in_method(self) -> bool:
        """Is the method, or its search, not made from a recipe?"""
        return self.method is not None or self.search is not None

    @property
    def empty(self) -> bool:
        """Is everything made from recipes?"""
        return not self.in_method and self.benchmark is None

    def same_as(self, other: "Objects") -> bool:
        """Are these the very same objects?"""
        return self.method is other.method and self.search is other.search and self.benchmark is other.benchmark

    @property
    def portable(self) -> bool:
        """Can the cell be run in another process? Live objects cannot."""
        return all(one is None or isinstance(one, _Reference) for one in (self.method, self.search))

    @cached_property
    def loaded(self) -> "Objects":
        """The same with the objects of Python files, which are run for it."""
        loaded = [one.load() if isinstance(one, PythonFile) else one for one in (self.method, self.search)]
        return replace(self, method=loaded[0], search=loaded[1])

    @cached_property
    def marks(self) -> dict[str, str]:
        """What tells objects of one name apart, by `MARKS`: where a file lies, what a derived benchmark holds."""
        files = dict(zip(MARKS, (self.method, self.search), strict=False))
        marks = {what: one.place for what, one in files.items() if isinstance(one, PythonFile)}
        if isinstance(self.method, MtebModel):
            marks["mteb"] = self.method.model
        if self.benchmark is not None and not datasets.is_as_loaded(self.benchmark):
            marks["benchmark"] = datasets.content(self.benchmark)[:16]
        return marks

    @cached_property
    def identity(self) -> list[str]:
        """What tells these objects from others; of a live object nothing does, so it is never equal to another."""
        return [_identity(one) for one in (self.method, self.search) if one is not None]

    def check(self) -> None:
        """Find what is wrong with Python files without running them, and with names of models."""
        for one in (self.method, self.search):
            if isinstance(one, _Reference):
                one.check()


@dataclass(frozen=True)
class ObjectBuilder(Builder):
    """The components of a cell some of which are objects; the others are built from their recipes."""

    objects: Objects
    benchmark: Benchmark

    def retriever(self) -> Retriever:
        """Return the cell's retriever: the object, or an encoder and a searcher as one."""
        from irbench.retrievers.adapters import as_retriever
        from irbench.retrievers.dense import Config, DenseRetriever

        method = self.objects.loaded.method
        if method is None:
            return super().retriever()
        if kind_of(method) == "retriever":
            return as_retriever(method)
        return DenseRetriever(Config(), self.runtime, self)

    def encoder(self, method: str | None = None) -> Encoder:
        """Return the object as an encoder, or the encoder of recipe `method`."""
        from irbench.retrievers.adapters import GivenVectors, as_encoder
        from irbench.retrievers.mteb_encoder import MtebEncoder

        own = self.objects.loaded.method
        if method is not None or own is None:
            return super().encoder(method)
        if isinstance(own, MtebModel):
            return own.encoder(self.runtime)
        if getattr(own, "mteb_model_meta", None) is not None and kind_of(own) == "encoder":
            return MtebEncoder.of(own)
        if is_vectors(own):
            return GivenVectors(own[0], own[1], self.benchmark)
        if kind_of(own) != "encoder":
            raise UsageError(
                f"{type(own).__name__} is no method: it needs encode(images), or index(images) and search(images, k)",
                code="not-a-method",
            )
        return as_encoder(own)

    def searcher(self) -> Searcher:
        """Return the object as a searcher, or the cell's searcher by its recipe."""
        own = self.objects.loaded.search
        if own is None:
            return super().searcher()
        if kind_of(own) != "searcher":
            raise UsageError(
                f"{type(own).__name__} is no searcher: it needs build(vectors) and search(vectors, k)",
                code="not-a-searcher",
            )
        return cast("Searcher", own)

    def classes(self) -> list[type]:
        """Return the classes of what is no object; objects have an identity of their own."""
        from irbench.retrievers import adapters, mteb_encoder
        from irbench.retrievers.dense import DenseRetriever

        if self.objects.method is None:
            return super().classes()
        if isinstance(self.objects.method, MtebModel):
            return [DenseRetriever, mteb_encoder.MtebEncoder, *self.component_classes()]
        return [DenseRetriever, adapters.EncoderAdapter, *self.component_classes()]

    def recipes(self) -> list[Any]:
        """Return the recipes of what is no object."""
        method = self.cell.method if self.objects.method is None else None
        search = self.cell.search if self.objects.search is None else None
        return replace(self, cell=replace(self.cell, search=search)).named_recipes(method)


def _model_asked(asked: str) -> tuple[str | None, str, str | None] | None:
    """Return name, model and search of "NAME=mteb:MODEL+SEARCH", of which name and search may be missing, or None."""
    before, equals, rest = asked.partition(f"={_MTEB}")
    if not equals:
        if not asked.startswith(_MTEB):
            return None
        before, rest = "", asked.removeprefix(_MTEB)
    model, _, search = rest.partition("+")
    if not model:
        raise UsageError(f"{asked}: a model is missing, as in mteb:openai/clip-vit-base-patch32", code="unknown-name")
    return before or None, model, search or None


def kind_of(one: Any) -> str:
    """Return "retriever", "searcher" or "encoder" by the methods of an object or a class; empty for anything else."""
    has = {name for names in _KINDS.values() for name in names if callable(getattr(one, name, None))}
    return next((kind for kind, needed in _KINDS.items() if needed <= has), "")


def _assigns_method(node: ast.stmt) -> TypeGuard[ast.Assign]:
    return isinstance(node, ast.Assign) and any(getattr(name, "id", "") == "method" for name in node.targets)


def _called(value: ast.expr) -> str:
    """Return the name of the class that an expression makes an object of; empty where it does something else."""
    return value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else ""


def _kind_of_class(node: ast.ClassDef) -> str:
    has = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
    return next((kind for kind, needed in _KINDS.items() if needed <= has), "")


def is_vectors(one: Any) -> bool:
    """Is it a pair of arrays (query_vectors, gallery_vectors)?"""
    return isinstance(one, tuple | list) and len(one) == 2 and all(hasattr(array, "__array__") for array in one)


def name_of(one: Any) -> str:
    """Return what an object is called in results: its `name`, or its class's; "vectors" for a pair of arrays."""
    if isinstance(one, _Reference):
        return one.name
    if is_vectors(one):
        return "vectors"
    if isinstance(model := getattr(getattr(one, "mteb_model_meta", None), "name", None), str):
        return MtebModel(model).name
    own = getattr(one, "name", None)
    return checked_name(own, "an object") if isinstance(own, str) and own else legal_name(type(one).__name__, _UNNAMED)


def _identity(one: Any) -> str:
    if isinstance(one, _Reference):
        return one.digest
    if is_vectors(one):
        digest = hashlib.sha256()
        for array in map(np.ascontiguousarray, one):
            digest.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
        return digest.hexdigest()
    return uuid4().hex
