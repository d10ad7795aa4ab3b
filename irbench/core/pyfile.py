"""Python files of the user's own, which are found by their place and not by a module's name."""

import ast
import hashlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from irbench.core.errors import RecipeError


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a file; one that cannot be parsed is a `RecipeError` that names file and line."""
    try:
        return ast.parse(path.read_bytes(), str(path))
    except SyntaxError as error:
        raise RecipeError(f"{path}, line {error.lineno}: {error.msg}", code="bad-python-file") from None
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: {error}", code="bad-python-file") from None


def module_name(path: Path) -> str:
    """Return a name that is the same in every process, and another one for another place or another content."""
    digest = hashlib.sha256(str(path).encode() + b"\0" + path.read_bytes()).hexdigest()
    return f"irbench_own_{path.stem}_{digest[:16]}"


def load(path: Path, name: str | None = None) -> ModuleType:
    """Run a file as module `name`, by default its `module_name`, and return it; once in a process.

    It can import what lies beside it, as a script can, unless a module of that name is found elsewhere first. What the
    file raises is passed on, and the module is forgotten.
    """
    name = name or module_name(path)
    if name in sys.modules:
        return sys.modules[name]
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{path}: not a Python file", code="bad-python-file")
    module = module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
