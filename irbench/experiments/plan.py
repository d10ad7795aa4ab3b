"""From a request to cells: methods, searches and identifiers on data sets, by name, by path or as live objects."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from irbench.config import recipes
from irbench.config.recipes import MethodHead, Recipe, SearchHead
from irbench.config.registry import ENCODERS, IDENTIFIERS, RETRIEVERS, SEARCHERS, Registry
from irbench.core.benchmark import Benchmark
from irbench.core.cell import Cell, Overrides
from irbench.core.errors import FileRaisedError, IrbenchError, UsageError, check_choice, nearest
from irbench.core.names import checked_name
from irbench.data import datasets
from irbench.experiments.build import OWN, built_on, dataset_of, names_code_of_the_user
from irbench.experiments.experiment import Experiment
from irbench.experiments.objects import MtebModel, Named, Objects, PythonFile, is_vectors, kind_of
from irbench.experiments.processes import Ended, apart
from irbench.experiments.settings import Settings
from irbench.results import own

SEARCHES = ("linear", "ivfpq", "scann", "spann")
TRAINED = ("cgd", "irt-r", "ft-clip")
_OF_TODAY = (  # published encoders, used as they are
    "dinov2-s", "dinov2-b", "dinov2-l", "dinov3-s", "dinov3-b", "dinov3-l", "siglip2", "openclip", "pe-core",
    "mobileclip2", "convnext", "eva02",
)  # fmt: skip
_PAPER = ("res101-img+linear", "clip+linear", *(f"{m}+{s}" for m in TRAINED for s in SEARCHES), "irgen")
GRIDS = {
    "quick": ("pixels+linear", *(f"ft-clip+{search}" for search in SEARCHES), "classify", "irgen"),
    "full": ("pixels+linear", *_PAPER, "classify"),
    "paper": (*_PAPER, "classify"),  # what the paper has no row of: the control
    "million": ("clip+linear", "ft-clip+linear", "classify", "irgen"),
    "encoders": tuple(f"{encoder}+linear" for encoder in ("res101-img", "clip", *_OF_TODAY)),
}
_AT_SCALE = {"mobile": ("imagenet+linear",)}  # rows of the grids quick and full that other scales do not have
_WITH_A_STRING = ("faiss",)  # searches that are the exact one, as linear is, without a factory string
_SEEDS = 2**63
_PATIENCE = 60.0  # seconds that code of the user's may take to be imported
PAPER_DATASETS = ("inshop", "cub200", "cars196", "imagenet", "places365")
_DATASETS = {"paper": PAPER_DATASETS, "million": ("imagenet", "places365")}  # of a grid, where none is named


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for; empty means the default.

    A method is the name of a recipe ("irgen", "ft-clip+scann"), the path of a Python file that ends in .py, as it is or
    as "NAME=PATH", a model of MTEB ("mteb:openai/clip-vit-base-patch32"), or a live object, with a name or without (see
    `irbench.experiments.objects`); a search likewise.
    """

    methods: tuple[Any, ...] = ()
    searches: tuple[Any, ...] = ()
    identifiers: tuple[str, ...] = ()
    datasets: tuple[Any, ...] = ()  # names, paths, or benchmarks
    seeds: tuple[int, ...] = (0,)
    grid: str = "quick"
    scale: str | None = None
    crop: str | None = None
    protocol: str | None = None
    epochs: int | None = None
    max_queries: int | None = None
    incremental: bool = False
    overrides: Overrides = ()


Planned = tuple[Cell, Objects | None]  # a cell, and what stands in place of recipes


def cells(request: Request) -> list[Cell]:
    """Return the cells of a request, data set by data set; every name in it is checked."""
    return [cell for cell, _ in planned(request)]


def experiments(request: Request, settings: Settings) -> list[Experiment]:
    """Return the cells of a request, ready to be run."""
    return [Experiment(cell, settings, objects) for cell, objects in planned(located(request, settings))]


def located(request: Request, settings: Settings) -> Request:
    """Return the request with paths in place of names that data sets of one's own have in results, or on the hub."""
    places = (own.located(one, settings.results) if isinstance(one, str) else one for one in request.datasets)
    found = (datasets.placed(one, settings.work) if isinstance(one, str | Path) else one for one in places)
    return replace(request, datasets=tuple(found))


