"""Digests of the code that made an artefact: a part of the key of everything that is stored.

What makes an artefact is the import closure of a class or function: its module, and all that this imports, within
irbench and within the top-level package, or the folder of the single file, that it belongs to. Other libraries are not
followed.
A module counts as `syntax` reads it; neither its path nor its name counts.

A module's colour starts as the digest of its own text. It is refined by the colours of what the module imports until
this distinguishes no more modules than before, as in the refinement of colours by which graphs are compared
(Weisfeiler and Leman 1968). Circular imports need no special care.
"""

import hashlib
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

from irbench.core.filestate import state_of
from irbench.runtime import syntax
from irbench.runtime.syntax import Import, Source

# modules whose code decides no number that is stored, each with the reason
NEUTRAL: Mapping[str, str] = {
    "irbench": "the public face: imports what is asked for, and defines nothing that others use",
    "irbench.core.errors": "the words of errors, after which nothing is stored",
    "irbench.core.filestate": "decides what is read again",
    "irbench.core.version": "a number, which does not say what has changed",
    "irbench.results.schema": "the form in which results are stored, not how they are computed",
    "irbench.runtime.cache": "stores what others make, and checks that it is unchanged",
    "irbench.runtime.conditions": "measures what other processes do",
    "irbench.runtime.code": "decides which stored artefact is asked for, not what is in it",
    "irbench.runtime.progress": "shows how far a loop is",
    "irbench.runtime.syntax": "a part of irbench.runtime.code",
    "irbench.runtime.timer": "measures seconds",
}
_ROOT = Path(__file__).parents[1]


def code_digest(*makers: object) -> str:
    """Return the SHA-256 over the import closures of classes, functions or modules, and over their own names.

    A file of irbench is read once in a process: what was read first is the nearest to what runs. A class without a
    file, such as one of a notebook, gets a digest that no other process has.
    """
    return _hash(*sorted(_hash(getattr(maker, "__qualname__", ""), _closure(_module_of(maker))) for maker in makers))


def file_digest(path: Path) -> str:
    """Return the SHA-256 over the import closure of a Python file that belongs to no package, without running it.

    Files and packages that lie beside it are a part of it where it imports them.
    """
    beside = {other.parent.name: [other.parent] for other in path.parent.glob("*/*.py")}  # __init__.py may be missing
    packages = Packages({**beside, "irbench": [_ROOT]}, NEUTRAL)
    packages.place({other.stem: other for other in path.parent.glob("*.py")})
    return packages.digest("", path)


class Packages:
    """Some top-level packages, each with the folders that hold it: finds their modules and digests their closures."""

    def __init__(self, roots: Mapping[str, Sequence[Path]], neutral: Iterable[str] = ()) -> None:
        self.roots, self.neutral = roots, frozenset(neutral)
        self._paths: dict[str, Path | None] = {}

    def place(self, files: Mapping[str, Path]) -> None:
        """Say where top-level modules lie that are single files."""
        self._paths |= files

    def digest(self, name: str, path: Path | None = None) -> str:
        """Return the SHA-256 over the closure of module `name`, whose file is `path` where that is given."""
        if path is not None:
            self._paths[name] = path
        sources = self.closure(name)
        colours = {module: _hash(source.text) for module, source in sources.items()}
        while True:
            finer = {module: self._colour(source, colours) for module, source in sources.items()}
            settled = len(set(finer.values())) == len(set(colours.values()))
            colours = finer
            if settled:
                return _hash(colours[name], *sorted(set(colours.values())))

    def closure(self, name: str) -> dict[str, Source]:
        """Return the modules that are run when `name` is imported; those that do nothing and neutral ones left out."""
        found: dict[str, Source] = {}
        waiting = [name, *self._packages_above(name)]
        while waiting:
            module = waiting.pop()
            if module not in found:
                found[module] = source = self._read(module)
                waiting += [target for run in source.runs for one in run for target in self._resolved(one)[1]]
        return {module: source for module, source in found.items() if module == name or not source.empty}

    def _colour(self, source: Source, colours: Mapping[str, str]) -> str:
        return _hash(source.text, *(_hash(*self._run_colours(run, colours)) for run in source.runs))

    def _run_colours(self, run: Sequence[Import], colours: Mapping[str, str]) -> list[str]:
        """Return what imports in a row stand for; their order counts only where a name is bound twice."""
        found = [self._import_colour(one, colours) for one in run]
        bound = [one.bound for one in run if one.name]
        return found if len(set(bound)) < len(bound) else sorted(found)

    def _import_colour(self, one: Import, colours: Mapping[str, str]) -> str:
        text, targets, name = self._resolved(one)
        return _hash(text, name, one.bound, *(colours[target] for target in targets if target in colours))

    def _resolved(self, one: Import) -> tuple[str, list[str], str]:
        """Return the text that stands for what is imported from, the modules that are run, and the name taken."""
        module, name = one.module, one.name
        if name and self._find(f"{module}.{name}"):
            module, name = f"{module}.{name}", ""
        if module in self.neutral:
            return "neutral", [], name
        if not self._find(module):
            return module, [], name
        return "", [*self._packages_above(module), module], name

    def _packages_above(self, name: str) -> list[str]:
        parts = name.split(".")
        above = (".".join(parts[:size]) for size in range(1, len(parts)))
        return [package for package in above if package not in self.neutral and self._find(package)]

    def _find(self, name: str) -> Path | None:
        if name not in self._paths:
            self._paths[name] = next((path for path in self._places(name) if path.is_file()), None)
        return self._paths[name]

    def _places(self, name: str) -> Iterator[Path]:
        top, *rest = name.split(".")
        for folder in self.roots.get(top, ()):
            yield folder.joinpath(*rest, "__init__.py")
            if rest:
                yield folder.joinpath(*rest).with_name(f"{rest[-1]}.py")

    def _read(self, name: str) -> Source:
        path = self._find(name)
        if path is None:
            raise FileNotFoundError(f"no module {name} in {dict(self.roots)}")
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        return syntax.read(path, package, "" if path.is_relative_to(_ROOT) else state_of(path))


_IRBENCH = Packages({"irbench": [_ROOT]}, NEUTRAL)
_of_irbench = cache(_IRBENCH.digest)


def _module_of(maker: object) -> ModuleType | None:
    return maker if isinstance(maker, ModuleType) else sys.modules.get(getattr(maker, "__module__", ""))


def _closure(module: ModuleType | None) -> str:
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        return _unknown(module)
    name = module.__spec__.name if module.__spec__ else module.__name__
    if Path(file).is_relative_to(_ROOT):
        return _of_irbench(name)
    top = name.partition(".")[0]
    own = [Path(folder) for folder in getattr(sys.modules.get(top), "__path__", ())]
    if not own:
        return file_digest(Path(file))
    return Packages({top: own, "irbench": [_ROOT]}, NEUTRAL).digest(name, Path(file))


@cache
def _unknown(_module: ModuleType | None) -> str:
    return secrets.token_hex(32)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
