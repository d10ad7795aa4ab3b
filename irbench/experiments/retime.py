"""Times stored cells again, data set by data set, and writes their results."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from irbench.core.errors import IrbenchError, UsageError
from irbench.data import datasets as data_sets
from irbench.experiments.run import Experiment, Settings
from irbench.experiments.timing import ROUNDS, Ready, prepare, time_together
from irbench.results import files
from irbench.results.schema import Result


@dataclass(frozen=True, kw_only=True)
class Retimed:
    """What was timed, in words for each cell, and what could not be."""

    lines: tuple[str, ...]
    problems: tuple[str, ...]


def retime(
    settings: Settings,
    *,
    datasets: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (),
    rounds: int = ROUNDS,
) -> Retimed:
    """Time the chosen cells of a folder of results together and store the times; none chosen means all.

    Raises `UsageError` where there are no such results.
    """
    found, problems = files.read_all(settings.results)
    places = {data_sets.find(name).name: name for name in datasets}
    chosen = [result for result in found if _is_chosen(result, places, methods, seeds)]
    if not chosen:
        raise UsageError(f"{settings.results}: no such results to time", code="no-results")
    lines: list[str] = []
    for group in _by_dataset(chosen):
        ready: list[Ready] = []
        for result in group:
            try:
                ready.append(_ready(result, places.get(result.dataset.name, result.dataset.name), settings))
            except IrbenchError as error:
                problems = [*problems, f"{result.cell} on {result.dataset.name}, seed {result.seed}: {error}"]
        if ready:
            timed = time_together(ready, rounds=rounds)
            lines += _report(timed)
            for result in timed:
                files.write(result, settings.results)
    return Retimed(lines=tuple(lines), problems=tuple(problems))


def _is_chosen(result: Result, datasets: dict[str, str], methods: Sequence[str], seeds: Sequence[int]) -> bool:
    return (
        result.status == "ok"
        and result.origin == "recipe"
        and (not datasets or result.dataset.name in datasets)
        and (not methods or result.cell in methods)
        and (not seeds or result.seed in seeds)
    )


def _by_dataset(results: Sequence[Result]) -> Iterator[list[Result]]:
    groups = defaultdict(list)
    for result in results:
        groups[result.dataset.name, result.dataset.fingerprint].append(result)
    yield from groups.values()


def _ready(result: Result, dataset: str, settings: Settings) -> Ready:
    precision = str(result.environment.get("precision") or settings.precision)
    experiment = Experiment(replace(result.spec, dataset=dataset), replace(settings, precision=precision))
    if experiment.current() is None:
        raise UsageError("what it is made of has changed: run it again first", code="other-data")
    return prepare(experiment, result)


def _report(timed: Sequence[Result]) -> Iterator[str]:
    first = timed[0].cost.session
    if first is not None:
        low, high = first.drift
        yield (
            f"{timed[0].dataset.name}: {len(timed)} cells in {len(first.single_ms)} rounds; the reference took "
            f"{first.reference_ms:.2f} ms, {low:.2f} to {high:.2f} times that"
        )
    for result in timed:
        session, times = result.cost.session, result.cost.query_ms
        if session is not None and times is not None:
            yield (
                f"  {result.cell}, seed {result.seed}: {times.total_p50:.2f} ms "
                f"({min(session.single_ms):.2f} to {max(session.single_ms):.2f}), "
                f"{result.cost.queries_per_s:,.0f} queries/s"
            )