def planned(request: Request) -> list[Planned]:
    """Return the cells of a request, data set by data set, with the objects that stand in place of recipes."""
    check_choice("--grid", request.grid, GRIDS)
    _check_seeds(request.seeds)
    if request.scale is not None:
        check_choice("--scale", request.scale, recipes.SCALES)
    wanted = request.datasets or _DATASETS.get(request.grid, ("digits",))
    searches = [_search(one) for one in request.searches]
    found = [
        one
        for dataset in wanted
        for asked in request.methods or _default_methods(request, dataset)
        for one in _of_method(request, _method(asked), searches, dataset)
    ]
    names = ", ".join(dict.fromkeys(cell.method for cell, _ in found))
    if unused := {search.name for search in searches} - {cell.search for cell, _ in found}:
        raise UsageError(f"--search {', '.join(sorted(unused))}: none of {names} would use it", code="unused-option")
    return _with_overrides(_distinct(found), request.overrides)


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds:
        raise UsageError("seeds is empty: give at least one", code="nothing-to-run")
    for seed in seeds:
        if not isinstance(seed, int) or not 0 <= seed < _SEEDS:
            raise UsageError(f"seed {seed}: a whole number from 0 to 2^63 - 1 is needed", code="bad-value")


def _default_methods(request: Request, dataset: Any) -> list[str]:
    """Return what is run on a data set where no methods are named: the grid's, or all that can be."""
    only = only_methods(dataset)
    if not only:
        return _methods_of_grid(request, request.scale or _default_scale(dataset))
    if request.searches:
        return list(only)
    return [f"{method}+{search}" for method in only for search in all_searches()]


def all_searches() -> list[str]:
    """Return every search that there is a recipe of, but for those that need more than their name."""
    return [name for name in recipes.names("methods/search") if name not in _WITH_A_STRING]


def only_methods(dataset: Any) -> tuple[str, ...]:
    """Return the methods that can be run on a data set; empty where all can."""
    return () if isinstance(dataset, Benchmark) else datasets.find(dataset).head.methods


def _methods_of_grid(request: Request, scale: str) -> list[str]:
    """Return the grid's methods at a scale; where searches are asked for, its encoders, to be crossed with these."""
    methods = [*GRIDS[request.grid], *(_AT_SCALE.get(scale, ()) if request.grid != "paper" else ())]
    if not request.searches:
        return methods
    return list(dict.fromkeys(name.partition("+")[0] for name in methods if "+" in name))


@dataclass(frozen=True, kw_only=True)
class _Search:
    """A search by its recipe's name, or an object under the name that it is given."""

    name: str
    object: Any = None
    overrides: Overrides = ()  # that are part of the name: "faiss:HNSW32"


@dataclass(frozen=True, kw_only=True)
class _Method:
    """A method by its recipe's name, or an object under the name that it is given."""

    name: str
    object: Any = None
    search: _Search | None = None  # that is part of the name: "ft-clip+scann"
    encodes: bool  # does a search complete it?
    identifier: str | None = None  # the recipe's own


def _method(asked: Any) -> _Method:
    if (named := Named.of(asked)) is not None:
        own = named.object
        by_reference = isinstance(own, PythonFile | MtebModel)
        kind = own.kind if by_reference else "encoder" if is_vectors(own) else kind_of(own)
        search = _search(named.search) if named.search else None
        return _Method(name=_title(named, "methods"), object=own, search=search, encodes=kind != "retriever")
    name, _, search = asked.partition("+")
    head = recipes.find("methods", name).head(MethodHead)
    if search and head.encoder is None:
        raise UsageError(f"{asked}: {name} does not search among vectors; write --method {name}", code="no-search")
    return _Method(
        name=name,
        search=_search(search) if search else None,
        encodes=head.encoder is not None,
        identifier=head.identifier,
    )


def _search(asked: Any) -> _Search:
    if (named := Named.of(asked)) is not None:
        return _Search(name=_title(named, "methods/search"), object=named.object)
    name, overrides = search_named(str(asked))
    return _Search(name=name, overrides=overrides)


def search_named(asked: str) -> tuple[str, Overrides]:
    """Return the recipe of a search index, and what its name sets beside it: the factory string of faiss:HNSW32."""
    name, colon, factory = asked.partition(":")
    recipe = recipes.find("methods/search", name)
    return name, _of_factory(recipe, asked, factory) if colon else ()


def _of_factory(recipe: Recipe, asked: str, factory: str) -> Overrides:
    """Return the override for a factory string, none for the recipe's own."""
    if "factory" not in recipe.params(scale="", dataset=""):
        raise UsageError(
            f"--search {asked}: {recipe.name} takes no factory string; faiss:{factory} does", code="unused-option"
        )
    if not factory:
        raise UsageError(f"--search {asked}: a factory string is missing, as in faiss:HNSW32", code="unused-option")
    return () if recipe.params(scale="", dataset="")["factory"] == factory else (("factory", factory),)


def _title(named: Named, family: str) -> str:
    """Return the name of an object, which no recipe of its family has but `vectors`, which is for arrays too."""
    same = named.name is None and is_vectors(named.object)
    if named.title in recipes.names(family) and not same:
        raise UsageError(
            f"'{named.title}' is the name of a recipe: give the object another ({{NAME: object}}, --method NAME=FILE)",
            code="name-taken",
        )
    return named.title


