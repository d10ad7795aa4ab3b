"""Selects stored results for a figure: panels that may share their axes, and groups that make one curve.

Results with different fingerprints are never in one panel; those of different recipes, networks or precisions never in
one group.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import groupby

from irbench.core.errors import UsageError, nearest
from irbench.report.lines import precision_of
from irbench.report.notes import left_out_of, under_concurrent_load
from irbench.report.palette import Look, look
from irbench.report.table import left_out
from irbench.report.table import name_of as name_of  # noqa: PLC0414 -- re-exported for the pages
from irbench.results.schema import Dataset, Result

_DECODING = ("beam_size", "decode", "within", "rerank")  # how a trained model is searched; other keys train another one


@dataclass(frozen=True, eq=False, kw_only=True)
class Group:
    """The seeds of one cell that ran alike: one curve, one bar, one point."""

    name: str  # "ft-clip+scann"
    setting: str  # what is varied, without what holds for the whole panel: "", "beam_size-10", "hkm"
    results: tuple[Result, ...]  # all ok, by seed
    seeds: str = ""  # where the cell was run in several ways (scale, precision, recipe, network): "bf16", "seed 0, 1"

    @property
    def method(self) -> str:
        """The method without its search."""
        return self.results[0].method

    @property
    def search(self) -> str:
        """The search; empty where the method has none."""
        return self.results[0].search or ""

    @property
    def cell(self) -> str:
        """Name and setting."""
        return f"{self.name}@{self.setting}" if self.setting else self.name

    @property
    def label(self) -> str:
        """Its name in the legend."""
        return self.told_apart(self.cell)

    def told_apart(self, name: str) -> str:
        """Return a name of its cell with what tells it from other groups of that cell."""
        return f"{name} ({self.seeds})" if self.seeds else name

    @property
    def look(self) -> Look:
        """How it is drawn."""
        return look(self.method, self.search, f"{self.setting}{self.seeds}")

    @property
    def family_look(self) -> Look:
        """How the curve through all variants of its method is drawn."""
        return look(self.method, self.search)

    @property
    def overrides(self) -> dict[str, str]:
        """The recipe keys that the setting overrides, {"beam_size": "10"}; empty where it is not only made of such."""
        spec = self.results[0].spec
        if spec.identifier != spec.default_identifier or spec.shortened:
            return {}
        return {key: str(value) for key, value in spec.overrides}

    @property
    def decodes_otherwise(self) -> bool:
        """Is it a variant that differs in how a trained model decodes, and in nothing else?"""
        return bool(self.overrides) and not self.search and set(self.overrides) <= set(_DECODING)

    @property
    def searches_otherwise(self) -> bool:
        """Is it a variant that differs in how a trained model decodes or an index is searched, and in nothing else?"""
        return self.decodes_otherwise or (bool(self.overrides) and bool(self.search))

    def value(self, key: str) -> str | None:
        """What `key` is set to: by the variant, else as the retriever itself reports."""
        reported = self.results[0].retriever.get(key)
        return self.overrides.get(key) or (None if reported is None else str(reported))

    def number(self, key: str) -> float | None:
        """What `key` is set to, where that is a number, or a setting of a query that is one, as "nprobe=16"."""
        found = re.fullmatch(r"(?:\w+=)?(\d+(?:\.\d+)?)", self.value(key) or "")
        return float(found[1]) if found else None


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
        """What has to be known to read the panel: scale, precision, network and its weights, and the data."""
        scales = sorted({result.scale for group in self.groups for result in group.results})
        networks = list(_networks(self.groups))
        network = networks[0] if len(networks) == 1 else f"{len(networks)} networks, named below"
        special = [what for what in (self.facts.protocol, f"crop {self.facts.crop}") if what not in _USUAL]
        precisions = sorted({precision_of(result) for group in self.groups for result in group.results} - {""})
        parts = [f"scale {' and '.join(scales)}", *([" and ".join(precisions)] if precisions else [])]
        parts += [*([network] if networks else []), *special]
        machine = [self.machine] if self.machine else []
        return " · ".join([*parts, *machine, f"data {self.facts.fingerprint[:8]}"])

    def varied(self, name: str) -> str | None:
        """The key that most variants of `name` override, and no other: what its points differ in."""
        keys = Counter(key for group in self.groups if group.name == name and len(group.overrides) == 1
                       for key in group.overrides)  # fmt: skip
        return keys.most_common(1)[0][0] if keys else None

    def rank(self, group: Group) -> tuple[float, str]:
        """The place of a group among those of its name: small values of what is varied first, then all others."""
        key = self.varied(group.name) or ""
        alone = not group.setting or list(group.overrides) == [key]
        value = group.number(key) if alone else None
        return (float("inf") if value is None else value, group.setting)

    @property
    def footnotes(self) -> list[str]:
        """The notes of this panel: gaps, and which methods use which of several networks."""
        networks = _networks(self.groups)
        several = [f"{network}: {', '.join(names)}" for network, names in networks.items()] if len(networks) > 1 else []
        return [*several, *self.notes]


@dataclass(frozen=True, eq=False, kw_only=True)
class Selection:
    """The panels of a figure, and notes on what is in none of them."""

    panels: tuple[Panel, ...]
    notes: tuple[str, ...]

    @property
    def footnotes(self) -> list[str]:
        """The notes of the figure; a note that holds for several panels is written once."""
        titles: dict[str, list[str]] = defaultdict(list)
        for panel in self.panels:
            for note in panel.footnotes:
                titles[note].append(panel.title)
        return [*(f"{', '.join(dict.fromkeys(panels))}: {note}" for note, panels in titles.items()), *self.notes]


_USUAL = ("closed-set", "crop none")


def select(
    results: Sequence[Result],
    *,
    datasets: Sequence[str] = (),
    methods: Sequence[str] = (),
    variants: Callable[[Group], bool] = lambda _: False,
    by_machine: bool = False,
) -> Selection:
    """Return the panels that a figure shows.

    Args:
        results: any mixture of results.
        datasets: their names, "-incremental" at the end for an incremental gallery; none: all, these only if alone.
        methods: "irgen", "ft-clip" (with every index), "irgen@hkm", "irgen@*"; none means methods without variants.
        variants: those that are drawn with their method by default.
        by_machine: give each machine a panel of its own, where times are drawn.
    """
    whole = [result for result in results if not result.shortened]
    notes = list(left_out(len(results) - len(whole)))
    chosen, incremental = _of_datasets(whole, datasets)
    notes += [f"{', '.join(incremental)}: incremental gallery; --dataset draws it"] if incremental else []
    _check_methods(methods, chosen)
    panels = []
    for alike in _by_fingerprint(result for result in chosen if _wanted(_group(result), methods, variants)):
        done = [result for result in alike if result.status == "ok"]
        notes += [] if done else [f"{name_of(alike[0].dataset)}: {gap}" for gap in _gaps(alike)]
        machines = sorted({machine_of(result) for result in done}) if by_machine else [""] if done else []
        for machine in machines:
            here = [result for result in done if machine in ("", machine_of(result))]
            gaps = [result for result in alike if result.status != "ok"] if machine == machines[0] else []
            panels.append(_panel(machine, here, gaps))
    return Selection(panels=tuple(panels), notes=tuple(notes))


def _by_fingerprint(results: Iterable[Result]) -> list[list[Result]]:
    found: dict[tuple[str, ...], list[Result]] = defaultdict(list)
    for result in results:
        facts = result.dataset
        found[name_of(facts), facts.protocol, facts.crop, facts.fingerprint].append(result)
    return [found[key] for key in sorted(found)]


def machine_of(result: Result) -> str:
    """The machine that a result's times were measured on."""
    reported = result.environment
    name = re.sub(
        r"\((R|TM)\)| (Processor|CPU)\b", "", str(reported.get("gpu") or reported.get("cpu") or "unknown machine")
    )
    return f"{name}, {reported.get('cores', '?')} cores"


