"""Names for classes: a visible table of "module:Class", imported when asked for, open to other packages."""

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from irbench.core.errors import RecipeError, UsageError, nearest


class Registry(Mapping[str, str]):
    """The classes of one kind, by name. Outside packages add theirs with an entry point of group `irbench.<kind>`."""

    def __init__(self, kind: str, builtin: Mapping[str, str]) -> None:
        self.kind = kind
        self._builtin = builtin

    @cached_property
    def _table(self) -> dict[str, str]:
        table = dict(self._builtin)
        for point in entry_points(group=f"irbench.{self.kind}s"):
            if point.name in table and table[point.name] != point.value:
                owner = point.dist.name if point.dist else "a plug-in"
                raise UsageError(f"{owner} registers {self.kind} '{point.name}', a name taken by {table[point.name]}")
            table[point.name] = point.value
        return table

    def __getitem__(self, name: str) -> str:
        if name not in self._table:
            raise UsageError(f"unknown {self.kind} '{name}'{nearest(name, self._table)} (irbench list shows all)")
        return self._table[name]

    def __contains__(self, name: object) -> bool:
        return name in self._table

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def load(self, name: str) -> Any:
        """Import and return the class registered as `name`."""
        module, _, attribute = self[name].partition(":")
        try:
            found = getattr(import_module(module), attribute)
        except AttributeError:
            raise RecipeError(f"{self.kind} '{name}': module {module} has no class {attribute}") from None
        if not isinstance(found, type):
            raise RecipeError(f"{self.kind} '{name}': {self[name]} is not a class")
        return found

    def schema(self, name: str) -> Any:
        """Return the frozen dataclass `Config` that stands beside the class of `name` in its module."""
        module = self[name].partition(":")[0]
        config = getattr(import_module(module), "Config", None)
        if not is_dataclass(config):
            raise RecipeError(
                f"{self.kind} '{name}': module {module} has no dataclass Config, the schema of its recipe"
            )
        return config
