"""What a figure is about: stored results, sorted into panels that may share their axes, and groups that make one curve.

Results with different fingerprints are never in one panel; those of different recipes or networks never in one group.
"""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby

from irbench.errors import UsageError, nearest
from irbench.report.palette import Look, look
from irbench.results import Dataset, Result

_SETTING = re.compile(r"([a-z_]+)-([\w.]+)")
_DECODING = ("beams", "decode", "within", "rerank")  # how a trained model is asked; other keys train another one


@dataclass(frozen=True, eq=False, kw_only=True)
class Group:
    """The seeds of one cell that ran alike: one curve, one bar, one point."""

    name: str  # "ft-clip+scann"
    setting: str  # what is varied, without what holds for the whole panel: "", "beams-10", "hkm"
    results: tuple[Result, ...]  # all ok, by seed
    recipe: str = ""  # a part of the recipe's hash, where the cell was run with several

    @property
    def cell(self) -> str:
        """Name and setting."""
        return f"{self.name}@{self.setting}" if self.setting else self.name

    @property
    def label(self) -> str:
        """What the legend calls it."""
        return f"{self.cell} (recipe {self.recipe})" if self.recipe else self.cell

    @property
    def look(self) -> Look:
        """How it is drawn."""
        return look(self.cell)

    @property
    def changes(self) -> dict[str, str]:
        """The setting as keys and values, {"beams": "10"}; empty where it is not only made of such."""
        found = [_SETTING.fullmatch(part) for part in self.setting.split(",")]
        return {match[1]: match[2] for match in found if match} if all(found) else {}

    @property
    def asks_otherwise(self) -> bool:
        """Is it a variant that differs in how an index or a trained model is asked, and in nothing else?"""
        return bool(self.changes) and ("+" in self.name or set(self.changes) <= set(_DECODING))


@dataclass(frozen=True, eq=False, kw_only=True)
class Panel:
    """Groups that may be compared: one fingerprint and, where times are drawn, one machine."""

    facts: Dataset
    machine: str
    groups: tuple[Group, ...]
    notes: tuple[str, ...]  # what could not be drawn, and why

    @property
    def title(self) -> str:
        """The data set's name."""
        return name_of(self.facts)

    @property
    def subtitle(self) -> str:
        """What has to be known to read the panel: scale, network and its weights, and the data."""
        scales = sorted({result.scale for group in self.groups for result in group.results})
        networks = list(_networks(self.groups))
        network = networks[0] if len(networks) == 1 else f"{len(networks)} networks, named below"
        special = [what for what in (self.facts.protocol, f"crop {self.facts.crop}") if what not in _USUAL]
        parts = [f"scale {' and '.join(scales)}", *([network] if networks else []), *special]
        return " · ".join([*parts, f"data {self.facts.fingerprint[:8]}"])

    @property
    def told(self) -> list[str]:
        """What the foot of the figure says of this panel: gaps, and who has which of several networks."""
        networks = _networks(self.groups)
        several = [f"{network}: {', '.join(names)}" for network, names in networks.items()] if len(networks) > 1 else []
        return [f"{self.title}: {note}" for note in (*several, *self.notes)]


_USUAL = ("closed-set", "crop none")


def name_of(facts: Dataset) -> str:
    """The data set as the paper names it: "-fresh" where half of the gallery was added after training."""
    return f"{facts.name}-fresh" if facts.fresh else facts.name


def select(
    results: Iterable[Result],
    *,
    datasets: Sequence[str] = (),
    methods: Sequence[str] = (),
    settings: bool = False,
    by_machine: bool = False,
) -> tuple[list[Panel], list[str]]:
    """Return the panels of a figure, and notes about what is in none of them.

    Args:
        results: any mixture of results.
        datasets: their names, "-fresh" at the end for a gallery that grew; none means all, grown ones only if alone.
        methods: "irgen", "ft-clip" (with every index), "irgen@hkm", "irgen@*"; none means methods without variants.
        settings: also take variants that only ask an index or a trained model otherwise.
        by_machine: give each machine a panel of its own.
    """
    notes: list[str] = []
    whole = [result for result in results if not result.shortened]
    chosen, left_out = _of_datasets(whole, datasets)
    notes += [f"{name} is left out; --dataset {name} draws it" for name in left_out]
    _check_wishes(methods, chosen)
    by_panel: dict[tuple[str, ...], list[Result]] = defaultdict(list)
    for result in chosen:
        if _wanted(result, methods, settings=settings):
            facts = result.dataset
            machine = machine_of(result) if by_machine and result.status == "ok" else ""
            by_panel[name_of(facts), facts.protocol, facts.crop, facts.fingerprint, machine].append(result)
    panels = [_panel(key[-1], by_panel[key]) for key in sorted(by_panel)]
    for panel in panels:
        if not panel.groups:
            notes += [f"{panel.title}: {note}" for note in panel.notes]
    return [panel for panel in panels if panel.groups], notes


