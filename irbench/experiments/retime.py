"""Times stored cells again, data set by data set, and writes their results."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from irbench.core.errors import IrbenchError, UsageError
from irbench.experiments.experiment import Experiment
from irbench.experiments.settings import Settings
from irbench.experiments.timing import ROUNDS, Ready, prepare, time_together, under_load
from irbench.results import files, own
from irbench.results.hits import Reader
from irbench.results.schema import Result
from irbench.runtime.progress import track


@dataclass(frozen=True, kw_only=True)
class Retimed:
    """What was timed, and what could not be."""

    sessions: tuple[tuple[Result, ...], ...]  # the results of each session
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()  # what was not measured, though nothing is wrong


def retime(
    settings: Settings,
    *,
    datasets: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (),
    rounds: int = ROUNDS,
    clients: Sequence[int] = (),
) -> Retimed:
    """Time the chosen cells of a folder of results together and store the times; none chosen means all.

    Afterwards each cell by itself answers so many `clients` at once.

    Raises `UsageError` where there are no such results.
    """
    if not settings.results.is_dir():
        raise UsageError(f"{settings.results}: no such folder of results", code="no-such-folder")
    found, problems = files.read_all(settings.results)
    places = own.named(datasets, found, settings.results)
    chosen = [result for result in found if _is_chosen(result, places, methods, seeds)]
    if not chosen:
        raise UsageError(f"{settings.results}: no such results to time", code="no-results")
    problems = [*problems, *Reader(settings.results).damaged(chosen)]
    for name in (name for name, place in places.items() if place is None):
        own.located(name, settings.results)  # what was asked for by its name has to be there
    sessions: list[Retimed] = []
    for group in _by_dataset(chosen):
        ready: list[Ready] = []
        for result in track(group, f"prepare {len(group)} cells of {group[0].dataset.name}"):
            try:
                ready.append(_ready(result, places.get(result.dataset.name), settings))
            except IrbenchError as error:
                problems = [*problems, f"{_who(result)}: {error}"]
        if ready:
            sessions.append(_session(ready, rounds, clients, settings))
    return Retimed(
        sessions=tuple(results for one in sessions for results in one.sessions),
        problems=(*problems, *(problem for one in sessions for problem in one.problems)),
        notes=tuple(note for one in sessions for note in one.notes),
    )


def _session(ready: Sequence[Ready], rounds: int, clients: Sequence[int], settings: Settings) -> Retimed:
    """Time cells together, then let clients ask each by itself; results are written as soon as they are known."""
    timed, problems, notes = time_together(ready, rounds=rounds), [], []
    for result in timed:
        files.write(result, settings.results)
    for place, cell in enumerate(ready if clients else ()):
        try:
            timed[place], reasons = under_load(replace(cell, result=timed[place]), clients)
        except IrbenchError as error:
            problems.append(f"{_who(cell.result)}: {error}")
        else:
            files.write(timed[place], settings.results)
            notes += [f"{_who(cell.result)}: {reason}" for reason in reasons]
    return Retimed(sessions=(tuple(timed),), problems=tuple(problems), notes=tuple(notes))


def _who(result: Result) -> str:
    return f"{result.cell} on {result.dataset.name}, seed {result.seed}"


def _is_chosen(result: Result, datasets: Collection[str], methods: Sequence[str], seeds: Sequence[int]) -> bool:
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


def _ready(result: Result, place: str | None, settings: Settings) -> Ready:
    dataset = place or own.located(result.dataset.name, settings.results)
    as_it_ran = replace(
        settings,
        precision=str(result.environment.get("precision") or settings.precision),
        on_bad_image="skip" if result.dataset.bad_images else "fail",
    )
    experiment = Experiment(replace(result.spec, dataset=dataset), as_it_ran)
    if experiment.current() is None:
        raise UsageError("what it is made of has changed: run it again first", code="other-data")
    return prepare(experiment, result)
