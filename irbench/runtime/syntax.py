"""Reads a Python file as what it does, without how it is written.

What is left out: comments, formatting, docstrings and other strings that stand alone, the order of imports, and what
stands under `if TYPE_CHECKING`.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

from irbench.core import pyfile

_UNSEEN = {"ctx", "kind", "type_comment", "type_ignores"}  # fields of a tree that follow from others, or do nothing
_TYPES_ONLY = "TYPE_CHECKING"


@dataclass(frozen=True)
class Import:
    """One name that an import statement binds: `from module import name as bound`, or the module itself."""

    module: str  # absolute
    name: str  # "" where the module itself is bound
    bound: str


@dataclass(frozen=True)
class Source:
    """A module's tree as text in which each run of import statements is a mark, and the imports of these runs."""

    text: str
    runs: tuple[tuple[Import, ...], ...]

    @property
    def empty(self) -> bool:
        """Is there nothing but a docstring and comments?"""
        return self.text == "Module( )"


@cache
def read(path: Path, package: str, _state: str) -> Source:
    """Read a file whose relative imports are those of `package`; once, unless its state changes."""
    writer = _Writer(package)
    writer.write(pyfile.parse(path))
    return Source(" ".join(writer.words), tuple(writer.runs))


class _Writer:
    """Writes a tree down; what is absent leaves no trace, so that a field that a later Python adds changes nothing."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.words: list[str] = []
        self.runs: list[tuple[Import, ...]] = []

    def write(self, node: object) -> None:
        if isinstance(node, ast.AST):
            self.words.append(f"{type(node).__name__}(")
            for field in node._fields:
                self._write_field(field, getattr(node, field, None))
            self.words.append(")")
        elif isinstance(node, list):
            self.words.append("[")
            for item in node:
                self.write(item)
            self.words.append("]")
        else:
            self.words.append(repr(node))

    def _write_field(self, field: str, value: object) -> None:
        if value is None or field in _UNSEEN:
            return
        if isinstance(value, list):
            if value and isinstance(value[0], ast.stmt):
                self._write_block(field, value)
            elif value:
                self.words.append(field)
                self.write(value)
        else:
            self.words.append(field)
            self.write(value)

    def _write_block(self, field: str, statements: list[ast.stmt]) -> None:
        run: list[Import] = []
        block: list[ast.stmt | None] = [*_effective(statements), None]
        if len(block) > 1:
            self.words += [field, "["]
        for statement in block:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                run += self._imports(statement)
                continue
            if run:
                self.words.append("imports")
                self.runs.append(tuple(run))
                run = []
            if statement is not None:
                self.write(statement)
        if len(block) > 1:
            self.words.append("]")

    def _imports(self, statement: ast.Import | ast.ImportFrom) -> Iterator[Import]:
        for alias in statement.names:
            if isinstance(statement, ast.Import):
                yield Import(alias.name, "", alias.asname or alias.name.partition(".")[0])
            elif alias.name != _TYPES_ONLY:
                module = statement.module or ""
                if statement.level:
                    module = resolve_name("." * statement.level + module, self.package)
                yield Import(module, alias.name, alias.asname or alias.name)


def _effective(statements: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that do something when the program runs."""
    for statement in statements:
        if isinstance(statement, ast.If) and _names_types_only(statement.test):
            yield from _effective(statement.orelse)
        elif not (isinstance(statement, ast.Expr) and _is_text(statement.value)):
            yield statement


def _names_types_only(test: ast.expr) -> bool:
    return getattr(test, "id", getattr(test, "attr", "")) == _TYPES_ONLY


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
