"""Python files of the user's own, which are found by their place and not by a module's name."""

import ast
import hashlib
import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from irbench.core.errors import FileRaisedError, IrbenchError, RecipeError

_PREFIX = "irbench_own_"  # of the names of their modules


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
    return f"{_PREFIX}{path.stem}_{digest[:16]}"


def load(path: Path, name: str | None = None) -> ModuleType:
    """Run a file as module `name`, by default its `module_name`, and return it; once in a process.

    It can import what lies beside it, as a script can, unless a module of that name is found elsewhere first. What the
    file raises becomes a `FileRaisedError` that names file and line, and the module is forgotten; errors of irbench are
    passed on.
    """
    name = name or module_name(path)
    if name in sys.modules:
        return sys.modules[name]
    _look_beside(path)
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{path}: not a Python file", code="bad-python-file")
    module = module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, IrbenchError) or not isinstance(error, Exception | SystemExit):
            raise
        raise FileRaisedError(_what_it_raised(path, error), code="bad-python-file") from error
    return module


_folders: list[str] = []  # of files that were run, the latest first; Python searches them after all others


def _look_beside(path: Path) -> None:
    """Let a file import its neighbours, and none that an earlier file has left under the same names."""
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        if origin and not name.startswith(_PREFIX) and any(Path(origin).is_relative_to(one) for one in _folders):
            del sys.modules[name]
    folder, others = str(path.resolve().parent), [one for one in sys.path if one not in _folders]
    if folder not in others:
        _folders[:] = [folder, *(one for one in _folders if one != folder)]
    sys.path[:] = [*others, *_folders]


def _what_it_raised(path: Path, error: BaseException) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path}, line {lines[-1] if lines else 1}: {type(error).__name__}: {error}"
