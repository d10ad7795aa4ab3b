"""Evaluating methods from Python: one cell, or a grid of cells."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from irbench.api.arguments import Arguments, Options, checked
from irbench.api.results import Results
from irbench.core.benchmark import Benchmark
from irbench.core.errors import IrbenchError, UsageError
from irbench.core.ranking import Ranking
from irbench.data import datasets as data_sets
from irbench.experiments import grid as grids
from irbench.experiments.attempts import Outcome
from irbench.experiments.experiment import Experiment
from irbench.experiments.objects import Named, is_vectors
from irbench.experiments.plan import Request, experiments
from irbench.experiments.settings import Settings
from irbench.experiments.watcher import Watcher
from irbench.metrics import retrieval
from irbench.metrics.retrieval import Scores
from irbench.results.schema import Result
from irbench.runtime.cache import Store
from irbench.runtime.progress import quiet


def evaluate(  # noqa: PLR0913 -- each is an option of the command line
    method: Any,
    dataset: str | Path | Benchmark = "digits",
    *,
    search: Any = None,
    identifier: str | None = None,
    scale: str | None = None,
    seed: int = 0,
    data: str | Path = "data",
    device: str = "auto",
    name: str | None = None,
    progress: bool = True,
    force: bool = False,
    **options: Unpack[Options],
) -> Result:
    """Evaluate one method on one data set: train, index, search, score, time, and store the result.

    `method` is a recipe's name ("irgen", "ft-clip+scann"), the path of a Python file ("./mine.py"), or an object: an
    encoder with `encode(images) -> array [N,D]`, a pair of arrays `(query_vectors [Q,D], gallery_vectors [N,D])`, or a
    retriever with `index(images)` and `search(images, k) -> Ranking`. `dataset` is a recipe's name, a folder, a CSV
    file, or a `Benchmark`. `search` completes an encoder: a searcher's name ("linear", by default), the path of a
    Python file, or an object with `build(Embeddings)` and `search(Embeddings, k) -> Ranking`. `name` is what an object
    is called in results. See `Options` for the other arguments.

    A result that is stored for the same inputs is returned as it is, unless `force`; that of another file or benchmark
    of the same name is replaced only with `force`. Recipes run in a process of their own, live objects in this one. An
    `IrbenchError` (see its `code`) says why a cell cannot be run or did not end well; whatever a live object raises
    itself is passed on.
    """
    given = checked(identifier=identifier, scale=scale, seed=seed, data=data, device=device, progress=progress,
                    force=force, **options)  # fmt: skip
    (experiment,) = cells_of((Named.of(method, name) or method,), (dataset,), search, given)
    with quiet(on=not progress):
        if not experiment.portable:
            return grids.run_here(experiment, force=force)
        outcomes = grids.run([experiment], Watcher(), force=force)
    for outcome in outcomes.values():
        if outcome.status != "ok":
            raise IrbenchError(f"{experiment.cell}: {outcome.reason}", code=outcome.status)
    return _stored(experiment, outcomes)


def run(  # noqa: PLR0913 -- each is an option of the command line
    methods: Any = None,
    datasets: Any = None,
    *,
    search: Any = None,
    identifiers: str | Sequence[str] | None = None,
    grid: str = "quick",
    seeds: Sequence[int] = (0,),
    scale: str | None = None,
    data: str | Path = "data",
    device: str = "auto",
    timeout: float | None = None,
    progress: bool = True,
    force: bool = False,
    **options: Unpack[Options],
) -> Results:
    """Evaluate every method on every data set, with every search, identifier and seed.

    Each of `methods`, `datasets`, `search` and `identifiers` is one or a list of what `evaluate` takes; `methods` and
    `search` may also be a mapping from names to objects. Without `methods`, those of `grid` ("quick", "full" or
    "paper") run, on "digits" by default. `timeout` are the seconds that one cell may take; live objects are not
    stopped. See `Options` for the other arguments.

    Returns a result for each cell; one that failed, or was skipped, is among them with its status and reason. An
    `IrbenchError` (see its `code`) says what is wrong with the request as a whole, before anything is computed.
    """
    given = checked(identifiers=identifiers, grid=grid, seeds=seeds, scale=scale, data=data, device=device,
                    timeout=timeout, progress=progress, force=force, **options)  # fmt: skip
    planned = cells_of(_several(methods, "methods"), _several(datasets, "datasets"), search, given)
    with quiet(on=not progress):
        outcomes = grids.run(planned, Watcher(), force=force, timeout=timeout)
    return Results([_stored(experiment, outcomes) for experiment in planned], planned[0].settings.results)


def load_dataset(
    name: str | Path,
    *,
    data: str | Path = "data",
    crop: str | None = None,
    protocol: str | None = None,
    qrels: str | Path | None = None,
    work: str | Path = "runs/work",
) -> Benchmark:
    """Return a data set as a benchmark: its training images, gallery and queries under a protocol.

    One that is derived from it (`dataclasses.replace`) needs a name of its own to be evaluated.

    Args:
        name: a recipe's name (`irbench data list`), a folder of class folders or of Parquet files, a CSV file, or
            `hf:OWNER/NAME@COMMIT`, a data set of the Hugging Face hub.
        data: folder that holds the data sets.
        crop: "none", or "bbox" for the part of each image inside its bounding box; by default as it is published.
        protocol: "closed-set", "metric-learning" (the classes of the queries are not trained on), or one of the data
            set's own; by default its first one.
        qrels: file of what is relevant among images of your own: lines `query 0 image grade`, or a CSV with columns
            query,image,grade. A grade of 1 or more is relevant, -1 neither right nor wrong.
        work: folder where hashes of the images are stored, and the images of Parquet files; the first time, every image
            is read.

    Raises:
        IrbenchError: the data set is unknown, missing or broken.
    """
    if not isinstance(name, str | Path):
        raise UsageError(f"a {type(name).__name__} is no name and no path of a data set", code="bad-value")
    checked(data=data, crop=crop, protocol=protocol, work=work)
    place = Path(name).expanduser() if str(name).startswith("~") else name
    if qrels is not None:
        place = data_sets.with_qrels(place, Path(qrels).expanduser(), Path(work).expanduser())
    store = Store(Path(work).expanduser())
    place = data_sets.placed(place, store.root)
    benchmark = data_sets.load(place, data=Path(data).expanduser(), crop=crop, protocol=protocol, store=store)
    return replace(benchmark, loaded=(benchmark.name, data_sets.content(benchmark)))


def score(ranking: Ranking, benchmark: Benchmark, metrics: str | Iterable[str]) -> Scores:
    """Score a ranking query by query.

    Args:
        ranking: gallery rows [Q,K] for the benchmark's queries, best first. Where a query is itself in the gallery, it
            is taken out by its id, and so is what is judged to be junk.
        benchmark: the queries and the gallery.
        metrics: names such as "precision@10", "map@100" or "r_precision" (`irbench list metrics`).

    Returns:
        `values[metric]` [Q'] for the Q' queries with a positive in the gallery, `queries` [Q'] their rows, `means`,
        and `unscored` with the reason where a metric cannot be had.

    Raises:
        IrbenchError: an unknown metric, or a ranking that is not of this benchmark.
    """
    if not isinstance(ranking, Ranking):
        raise UsageError(
            f"a {type(ranking).__name__} is no Ranking; see irbench.Ranking.from_topk", code="not-a-ranking"
        )
    if not isinstance(benchmark, Benchmark):
        raise UsageError(f"a {type(benchmark).__name__} is no Benchmark; see irbench.load_dataset", code="bad-value")
    if not isinstance(metrics, Iterable):
        raise UsageError(f"metrics={metrics!r}: names such as 'precision@10' are needed", code="bad-metric-name")
    names = [metrics] if isinstance(metrics, str) else [str(name) for name in metrics]
    if len(ranking) == len(benchmark.queries):
        ranking = benchmark.scored(ranking)
    return retrieval.score(ranking, benchmark, names)


def cells_of(methods: tuple[Any, ...], datasets: tuple[Any, ...], search: Any, given: Arguments) -> list[Experiment]:
    """Return the cells that are asked for."""
    request = Request(
        methods=methods,
        datasets=datasets,
        searches=_several(search, "search"),
        identifiers=_several(given.get("identifiers", given.get("identifier")), "identifiers"),
        seeds=tuple(given["seeds"]) if "seeds" in given else (given["seed"],),
        overrides=tuple(given.get("set", {}).items()),
        **_among(given, "grid", "scale", "crop", "protocol", "epochs", "max_queries", "incremental"),
    )
    folders = {"data": "data", "work": "runs/work", "results": "runs/results"} | _among(
        given, "data", "work", "results"
    )
    paths = {name: Path(folder).expanduser() for name, folder in folders.items()}
    weights = given.get("weights") or ()
    weights = (weights,) if isinstance(weights, str | Path) else weights
    settings = Settings(
        data=paths["data"],
        work=paths["work"],
        results=paths["results"],
        weights=tuple(Path(path).expanduser() for path in weights),
        **_among(given, "device", "precision", "on_bad_image", "pixel_cache"),
    )
    return experiments(request, settings)


def _among(given: Arguments, *names: str) -> dict[str, Any]:
    """Return those of these arguments that were given."""
    return {name: value for name, value in given.items() if name in names}


def _several(given: Any, what: str) -> tuple[Any, ...]:
    """Return one or several as several, () for None; a pair of arrays is one. An empty list asks for nothing."""
    if given is None:
        return ()
    if isinstance(given, Mapping) and what in {"methods", "search"}:
        given = [Named.of(one, name) for name, one in given.items()]
    if is_vectors(given):
        return (given,)
    texts = isinstance(given, tuple) and all(isinstance(one, str | Path) for one in given)
    several = tuple(given) if isinstance(given, list | set) or texts else (given,)
    if not several:
        raise UsageError(f"{what} is empty: leave it out for the default", code="nothing-to-run")
    return several


def _stored(experiment: Experiment, outcomes: Mapping[Experiment, Outcome]) -> Result:
    result = experiment.current()
    if result is not None:
        return result
    outcome = outcomes.get(experiment)
    if outcome is None:
        raise UsageError(f"{experiment.cell}: its result has been removed meanwhile", code="no-result")
    return experiment.unfinished(outcome.status, outcome.reason)