def machine_of(result: Result) -> str:
    """The machine that a result's times were measured on."""
    told = result.environment
    return f"{told.get('gpu') or told.get('cpu') or 'unknown machine'}, {told.get('cores', '?')} cores"


def _of_datasets(results: Sequence[Result], names: Sequence[str]) -> tuple[list[Result], list[str]]:
    known = {name_of(result.dataset) for result in results}
    for name in names:
        if name not in known:
            raise UsageError(f"no results of data set '{name}'{nearest(name, known)} (there are {_list(known)})")
    grown = {name_of(result.dataset) for result in results if result.dataset.fresh}
    wanted = set(names) or (known - grown) or grown
    left_out = sorted(grown - wanted) if not names else []
    return [result for result in results if name_of(result.dataset) in wanted], left_out


def _check_wishes(wishes: Sequence[str], results: Sequence[Result]) -> None:
    known = {_cell(result) for result in results} | {result.method for result in results}
    for wish in wishes:
        if not any(_matches(wish, result, settings=True) for result in results):
            raise UsageError(f"no results of method '{wish}'{nearest(wish, known)} (there are {_list(known)})")


def _wanted(result: Result, wishes: Sequence[str], *, settings: bool) -> bool:
    if wishes:
        return any(_matches(wish, result, settings=settings) for wish in wishes)
    return not _setting(result) or (settings and _group(result).asks_otherwise)


def _matches(wish: str, result: Result, *, settings: bool) -> bool:
    group = _group(result)
    if "*" in wish:
        return fnmatchcase(group.cell, wish)
    plain = wish in (result.method, group.name) and (not group.setting or (settings and group.asks_otherwise))
    return plain or wish == group.cell


def _panel(machine: str, results: Sequence[Result]) -> Panel:
    by_cell: dict[Hashable, list[Result]] = defaultdict(list)
    for result in results:
        if result.status == "ok":
            by_cell[_cell(result), result.recipe.hash, result.backbone].append(result)
    groups = [_group(*sorted(alike, key=lambda result: result.seed)) for alike in by_cell.values()]
    groups = [group for _, same in groupby(groups, key=lambda group: group.cell) for group in _told_apart(list(same))]
    facts = results[0].dataset
    notes = [*_gaps(results)]
    if facts.without_positives:
        notes.append(f"{facts.without_positives} of {facts.queries} queries have no right answer and are left out")
    order = sorted(groups, key=lambda group: (group.name, group.setting))
    return Panel(facts=facts, machine=machine, groups=tuple(order), notes=tuple(notes))


def _told_apart(same: Sequence[Group]) -> Iterator[Group]:
    """Name the recipe in the label where a cell was run with several."""
    for group in same:
        recipe = group.results[0].recipe.hash[:6] if len(same) > 1 else ""
        yield Group(name=group.name, setting=group.setting, results=group.results, recipe=recipe)


def _gaps(results: Sequence[Result]) -> Iterator[str]:
    """One line for each reason why cells have no result."""
    cells: dict[str, list[str]] = defaultdict(list)
    for result in results:
        if result.status != "ok":
            cells[f"{result.status.replace('_', ' ')}: {result.reason}"].append(f"{_cell(result)} (seed {result.seed})")
    yield from (f"{', '.join(who)}: {why}" for why, who in cells.items())


def _group(*results: Result) -> Group:
    first = results[0]
    name = f"{first.method}+{first.search}" if first.search else first.method
    return Group(name=name, setting=_setting(first), results=results)


def _cell(result: Result) -> str:
    return _group(result).cell


def _setting(result: Result) -> str:
    """The variant without what is the same for every result of the panel, and without where it came from."""
    facts = result.dataset
    shared = {"fresh" if facts.fresh else "", f"crop-{facts.crop}", facts.protocol, "imported"}
    return ",".join(part for part in (result.variant or "").split(",") if part and part not in shared)


def _networks(groups: Sequence[Group]) -> dict[str, list[str]]:
    """Names of methods by network and origin of its weights; methods without a network are left out."""
    found: dict[str, list[str]] = defaultdict(list)
    for group in groups:
        backbone = group.results[0].backbone
        if backbone is not None and backbone.parameters:
            found[f"{backbone.name}, {_origin(backbone.weights)}"].append(group.cell)
    return found


def _origin(weights: str) -> str:
    """Where weights come from, without the 64 digits of their hash."""
    return re.sub(r"sha256:([0-9a-f]{8})[0-9a-f]*", r"sha256:\1", weights)


def _list(known: Iterable[str]) -> str:
    return ", ".join(sorted(known)) or "none"
