"""Evaluating methods from Python: one cell, or a grid of cells."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from irbench.api.results import Results
from irbench.core.benchmark import Benchmark
from irbench.core.cell import Value
from irbench.core.errors import IrbenchError, UsageError
from irbench.core.ranking import Ranking
from irbench.data import datasets as data_sets
from irbench.experiments import grid as grids
from irbench.experiments.executors import Outcome
from irbench.experiments.objects import Named
from irbench.experiments.plan import Request, experiments
from irbench.experiments.run import Experiment, Settings
from irbench.metrics import retrieval
from irbench.metrics.retrieval import Scores
from irbench.results.schema import Result
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
    work: str | Path = "runs/work",
    results: str | Path = "runs/results",
    device: str = "auto",
    precision: str = "auto",
    weights: str | Path | None = None,
    crop: str = "none",
    protocol: str = "closed-set",
    on_bad_image: str = "fail",
    max_queries: int | None = None,
    epochs: int | None = None,
    incremental: bool = False,
    set: Mapping[str, Value] | None = None,  # noqa: A002 -- as --set
    name: str | None = None,
    progress: bool = True,
    force: bool = False,
) -> Result:
    """Evaluate one method on one data set: train, index, search, score, time, and store the result.

    A result that is stored for the same question is returned as it is, unless `force` is set. A cell of recipes runs
    in a process of its own; one of live objects runs in this process.

    Args:
        method: a recipe's name ("irgen", "ft-clip+scann"), the path of a Python file ("./mine.py"), or an object: an
            encoder with `encode(images) -> array [N,D]`, a pair of arrays `(query_vectors [Q,D], gallery_vectors
            [N,D])`, or a retriever with `index(images)` and `search(images, k) -> Ranking`.
        dataset: a recipe's name, a folder, a CSV file, or a `Benchmark`.
        search: of an encoder: the searcher's name ("linear", by default), the path of a Python file, or an object with
            `build(Embeddings)` and `search(Embeddings, k) -> Ranking`.
        identifier: kind of identifier, for methods that generate identifiers; by default the recipe's own.
        scale: "tiny", "small" or "paper"; by default the data set's own.
        seed: of everything random.
        data: folder that holds the data sets.
        work: folder for cached images, models, vectors and rankings.
        results: folder that the result is written to.
        device: "auto", "cpu" or "cuda".
        precision: "auto" (fp32 on a CPU, bf16 on a GPU), "fp32" or "bf16".
        weights: file of pretrained weights.
        crop: "none" or "bbox".
        protocol: "closed-set" or "metric-learning".
        on_bad_image: "fail" or "skip".
        max_queries: evaluate only so many queries; the result is marked as partial.
        epochs: train for only so many epochs; the result is marked as partial.
        incremental: add half of the gallery after training.
        set: recipe keys and the values that they are to have instead.
        name: what an object is called in results; by default its `name`, or its class's.
        progress: show progress bars on standard error.
        force: run again what is stored.

    Returns:
        The result, whose status is "ok".

    Raises:
        IrbenchError: the cell cannot be run as given, or did not end well; see its `code`. Whatever a live object
            raises itself is passed on.
    """
    request = Request(
        methods=(Named.of(method, name),),
        searches=() if search is None else (search,),
        identifiers=() if identifier is None else (identifier,),
        datasets=(dataset,),
        seeds=(seed,),
        scale=scale,
        crop=crop,
        protocol=protocol,
        epochs=epochs,
        max_queries=max_queries,
        incremental=incremental,
        overrides=tuple((set or {}).items()),
    )
    settings = Settings(
        data=Path(data),
        work=Path(work),
        results=Path(results),
        device=device,
        precision=precision,
        weights=None if weights is None else Path(weights),
        on_bad_image=on_bad_image,
    )
    (experiment,) = experiments(request, settings)
    with quiet(on=not progress):
        if not experiment.portable:
            return grids.run_here(experiment, force=force)
        outcomes = grids.run([experiment], grids.Silent(), force=force)
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
    work: str | Path = "runs/work",
    results: str | Path = "runs/results",
    device: str = "auto",
    precision: str = "auto",
    weights: str | Path | None = None,
    crop: str = "none",
    protocol: str = "closed-set",
    on_bad_image: str = "fail",
    max_queries: int | None = None,
    epochs: int | None = None,
    incremental: bool = False,
    set: Mapping[str, Value] | None = None,  # noqa: A002 -- as --set
    timeout: float | None = None,
    progress: bool = True,
    force: bool = False,
) -> Results:
    """Evaluate every method on every data set, with every search and seed; see `evaluate` for the arguments.

    Args:
        methods: one method or several; by default those of `grid`.
        datasets: one data set or several; by default "digits".
        search: one searcher or several, for methods that are encoders.
        identifiers: one kind of identifier or several, for methods that generate identifiers.
        grid: "quick", "full" or "paper": what `methods` leaves open.
        seeds: one run for each.
        scale: see `evaluate`, as all others that are not named here.
        data: see `evaluate`.
        work: see `evaluate`.
        results: see `evaluate`.
        device: see `evaluate`.
        precision: see `evaluate`.
        weights: see `evaluate`.
        crop: see `evaluate`.
        protocol: see `evaluate`.
        on_bad_image: see `evaluate`.
        max_queries: see `evaluate`.
        epochs: see `evaluate`.
        incremental: see `evaluate`.
        set: keys that at least one of the methods has; set in those that do.
        timeout: seconds that one cell may take; live objects are not stopped.
        progress: show progress bars on standard error.
        force: run again what is stored.

    Returns:
        A result for each cell; one that failed, or was skipped, is among them with its status and reason.

    Raises:
        IrbenchError: the request cannot be carried out as given; see its `code`.
    """
    request = Request(
        methods=tuple(map(Named.of, _several(methods))),
        searches=_several(search),
        identifiers=_several(identifiers),
        datasets=_several(datasets),
        seeds=tuple(seeds),
        grid=grid,
        scale=scale,
        crop=crop,
        protocol=protocol,
        epochs=epochs,
        max_queries=max_queries,
        incremental=incremental,
        overrides=tuple((set or {}).items()),
    )
    settings = Settings(
        data=Path(data),
        work=Path(work),
        results=Path(results),
        device=device,
        precision=precision,
        weights=None if weights is None else Path(weights),
        on_bad_image=on_bad_image,
    )
    planned = experiments(request, settings)
    with quiet(on=not progress):
        outcomes = grids.run(planned, grids.Silent(), force=force, timeout=timeout)
    return Results([_stored(experiment, outcomes) for experiment in planned], settings.results)


def load_dataset(
    name: str | Path, *, data: str | Path = "data", crop: str = "none", protocol: str = "closed-set"
) -> Benchmark:
    """Return a data set as a benchmark: its training images, gallery and queries under a protocol.

    Args:
        name: a recipe's name (`irbench data list`), a folder of class folders, or a CSV file.
        data: folder that holds the data sets.
        crop: "none", or "bbox" for the part of each image inside its bounding box.
        protocol: "closed-set", or "metric-learning": the classes of the queries are not trained on.

    Raises:
        IrbenchError: the data set is unknown, missing or broken.
    """
    return data_sets.load(name, data=Path(data), crop=crop, protocol=protocol)


def score(ranking: Ranking, benchmark: Benchmark, metrics: str | Iterable[str]) -> Scores:
    """Score a ranking query by query.

    Args:
        ranking: gallery rows [Q,K] for the benchmark's queries, best first. Where a query is itself in the gallery, it
            is taken out by its id.
        benchmark: the queries and the gallery.
        metrics: names such as "precision@10", "map@100" or "r_precision" (`irbench list metrics`).

    Returns:
        `values[metric]` [Q'] for the Q' queries with a positive in the gallery, `queries` [Q'] their rows, `means`,
        and `unscored` with the reason where a metric cannot be had.

    Raises:
        IrbenchError: an unknown metric, or a ranking that is not of this benchmark.
    """
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    if len(ranking) == len(benchmark.queries):
        ranking = ranking.without(benchmark.own_rows)
    return retrieval.score(ranking, benchmark, names)


def _several(given: Any) -> tuple[Any, ...]:
    """Return one or several as several; a pair of arrays is one."""
    if given is None:
        return ()
    return tuple(given) if isinstance(given, list | set) else _of_tuple(given)


def _of_tuple(given: Any) -> tuple[Any, ...]:
    several = isinstance(given, tuple) and all(isinstance(one, str | Path) for one in given)
    return given if several else (given,)


def _stored(experiment: Experiment, outcomes: Mapping[Experiment, Outcome]) -> Result:
    result = experiment.current()
    if result is not None:
        return result
    outcome = outcomes.get(experiment)
    if outcome is None:
        raise UsageError(f"{experiment.cell}: its result has been removed meanwhile", code="no-result")
    return experiment.unfinished(outcome.status, outcome.reason)
