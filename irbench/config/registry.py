"""The classes that recipes name, one registry for each kind; their modules are imported on use."""

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any

from irbench.config import discovery
from irbench.config.discovery import Entry, Kind
from irbench.core import pyfile
from irbench.core.errors import RecipeError, UsageError, nearest


class Registry(Mapping[str, Entry]):
    """The classes of one kind, by name (see irbench.config.discovery).

    It is read anew at every use, so that a file that was just written counts.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    @property
    def kind(self) -> str:
        """What is registered here: the key by which a recipe names it."""
        return self._kind.name

    @property
    def family(self) -> str:
        """The folder of the recipes that name these classes."""
        return self._kind.family

    def __getitem__(self, name: str) -> Entry:
        found = {(entry.module, entry.classes): entry for entry in discovery.entries(self._kind) if entry.name == name}
        if not found:
            raise self._unknown(name)
        first, *others = found.values()
        if others:
            raise UsageError(
                f"{self.kind} '{name}' is registered twice: {first} and {others[0]}; rename one of them",
                code="name-taken",
            )
        return first

    def __contains__(self, name: object) -> bool:
        return any(entry.name == name for entry in discovery.entries(self._kind))

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({entry.name for entry in discovery.entries(self._kind)}))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def load(self, name: str) -> Any:
        """Import and return the class registered as `name`."""
        entry = self[name]
        if len(entry.classes) > 1:
            raise RecipeError(
                f"{self.kind} '{name}': {entry} has {len(entry.classes)} public classes whose names end in "
                f"{self._kind.suffix} ({', '.join(entry.classes)}); begin the names of all but one with _",
                code="bad-python-file",
            )
        found = getattr(entry.load(), entry.classes[0], None)
        if not isinstance(found, type):
            raise RecipeError(
                f"{self.kind} '{name}': module {entry.module} has no class {entry.classes[0]}", code="bad-python-file"
            )
        return found

    def schema(self, name: str) -> Any:
        """Return the dataclass `Config` that stands beside the class of `name` in its module."""
        entry = self[name]
        config = getattr(entry.load(), "Config", None)
        if not isinstance(config, type) or not is_dataclass(config):
            raise RecipeError(
                f"{self.kind} '{name}': {entry} has no dataclass Config, the schema of its recipe", code="no-config"
            )
        return config

    def read_shipped(self) -> None:
        """Read the files of irbench in which classes are looked for: this process does not read them again."""
        for _ in discovery.shipped(self._kind):
            pass

    def _unknown(self, name: str) -> Exception:
        """Return what is wrong with a name that leads to no class, although perhaps to a file."""
        for helper in discovery.files(self._kind):
            if helper.name == name and helper.path is not None:
                pyfile.parse(helper.path)  # raises what keeps it from being read
                what = f"{helper} has no public class whose name ends in {self._kind.suffix}"
                return RecipeError(f"{self.kind} '{name}': {what}", code="bad-python-file")
        return UsageError(
            f"unknown {self.kind} '{name}'{nearest(name, self)} (registered: {', '.join(self)})", code="unknown-name"
        )


SEARCHERS = Registry(Kind("searcher", "retrievers/searchers", "methods/search"))
ENCODERS = Registry(Kind("encoder", "retrievers/encoders", "methods"))
IDENTIFIERS = Registry(Kind("identifier", "retrievers/irgen/identifiers", "methods/identifier"))
RETRIEVERS = Registry(Kind("retriever", "retrievers", "methods"))
LOADERS = Registry(Kind("loader", "data/loaders", "datasets"))