def _of_method(request: Request, method: _Method, searches: Sequence[_Search], dataset: Any) -> Iterator[Planned]:
    benchmark = dataset if isinstance(dataset, Benchmark) else None
    if benchmark is not None:
        checked_name(benchmark.name, "a benchmark")
    elif not isinstance(dataset, str | Path):
        raise UsageError(f"a {type(dataset).__name__} is no data set: a name, a path or a Benchmark", code="bad-value")
    if (only := only_methods(dataset)) and method.name not in only:
        raise UsageError(
            f"--method {method.name} looks at images, and there are only vectors: --method {', '.join(only)}",
            code="needs-images",
        )
    default_scale = _default_scale(dataset)
    crop, protocol = _conditions(request, dataset)
    used: Sequence[_Search | None] = (None,)
    identifiers: Sequence[str | None] = (None,)
    if method.encodes:
        used = (method.search,) if method.search else searches or (_Search(name="linear"),)
    if method.identifier is not None:
        identifiers = request.identifiers or (method.identifier,)
        for named in identifiers:
            recipes.find("methods/identifier", str(named))
    for search, identifier, seed in product(used, identifiers, dict.fromkeys(request.seeds)):
        objects = Objects(method.object, search.object if search else None, benchmark)
        cell = Cell(
            method=method.name,
            search=search.name if search else None,
            identifier=identifier,
            dataset=benchmark.name if benchmark else str(dataset),
            scale=request.scale or default_scale,
            seed=seed,
            crop=crop,
            protocol=protocol,
            epochs=request.epochs,
            max_queries=request.max_queries,
            incremental=request.incremental,
            default_identifier=method.identifier,
            default_scale=default_scale,
            origin="object" if objects.in_method else "recipe",
            overrides=search.overrides if search else (),
        )
        yield cell, None if objects.empty else objects


def _default_scale(dataset: Any) -> str:
    """Return the scale that suits a data set; of a benchmark that of the recipe of its name, if there is one."""
    if isinstance(dataset, Benchmark):
        known = dataset.name in recipes.names("datasets")
        return datasets.find(dataset.name).head.scale if known else datasets.OWN_SCALE
    return datasets.find(dataset).head.scale


def _conditions(request: Request, dataset: Any) -> tuple[str, str]:
    """Return crop and protocol: what is asked for, else those of the benchmark, or of the data set by default."""
    if isinstance(dataset, Benchmark):
        return request.crop or dataset.crop, request.protocol or dataset.protocol
    return datasets.find(dataset).conditions(crop=request.crop, protocol=request.protocol)


def _distinct(found: Iterable[Planned]) -> list[Planned]:
    """Return each cell once; two objects under one name would write to one place."""
    known: dict[Cell, Objects | None] = {}
    for cell, objects in found:
        before = known.get(cell)
        if objects is not None and before is not None and not objects.same_as(before):
            raise UsageError(
                f"two objects are called {cell.name} on {cell.dataset}: give them names ({{NAME: object}}, --method "
                "NAME=FILE)",
                code="name-taken",
            )
        known[cell] = objects
    return list(known.items())


def _with_overrides(found: Sequence[Planned], overrides: Overrides) -> list[Planned]:
    """Return the cells with these recipe keys set, each key in the cells that have it; some cell has to."""
    if not overrides:
        return list(found)
    made = [(*_overridden(cell, objects, overrides), objects) for cell, objects in found]
    for key, _ in overrides:
        if not any(key in keys for _, keys, _ in made):
            everywhere = {name for _, keys, _ in made for name in keys}
            names = ", ".join(dict.fromkeys(cell.name for cell, _, _ in made))
            raise UsageError(
                f"--set {key}: no recipe of {names} has this key{nearest(key, everywhere)} (see irbench show NAME)",
                code="unknown-key",
            )
    return list({cell: objects for cell, _, objects in made}.items())


_Answer = TypeVar("_Answer")
_Known = tuple[Cell, frozenset[str]]  # a cell with its overrides, and all the keys that its recipes have


def _overridden(cell: Cell, objects: Objects | None, overrides: Overrides) -> _Known:
    """Return the cell with those keys set that it has. Code of the user's is imported by another process.

    Where that code does not answer, all keys count as its own: what is wrong with it ends the cell, later.
    """
    if not names_code_of_the_user([recipe for recipe, _ in _recipes(cell, objects)]):
        return _with_known(cell, objects, overrides)
    known = _asked_apart(_with_known, cell, objects, overrides)
    return known or (replace(cell, overrides=overrides), frozenset(key for key, _ in overrides))


def _asked_apart(function: Callable[..., _Answer], *arguments: object) -> _Answer | None:
    """Call a function of this module in a process that may import the user's code; None where that code raises."""
    try:
        answer = apart(_answer, function, *arguments, timeout=_PATIENCE)
    except Ended:
        return None
    if isinstance(answer, IrbenchError):
        raise answer
    return answer


