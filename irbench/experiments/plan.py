"""From a request to cells, and from cells to results: what is already stored is kept, the rest is run."""

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from itertools import product
from typing import Protocol

from irbench.config import recipes
from irbench.config.catalog import ENCODERS, IDENTIFIERS, RETRIEVERS, SEARCHERS
from irbench.config.recipes import MethodHead, SearchHead
from irbench.core.cell import Cell, Overrides
from irbench.core.errors import UsageError, check_choice, nearest
from irbench.data import datasets
from irbench.experiments.build import dataset_of
from irbench.experiments.executors import Outcome, run_apart
from irbench.experiments.run import Experiment, check_writable

SEARCHES = ("linear", "ivfpq", "scann", "spann")
TRAINED = ("cgd", "irt-r", "ft-clip")
_PAPER = ("res101-img+linear", "clip+linear", *(f"{m}+{s}" for m in TRAINED for s in SEARCHES), "irgen")
GRIDS = {
    "quick": ("pixels+linear", *(f"ft-clip+{search}" for search in SEARCHES), "irgen"),
    "full": ("pixels+linear", *_PAPER),
    "paper": _PAPER,
}
PAPER_DATASETS = ("inshop", "cub200", "cars196", "imagenet", "places365")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for; empty means the usual."""

    methods: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    grid: str = "quick"
    scale: str | None = None
    crop: str = "none"
    protocol: str = "closed-set"
    epochs: int | None = None
    max_queries: int | None = None
    incremental: bool = False
    overrides: Overrides = ()


def cells(request: Request) -> list[Cell]:
    """Return the cells of a request, data set by data set; every name in it is checked."""
    check_choice("--grid", request.grid, GRIDS)
    if request.scale is not None:
        check_choice("--scale", request.scale, recipes.SCALES)
    wanted = request.datasets or (PAPER_DATASETS if request.grid == "paper" else ("digits",))
    methods = request.methods or _methods_of_grid(request)
    found = (cell for dataset, method in product(wanted, methods) for cell in _of_method(request, method, dataset))
    made = list(dict.fromkeys(found))
    unused = set(request.searches) - {cell.search for cell in made}
    if unused:
        raise UsageError(f"--search {', '.join(sorted(unused))}: none of {', '.join(methods)} would use it")
    if request.overrides and not any(cell.identifier for cell in made):
        raise UsageError(f"--{request.overrides[0][0]}: none of {', '.join(methods)} writes identifiers")
    return made


def _methods_of_grid(request: Request) -> list[str]:
    """Return the grid's methods; where searches are asked for, its encoders, to be crossed with these."""
    if not request.searches:
        return list(GRIDS[request.grid])
    return list(dict.fromkeys(name.partition("+")[0] for name in GRIDS[request.grid] if "+" in name))


def _of_method(request: Request, method: str, dataset: str) -> Iterator[Cell]:
    name, _, search = method.partition("+")
    head = recipes.find("methods", name).head(MethodHead)
    default_scale = datasets.find(dataset).head.scale
    searches: Sequence[str | None] = (None,)
    identifiers: Sequence[str | None] = (None,)
    if head.encoder is not None:
        searches = (search,) if search else request.searches or ("linear",)
    elif search:
        raise UsageError(f"{method}: {name} does not search among vectors; write --method {name}")
    if head.identifier is not None:
        identifiers = request.identifiers or (head.identifier,)
    for family, chosen in (("methods/search", searches), ("methods/identifier", identifiers)):
        for choice in chosen:
            if choice is not None:
                recipes.find(family, choice)
    for one_search, identifier, seed in product(searches, identifiers, request.seeds):
        cell = Cell(
            method=name,
            search=one_search,
            identifier=identifier,
            dataset=dataset,
            scale=request.scale or default_scale,
            seed=seed,
            crop=request.crop,
            protocol=request.protocol,
            epochs=request.epochs,
            max_queries=request.max_queries,
            incremental=request.incremental,
            default_identifier=head.identifier,
            default_scale=default_scale,
        )
        yield changed(cell, request.overrides) if identifier and request.overrides else cell


def changed(cell: Cell, changes: Overrides) -> Cell:
    """Return the cell with these recipe keys set; a key that has the value anyway makes no other cell of it."""
    usual = _default_values(cell)
    for key, _ in changes:
        if key not in usual:
            kind = f"{cell.method} with {cell.identifier} identifiers" if cell.identifier else cell.name
            raise UsageError(f"{kind} has no key '{key}' in its recipes{nearest(key, usual)}")
    return replace(cell, overrides=tuple((key, value) for key, value in changes if usual[key] != value))


def sweep(cell: Cell) -> list[Cell]:
    """Return the cell and what its search names as other points between fast and exact; nothing is trained for them."""
    if cell.search is None:
        return [cell]
    schema = SEARCHERS.schema(recipes.find("methods/search", cell.search).head(SearchHead).searcher)
    points: Sequence[Overrides] = getattr(schema, "sweep", ())
    return list(dict.fromkeys([cell, *(changed(cell, point) for point in points)]))


def _default_values(cell: Cell) -> dict[str, object]:
    """What the recipes of a cell say, and the defaults of what they leave open."""
    known: dict[str, object] = {}
    for family, name, registry in (
        ("methods", cell.method, RETRIEVERS),
        ("methods", cell.method, ENCODERS),
        ("methods/search", cell.search, SEARCHERS),
        ("methods/identifier", cell.identifier, IDENTIFIERS),
    ):
        if name is None or registry.kind not in (recipe := recipes.find(family, name)).table:
            continue
        schema = registry.schema(recipe.table[registry.kind])
        known |= {field.name: field.default for field in fields(schema) if field.default is not MISSING}
        known |= recipe.params(scale=cell.scale, dataset=dataset_of(cell, recipe))
    return known


class Watcher(Protocol):
    """Hears how a run goes on."""

    def planned(self, kept: Sequence[Experiment], due: Sequence[Experiment]) -> None:
        """Some cells' results are stored and kept, the others are due."""

    def rescored(self, experiments: Sequence[Experiment]) -> None:
        """The scores of stored results were computed again, by code that has changed since."""

    def started(self, experiment: Experiment) -> None:
        """A cell has begun."""

    def ended(self, outcome: Outcome) -> None:
        """A cell has ended."""


def run(
    experiments: Sequence[Experiment], watcher: Watcher, *, force: bool, timeout: float | None, dry_run: bool
) -> dict[Experiment, Outcome]:
    """Run the experiments whose results are not stored yet, or all with `force`; return how these ended.

    What can be wrong with a request (data, recipes, folders) is found before the first cell computes.
    """
    for experiment in experiments:
        experiment.check()
    if not dry_run and experiments:
        check_writable(experiments[0].settings.results, "--results")
        check_writable(experiments[0].settings.work, "--work")
    kept = [] if force else [experiment for experiment in experiments if experiment.stored() is not None]
    due = [experiment for experiment in experiments if experiment not in kept]
    watcher.planned(kept, due)
    outcomes: dict[Experiment, Outcome] = {}
    if dry_run:
        return outcomes
    if rescored := [experiment for experiment in kept if experiment.rescore()]:
        watcher.rescored(rescored)
    for experiment in due:
        watcher.started(experiment)
        outcomes[experiment] = run_apart(experiment, timeout)
        watcher.ended(outcomes[experiment])
    return outcomes
