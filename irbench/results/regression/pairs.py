"""The same cell in two folders of results, seed by seed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from irbench.results.schema import Result


@dataclass(frozen=True, eq=False, kw_only=True)
class Pair:
    """A cell's results by seed: the baseline's, and the new ones. Either may be empty."""

    dataset: str
    cell: str
    before: Mapping[int, Result]
    after: Mapping[int, Result]

    @cached_property
    def shared(self) -> list[int]:
        """Seeds that both sides have."""
        return sorted(self.before.keys() & self.after.keys())

    @cached_property
    def unlike(self) -> list[int]:
        """Shared seeds that were measured on different data: other images, protocol or number of queries."""
        return [seed for seed in self.shared if data_of(self.before[seed]) != data_of(self.after[seed])]

    @cached_property
    def seeds(self) -> list[int]:
        """Seeds that can be compared."""
        return [
            seed
            for seed in self.shared
            if seed not in self.unlike and self.before[seed].status == self.after[seed].status == "ok"
        ]

    def both(self) -> list[tuple[Result, Result]]:
        """Return the results of each seed that can be compared, before and after."""
        return [(self.before[seed], self.after[seed]) for seed in self.seeds]


def data_of(result: Result) -> tuple[object, ...]:
    """Return what two results must have in common to be compared."""
    return result.dataset.fingerprint, sorted(result.shortened.items())


def pair_up(before: Iterable[Result], after: Iterable[Result]) -> list[Pair]:
    """Pair the cells of two folders, including those that only one of them has.

    Images of one's own may have another name in each; those that both have go by the baseline's. Where the baseline has
    them under several, each name is compared with itself, and any other with the first.
    """
    before = list(before)
    names: dict[str, list[str]] = {}
    for facts in (result.dataset for result in before):
        names.setdefault(facts.collection or "", []).append(facts.name)
    old, new = _by_cell(before, names), _by_cell(after, names)
    return [
        Pair(dataset=dataset, cell=cell, before=old.get((dataset, cell), {}), after=new.get((dataset, cell), {}))
        for dataset, cell in sorted(old.keys() | new.keys())
    ]


def _by_cell(results: Iterable[Result], names: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], dict[int, Result]]:
    found: dict[tuple[str, str], dict[int, Result]] = {}
    for result in results:
        facts = result.dataset
        known = names.get(facts.collection, ()) if facts.collection else ()
        name = facts.name if facts.name in known or not known else known[0]
        found.setdefault((name, result.cell), {})[result.seed] = result
    return found