def _of_datasets(results: Sequence[Result], names: Sequence[str]) -> tuple[list[Result], list[str]]:
    known = {name_of(result.dataset) for result in results}
    for name in names:
        if name not in known:
            raise UsageError(
                f"no results of data set '{name}'{nearest(name, known)} (there are {_list(known)})", code="no-results"
            )
    incremental = {name_of(result.dataset) for result in results if result.dataset.incremental}
    wanted = set(names) or (known - incremental) or incremental
    unwanted = sorted(incremental - wanted) if not names else []
    return [result for result in results if name_of(result.dataset) in wanted], unwanted


def _check_methods(methods: Sequence[str], results: Sequence[Result]) -> None:
    groups = [_group(result) for result in results]
    known = {group.cell for group in groups} | {result.method for result in results}
    for wish in methods:
        if not any(_matches(wish, group, lambda _: True) for group in groups):
            raise UsageError(
                f"no results of method '{wish}'{nearest(wish, known)} (there are {_list(known)})", code="no-results"
            )


def _wanted(group: Group, methods: Sequence[str], variants: Callable[[Group], bool]) -> bool:
    if methods:
        return any(_matches(wish, group, variants) for wish in methods)
    return not group.setting or variants(group)


def _matches(wish: str, group: Group, variants: Callable[[Group], bool]) -> bool:
    if "*" in wish:
        return fnmatchcase(group.cell, wish)
    named = wish in (group.name, group.method)
    return wish in (group.cell, group.results[0].cell) or (named and (not group.setting or variants(group)))


