"""Evaluating methods from Python: one cell, or a grid of cells."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from irbench.api.results import Results
from irbench.core.benchmark import Benchmark
from irbench.core.cell import Value
from irbench.core.errors import IrbenchError, UsageError, nearest
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


class Options(TypedDict, total=False):
    """The arguments that `evaluate` and `run` share beside those in their signatures, as in `irbench run --help`.

    Attributes:
        work: folder for cached images, models, vectors and rankings; by default runs/work.
        results: folder that results are written to; by default runs/results.
        precision: "auto" (fp32 on a CPU, bf16 on a GPU), "fp32" or "bf16".
        weights: file of pretrained weights (.safetensors).
        crop: "none", or "bbox" for the part of each image inside its bounding box.
        protocol: "closed-set" or "metric-learning".
        on_bad_image: "fail", or "skip" to leave unreadable images out and count them.
        max_queries: evaluate only so many queries; the result is marked as partial.
        epochs: train for only so many epochs; the result is marked as partial.
        incremental: add half of the gallery after training.
        set: recipe keys, and the values that they are to have instead.
    """

    work: str | Path
    results: str | Path
    precision: str
    weights: str | Path | None
    crop: str
    protocol: str
    on_bad_image: str
    max_queries: int | None
    epochs: int | None
    incremental: bool
    set: Mapping[str, Value]


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

    A result that is stored for the same inputs is returned as it is, unless `force`. Recipes run in a process of their
    own, live objects in this one. An `IrbenchError` (see its `code`) says why a cell cannot be run or did not end well;
    whatever a live object raises itself is passed on.
    """
    identifiers = () if identifier is None else (identifier,)
    request = _request((Named.of(method, name),), (dataset,), search, identifiers, (seed,), scale, options)
    (experiment,) = experiments(request, _settings(data, device, options))
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
    device: str = "auto",
    timeout: float | None = None,
    progress: bool = True,
    force: bool = False,
    **options: Unpack[Options],
) -> Results:
    """Evaluate every method on every data set, with every search, identifier and seed.

    Each of `methods`, `datasets`, `search` and `identifiers` is one or a list of what `evaluate` takes; without
    `methods`, those of `grid` ("quick", "full" or "paper") run, on "digits" by default. `timeout` are the seconds that
    one cell may take; live objects are not stopped. See `Options` for the other arguments.

    Returns a result for each cell; one that failed, or was skipped, is among them with its status and reason. An
    `IrbenchError` (see its `code`) says what is wrong with the request as a whole, before anything is computed.
    """
    named = tuple(map(Named.of, _several(methods, "methods")))
    several = _several(datasets, "datasets"), search, _several(identifiers, "identifiers"), tuple(seeds)
    request = _request(named, *several, scale, options)
    planned = experiments(replace(request, grid=grid), _settings(data, device, options))
    with quiet(on=not progress):
        outcomes = grids.run(planned, grids.Silent(), force=force, timeout=timeout)
    return Results([_stored(experiment, outcomes) for experiment in planned], planned[0].settings.results)


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
    return data_sets.load(Path(name).expanduser() if str(name).startswith("~") else name, data=Path(data).expanduser(),
                          crop=crop, protocol=protocol)  # fmt: skip


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
    if not isinstance(ranking, Ranking):
        raise UsageError(
            f"a {type(ranking).__name__} is no Ranking; see irbench.Ranking.from_topk", code="not-a-ranking"
        )
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    if len(ranking) == len(benchmark.queries):
        ranking = ranking.without(benchmark.own_rows)
    return retrieval.score(ranking, benchmark, names)


def _request(  # noqa: PLR0913, PLR0917 -- all of what decides the cells
    methods: tuple[Any, ...],
    datasets: tuple[Any, ...],
    search: Any,
    identifiers: tuple[str, ...],
    seeds: tuple[int, ...],
    scale: str | None,
    options: Options,
) -> Request:
    overrides = options.get("set", {})
    if not isinstance(overrides, Mapping):
        raise UsageError(f"set={overrides!r}: a mapping of keys to values is needed", code="bad-override")
    return Request(
        methods=methods,
        searches=_several(search, "search"),
        identifiers=identifiers,
        datasets=datasets,
        seeds=seeds,
        scale=scale,
        crop=options.get("crop", "none"),
        protocol=options.get("protocol", "closed-set"),
        epochs=options.get("epochs"),
        max_queries=options.get("max_queries"),
        incremental=options.get("incremental", False),
        overrides=tuple(overrides.items()),
    )


def _settings(data: str | Path, device: str, options: Options) -> Settings:
    if unknown := options.keys() - Options.__annotations__.keys():
        name = min(unknown)
        raise UsageError(f"unknown argument '{name}'{nearest(name, Options.__annotations__)}", code="unknown-option")
    weights = options.get("weights")
    return Settings(
        data=Path(data).expanduser(),
        work=Path(options.get("work", "runs/work")).expanduser(),
        results=Path(options.get("results", "runs/results")).expanduser(),
        device=device,
        precision=options.get("precision", "auto"),
        weights=None if weights is None else Path(weights).expanduser(),
        on_bad_image=options.get("on_bad_image", "fail"),
    )


def _several(given: Any, what: str) -> tuple[Any, ...]:
    """Return one or several as several, () for None; a pair of arrays is one. An empty list asks for nothing."""
    if given is None:
        return ()
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
