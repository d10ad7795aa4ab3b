"""One cell of the grid, from images to a result. It knows `Retriever`, and no method by name."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
from pydantic import ValidationError

from irbench.core.benchmark import Benchmark
from irbench.core.description import Description
from irbench.core.errors import ContractError, NotApplicable
from irbench.core.ranking import MISSING, Ranking
from irbench.experiments import latency, neighbours
from irbench.experiments.experiment import Experiment
from irbench.metrics import diagnostics, retrieval
from irbench.metrics.retrieval import Scope
from irbench.protocols import Generative, Retriever, SearchesVectors, SupportsQueryParameters, SupportsUpdates
from irbench.results import hits, rankings
from irbench.results.rescore import scored
from irbench.results.schema import Conditions, Cost, Facts, Result
from irbench.retrievers.checked import as_ranking, described
from irbench.runtime import batches
from irbench.runtime.conditions import (
    ConcurrentLoad,
    Work,
    average_load,
    decoded_again,
    forget_decoded_again,
    processor_and_steering,
    significant,
)
from irbench.runtime.environment import environment, peak_memory, reset_peak_memory, resident_memory
from irbench.runtime.machine import use_threads
from irbench.runtime.timer import Timer


@dataclass(frozen=True, eq=False, kw_only=True)
class Indexed:
    """A trained retriever with the gallery in its index, and what that took."""

    retriever: Retriever
    cost: Cost
    benchmark: Benchmark
    load: float | None  # cores that other processes computed on meanwhile
    held: int  # bytes of the host that it takes, networks included
    peaks: tuple[int, int | None]  # most bytes of the host meanwhile, and of the device

    @cached_property
    def neighbours(self) -> neighbours.Neighbours | None:
        """The exact neighbours of some queries, where vectors are searched."""
        retriever = self.retriever
        return neighbours.neighbours(retriever, self.benchmark) if isinstance(retriever, SearchesVectors) else None

    def answers_for(self, experiment: Experiment) -> bool:
        """Let this index answer as that of another experiment would; False where it cannot."""
        retriever = self.retriever
        return isinstance(retriever, SupportsQueryParameters) and retriever.set_query_parameters(experiment.builder)


def index(experiment: Experiment) -> Indexed:
    """Train, and index the gallery."""
    runtime, benchmark = experiment.runtime, experiment.benchmark
    floor, load = resident_memory(), ConcurrentLoad()
    batches.start_anew()
    forget_decoded_again()
    retriever = experiment.untrained()
    if benchmark.incremental and not isinstance(retriever, SupportsUpdates):
        raise NotApplicable(
            f"{experiment.cell.name} cannot add images to a gallery that it has indexed", code="no-updates"
        )
    cost = _trained_and_indexed(experiment, retriever)
    host, device = peak_memory(runtime)
    return Indexed(
        retriever=retriever,
        cost=cost,
        benchmark=benchmark,
        load=load.cores(),
        held=resident_memory() - floor,
        peaks=(host - floor, device),
    )


def measure(experiment: Experiment, indexed: Indexed, *, brief: bool = False) -> Result:
    """Search, score and measure; nothing is written but the cache, the ranking and its hits.

    `brief` where this index and its network were measured for another cell before.
    """
    runtime, benchmark, retriever = experiment.runtime, experiment.benchmark, indexed.retriever
    reset_peak_memory(runtime)  # what other cells left on this index is not this one's
    resident, load = resident_memory(), ConcurrentLoad()
    use_threads(runtime.threads)  # an index's library may have changed torch's when it was built
    timed = latency.time_queries(retriever, benchmark.queries, benchmark.gallery, benchmark.depth, runtime, brief=brief)
    loads = [one for one in (indexed.load, load.cores()) if one is not None]
    ranking = _search(retriever, benchmark)
    latency.check_answers(timed.answers, ranking, benchmark.scored)
    identifiers = retriever.identifiers() if isinstance(retriever, Generative) else None
    ranking_file = rankings.save_ranking(ranking, experiment.settings.work / "rankings", identifiers)
    description = described(retriever, "retriever")  # after the search, which some of it tells
    host, device = peak_memory(runtime)
    cost = replace(
        _with_query_cost(indexed.cost, timed, description),
        peak_host_bytes=max(0, indexed.peaks[0], indexed.held + host - resident),
        peak_device_bytes=None if device is None else max(device, indexed.peaks[1] or 0),
    )
    try:
        result = _finished(experiment, ranking, description, cost)
    except ValidationError as error:  # of what the retriever reports of itself
        raise ContractError(f"{experiment.cell.name}: {error.errors()[0]['msg']}", code="bad-description") from error
    measured = {"concurrent_load": max(loads, default=None), "timing_cores": timed.cores}
    return replace(
        result,
        ranking=ranking_file,
        retriever=result.retriever | _diagnostics(indexed, ranking) | _ties(ranking),
        environment=result.environment | measured,
    )


def _trained_and_indexed(experiment: Experiment, retriever: Retriever) -> Cost:
    """Train, index what is old and add what is new, each by its own timer."""
    runtime, benchmark = experiment.runtime, experiment.benchmark
    training, indexing, adding = (Timer(bypass_cache=False, synchronize=runtime.synchronize) for _ in range(3))
    training_load = ConcurrentLoad()
    with training.run():
        experiment.train(retriever)
    now = Work(training.seconds["total"], processor_and_steering(), training_load.cores())
    trained = significant((now, *training.remembered))
    reset_peak_memory(runtime)
    with indexing.run():
        retriever.index(benchmark.old_gallery)
    if isinstance(retriever, SupportsUpdates) and benchmark.incremental:
        with adding.run():
            retriever.add(benchmark.new_gallery)
    return Cost(
        train_s=training.cost,
        training=Conditions(
            processors=tuple(dict.fromkeys(work.processor for work in trained if work.processor)),
            load=average_load(trained),
        ),
        encode_gallery_s=indexing.seconds.get("encode"),
        build_s=indexing.seconds.get("build"),
        add_s=adding.cost if benchmark.incremental else None,
    )


def _search(retriever: Retriever, benchmark: Benchmark) -> Ranking:
    """Rank the gallery for every query; the query image itself is excluded by its id, wherever it ranks."""
    asked = benchmark.depth + int((benchmark.own_rows >= 0).any())
    found = as_ranking(retriever.search(benchmark.queries, asked), retriever, len(benchmark.queries))
    return benchmark.scored(found.widened(min(asked, len(benchmark.gallery)))).cut(benchmark.top_k)


def _finished(experiment: Experiment, ranking: Ranking, description: Description, cost: Cost) -> Result:
    """Return the result with its scores; their hits are stored next to where it will be, which is written last."""
    benchmark, blank = experiment.benchmark, experiment.blank
    judged = retrieval.judgements(ranking, benchmark)
    folder = blank.path(experiment.settings.results).parent
    result = replace(
        blank,
        status="ok",
        reason=None,
        backbone=description.backbone,
        retriever=_plain(dict(description.details) | blank.retriever),
        hits=hits.save(judged, folder, seed=experiment.cell.seed),
        cost=cost,
        environment=cast(
            "Facts",
            environment(experiment.runtime)
            | {"throughput_batch": latency.BATCH}
            | {f"{what}_batch": batch for what, batch in batches.halved().items()}
            | ({"decoded_again": list(again)} if (again := decoded_again()) else {}),
        ),
    )
    return scored(result, judged, Scope.of(benchmark))


def _diagnostics(indexed: Indexed, ranking: Ranking) -> Facts:
    """Return what an approximate search misses, or the diagnostics of the identifiers that are generated."""
    retriever, benchmark, exact = indexed.retriever, indexed.benchmark, indexed.neighbours
    if isinstance(retriever, SearchesVectors) and exact is not None:
        return _plain({"neighbours": neighbours.report(retriever, exact, ranking, benchmark.queries)})
    if not isinstance(retriever, Generative):
        return {}
    generated = retriever.generate(diagnostics.sample(benchmark.queries))
    return _plain({"identifiers": diagnostics.report(retriever.identifiers(), benchmark, generated=generated)})


def _with_query_cost(cost: Cost, timed: latency.Timed, description: Description) -> Cost:
    """Add what a query costs: bytes and time."""
    per_query = timed.batched.total_p50
    return replace(
        cost,
        index_bytes=description.index_bytes,
        model_bytes=description.model_bytes,
        query_ms=timed.single,
        batched_ms=timed.batched,
        queries_per_s=1000 / per_query if per_query else None,
    )


def _ties(ranking: Ranking) -> Facts:
    """Return the share of queries all of whose results are equally good, so that the gallery's order ranks them."""
    several = (ranking.rows != MISSING).sum(axis=1) > 1
    worst = np.where(ranking.rows == MISSING, np.inf, ranking.scores).min(axis=1)
    share = float((several & (worst == ranking.scores[:, 0])).mean())
    return {"all_tied": share} if share else {}


def _plain(details: Mapping[str, object]) -> Facts:
    """Return what a retriever reports of itself as JSON values; numpy's numbers become plain ones."""
    try:
        return cast("Facts", json.loads(json.dumps(dict(details), allow_nan=False, default=lambda value: value.item())))
    except (AttributeError, TypeError, ValueError) as error:
        raise ContractError(f"describe() has details that JSON cannot hold: {error}", code="bad-description") from error
