"""Finds the classes that recipes can name, by where their files lie; nothing is imported to find them.

`irbench/retrievers/searchers/linear.py` holds the searcher "linear" because it has a class whose name ends in
`Searcher`. A file whose name begins with `_`, or that has no such class, is a helper. A package may stand for a file:
`irbench/retrievers/irgen/retriever.py` holds the retriever "irgen". The same goes for a file beside the recipe in a
folder of the user's own, such as `methods/search/projection.py`.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from irbench.config.recipes import own_folders
from irbench.core import pyfile
from irbench.core.errors import RecipeError
from irbench.core.filestate import state_of

_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Kind:
    """A kind of class that recipes name, and where its files lie."""

    name: str  # "searcher": its classes end in "Searcher", its entry points are the group "irbench.searchers"
    package: str  # below irbench, where the files that ship with it lie
    family: str  # the folder of recipes beside which the user's own files lie

    @property
    def suffix(self) -> str:
        """How the names of its classes end."""
        return self.name.capitalize()


@dataclass(frozen=True)
class Entry:
    """Where a registered name leads: a module, and its classes of the kind, of which there is to be exactly one."""

    name: str
    module: str
    classes: tuple[str, ...]
    path: Path | None = None  # of a file; None for an entry point, whose module is found by its name alone
    own: bool = False  # a file of the user's, which is imported by its path

    @property
    def built_in(self) -> bool:
        """Does it come with irbench?"""
        return not self.own and self.path is not None

    def __str__(self) -> str:
        """Return where it is, for messages."""
        return str(self.path) if self.path else f"{self.module}:{self.classes[0]}"

    def load(self) -> ModuleType:
        """Import the module."""
        if self.own and self.path is not None:
            return pyfile.load(self.path, self.module)
        return import_module(self.module)


def entries(kind: Kind) -> Iterator[Entry]:
    """Yield everything that is registered as `kind`, in no order; two entries may have one name."""
    yield from (entry for entry in files(kind) if entry.classes)
    for point in _entry_points(f"irbench.{kind.name}s"):
        yield Entry(point.name, point.module, (point.attr,))


def files(kind: Kind) -> Iterator[Entry]:
    """Yield every file in which a class of `kind` is looked for, helpers included: these have no such class."""
    yield from shipped(kind)
    for own in dict.fromkeys(folder.resolve() for folder in own_folders()):
        for path in sorted((own / kind.family).glob("*.py")):
            yield from _file_entry(path, path.stem, None, kind)


def shipped(kind: Kind) -> Iterator[Entry]:
    """Yield those of these files that come with irbench."""
    folder = _PACKAGE / kind.package
    for path in sorted(folder.glob("*.py")):
        yield from _file_entry(path, path.stem, _module_of(path), kind)
    for path in sorted(folder.glob(f"*/{kind.name}.py")):
        yield from _file_entry(path, path.parent.name, _module_of(path), kind)


def _file_entry(path: Path, stem: str, module: str | None, kind: Kind) -> Iterator[Entry]:
    if not stem.startswith("_"):
        classes = tuple(name for name in _public_classes(path, state_of(path)) if name.endswith(kind.suffix))
        name = stem.replace("_", "-")
        yield Entry(name, module or pyfile.module_name(path), classes, path, own=module is None)


@lru_cache(maxsize=512)
def _public_classes(path: Path, state: str) -> tuple[str, ...]:  # noqa: ARG001 -- an edited file is read again
    """Return the names of the public classes that a file defines; none where it cannot be parsed."""
    try:
        body = pyfile.parse(path).body
    except RecipeError:  # repeated when the name is looked up: a broken draft does not stand in the way of the others
        return ()
    return tuple(node.name for node in body if isinstance(node, ast.ClassDef) and not node.name.startswith("_"))


def _module_of(path: Path) -> str:
    return ".".join(path.relative_to(_PACKAGE.parent).with_suffix("").parts)


@cache
def _entry_points(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))