def _answer(function: Callable[..., _Answer], *arguments: object) -> _Answer | IrbenchError | None:
    """Return what the function does or the user's error in the request; None where the user's code raises."""
    try:
        return function(*arguments)
    except FileRaisedError:
        return None
    except IrbenchError as error:
        return error
    except BaseException:  # a module that ends the process, too
        return None


def _with_known(cell: Cell, objects: Objects | None, overrides: Overrides) -> _Known:
    """Return the cell with its overrides. A method that one of them names brings its keys, in place of another's."""
    known = default_values(cell, objects)
    while True:
        made = override(cell, overrides, known)
        then = default_values(made, objects)
        if then.keys() == known.keys():
            return made, frozenset(known)
        known = then


def override(cell: Cell, overrides: Overrides, defaults: Mapping[str, object]) -> Cell:
    """Return the cell with those of these keys set that it has; a key that has the value anyway changes nothing."""
    asked = dict(cell.overrides) | {key: value for key, value in overrides if key in defaults}
    return replace(cell, overrides=tuple((key, value) for key, value in asked.items() if defaults.get(key) != value))


def sweep(cell: Cell) -> list[Cell]:
    """Return the cell and what its search names as other points between fast and exact; nothing is trained for them.

    A search of the user's is asked for them in another process; where it does not answer, the cell alone will tell why.
    """
    if cell.search is None:
        return [cell]
    if names_code_of_the_user([recipe for recipe, _ in _recipes(cell, None)]):
        return _asked_apart(_swept, cell, cell.search) or [cell]
    return _swept(cell, cell.search)


def _swept(cell: Cell, search: str) -> list[Cell]:
    recipe = recipes.find("methods/search", search)
    schema = SEARCHERS.schema(recipe.head(SearchHead).searcher)
    config = recipe.config(schema, scale=cell.scale, dataset=dataset_of(cell, recipe))
    points: Sequence[Overrides] = getattr(config, "sweep", ())
    return list(dict.fromkeys([cell, *(override(cell, point, default_values(cell)) for point in points)]))


def default_values(cell: Cell, objects: Objects | None = None) -> dict[str, object]:
    """Return what the recipes of a cell say, and the defaults of what they leave open, by key and by RECIPE.KEY.

    Recipes of methods that the cell's own build on count by RECIPE.KEY alone.
    """
    own = _own_recipes(cell, objects)
    known: dict[str, object] = {}
    for recipe, registries in own:
        known |= _values(cell, recipe, registries)
    known |= _of_embeddings(cell, objects)
    for recipe, registries in _recipes(cell, objects):
        known |= {f"{recipe.name}.{key}": value for key, value in _values(cell, recipe, registries).items()}
    return known


def _of_embeddings(cell: Cell, objects: Objects | None) -> dict[str, object]:
    """Return the keys of the retriever that is made of an encoder and a searcher, where the cell has it."""
    if objects is not None and objects.method is not None:
        return {}
    head = recipes.find("methods", cell.method).head(MethodHead)
    if head.encoder is None:
        return {}
    return {f"{OWN}{field.name}": field.default for field in fields(RETRIEVERS.schema(head.retriever))}


_Read = tuple[Recipe, tuple[Registry, ...]]  # a recipe, and of which kinds its classes are


def _own_recipes(cell: Cell, objects: Objects | None) -> list[_Read]:
    """Return the recipes of a cell's method, search and identifier, but for what is an object."""
    method = cell.method if objects is None or objects.method is None else None
    search = cell.search if objects is None or objects.search is None else None
    return [
        (recipes.find(family, name), registries)
        for family, name, registries in (
            ("methods", method, (RETRIEVERS, ENCODERS)),
            ("methods/search", search, (SEARCHERS,)),
            ("methods/identifier", cell.identifier, (IDENTIFIERS,)),
        )
        if name is not None
    ]


def _recipes(cell: Cell, objects: Objects | None) -> list[_Read]:
    """Return those, and the recipes of methods that they build on."""
    own = _own_recipes(cell, objects)
    others = built_on(cell, [recipe for recipe, _ in own])
    return [*own, *((recipe, (RETRIEVERS, ENCODERS)) for recipe in others)]


def _values(cell: Cell, recipe: Recipe, registries: Sequence[Registry]) -> dict[str, object]:
    """Return the values of a recipe, and the defaults of the classes that it names."""
    known: dict[str, object] = {}
    for registry in registries:
        if registry.kind in recipe.table:
            schema = registry.schema(recipe.table[registry.kind])
            known |= {field.name: field.default for field in fields(schema) if field.default is not MISSING}
            known |= recipe.params(scale=cell.scale, dataset=dataset_of(cell, recipe))
    return known