def _panel(machine: str, done: Sequence[Result], undone: Sequence[Result]) -> Panel:
    by_cell: dict[Hashable, list[Result]] = defaultdict(list)
    for result in done:
        key = (_cell(result), result.scale, precision_of(result), result.recipe_in_force, result.backbone)
        by_cell[key].append(result)
    groups = [_group(*sorted(alike, key=lambda result: result.seed)) for alike in by_cell.values()]
    groups.sort(key=lambda group: (group.name, group.setting))
    groups = [
        group for _, same in groupby(groups, key=lambda group: group.cell) for group in _distinguished(list(same))
    ]
    facts = done[0].dataset
    notes = [*_gaps(undone), *((*_threads(groups), *under_concurrent_load(done)) if machine else ())]
    notes += left_out_of(facts)
    if any(group.seeds for group in groups):
        notes.append("in brackets: cells run at several scales or precisions, or with several recipes or networks")
    return Panel(facts=facts, machine=machine, groups=tuple(groups), notes=tuple(notes))


def _distinguished(same: Sequence[Group]) -> Iterator[Group]:
    """Name in the label what differs where a cell was run in several ways: scale, precision, else the seeds."""
    firsts = [group.results[0] for group in same]
    scales, precisions = [first.scale for first in firsts], [precision_of(first) for first in firsts]
    ways = list(zip(scales, precisions, strict=True))
    for group, (scale, precision) in zip(same, ways, strict=True):
        seeds = ", ".join(str(result.seed) for result in group.results)
        parts = [scale] * (len(set(scales)) > 1) + [precision] * (len(set(precisions)) > 1)
        parts += [f"seed {seeds}"] * (ways.count((scale, precision)) > 1)
        yield replace(group, seeds=", ".join(filter(None, parts)))


def _gaps(results: Sequence[Result]) -> Iterator[str]:
    """One line for each reason why cells have no result."""
    cells: dict[str, list[str]] = defaultdict(list)
    for result in results:
        cells[f"{result.status.replace('_', ' ')}: {result.reason}"].append(f"{_cell(result)} (seed {result.seed})")
    yield from (f"{', '.join(who)}: {why}" for why, who in cells.items())


def _threads(groups: Sequence[Group]) -> Iterator[str]:
    """One line where methods used several numbers of threads."""
    used = defaultdict(list)
    for group in groups:
        used[group.results[0].environment.get("threads")].append(group.cell)
    if len(used) > 1:
        commonest = max(used, key=lambda threads: len(used[threads]))
        others = [f"{', '.join(cells)} {threads}" for threads, cells in used.items() if threads != commonest]
        yield f"threads: {'; '.join(others)}; all others {commonest}"


def _group(*results: Result) -> Group:
    first = results[0]
    return Group(name=first.spec.name, setting=_setting(first), results=results)


def _cell(result: Result) -> str:
    return _group(result).cell


def _setting(result: Result) -> str:
    """The variant without scale, origin, and what is the same for every result of the panel."""
    spec = result.spec
    scale = spec.default_scale or spec.scale
    alone = replace(spec, scale=scale, crop="none", protocol="closed-set", incremental=False, origin="recipe")
    return alone.variant or ""


def _networks(groups: Sequence[Group]) -> dict[str, list[str]]:
    """Names of methods by network and origin of its weights; methods without a network are left out."""
    found: dict[str, list[str]] = defaultdict(list)
    for group in groups:
        backbone = group.results[0].backbone
        if backbone is not None and backbone.parameters:
            found[f"{backbone.name}, {_origin(backbone.weights)}"].append(group.cell)
    return found


def _origin(weights: str) -> str:
    """Where weights come from, with the first digits of their hash."""
    return re.sub(r"sha256:([0-9a-f]{8})[0-9a-f]*", r"sha256:\1", weights)


def _list(known: Iterable[str]) -> str:
    return ", ".join(sorted(known)) or "none"
