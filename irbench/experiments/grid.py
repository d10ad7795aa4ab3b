"""Carries out cells: what is stored already is reused, the rest is run."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from irbench.experiments.attempts import Outcome, attend_apart, check_apart, run_apart
from irbench.experiments.executors import Executor
from irbench.experiments.experiment import Experiment
from irbench.experiments.images import read_datasets_again
from irbench.experiments.run import index, measure
from irbench.experiments.schedule import carry_out, of_one_index
from irbench.experiments.watcher import Watcher
from irbench.results import files
from irbench.results.rescore import known_metrics
from irbench.results.schema import Result
from irbench.runtime.cache import check_writable
from irbench.runtime.together import Together

_END = "the end"


def run_here(experiment: Experiment, *, force: bool = False) -> Result:
    """Return the stored result of an experiment, or run it in this process, where what it raises can be caught."""
    _check([experiment], force=force)
    stored = None if force else experiment.stored()
    if stored is not None:
        experiment.rescore()
        return stored
    result = measure(experiment, index(experiment))
    files.write(result, experiment.settings.results)
    return result


def run(
    experiments: Sequence[Experiment],
    watcher: Watcher,
    *,
    force: bool = False,
    timeout: float | None = None,
    dry_run: bool = False,
    executor: Executor | None = None,
) -> dict[Experiment, Outcome]:
    """Run the experiments whose results are not stored yet, or all with `force`; return how these ended.

    Each is carried out from its beginning to its end before the next one starts, unless an `executor` carries out
    several at once. Where other processes `attend`, they train its networks together with this one.
    What can be wrong with a request (data, recipes, folders) is found before the first cell computes.
    """
    broken = _check(experiments, force=force, writes=not dry_run, timeout=timeout)
    sound = [experiment for experiment in experiments if experiment not in broken]
    stored = [] if force else [experiment for experiment in sound if experiment.stored() is not None]
    due = [experiment for experiment in experiments if experiment not in stored]
    watcher.planned(stored, due)
    outcomes: dict[Experiment, Outcome] = {}
    if dry_run:
        return outcomes
    if rescored := [experiment for experiment in stored if experiment.rescore()]:
        watcher.rescored(rescored)
    if executor is not None:
        for experiment, outcome in broken.items():
            watcher.started(experiment)
            watcher.ended(experiment, outcome)
        with executor:
            return broken | carry_out([one for one in due if one not in broken], executor, watcher, timeout=timeout)
    for cells in of_one_index(due):
        with closing(_carried_out(cells, experiments, broken, timeout)) as ended:
            for experiment in cells:
                watcher.started(experiment)
                outcomes[experiment] = next(ended)
                watcher.ended(experiment, outcomes[experiment])
    return outcomes


def attend(plan: Callable[[], Sequence[Experiment]], together: Together, *, timeout: float | None = None) -> None:
    """Take part in the trainings of the process that runs the same plan, until it ends."""
    experiments: Sequence[Experiment] = ()
    while (word := together.hear()) != _END:
        experiments = experiments or plan()
        attend_apart(_among(experiments, int(word)), timeout)


def end(together: Together) -> None:
    """Let those that attend go."""
    together.say(_END)


def _among(experiments: Sequence[Experiment], place: int) -> Experiment:
    """Return an experiment of the plan, in which processes that train together keep its words apart from others'."""
    experiment = experiments[place]
    settings = experiment.settings
    if settings.together.alone:
        return experiment
    return replace(experiment, settings=replace(settings, together=settings.together.about(f"cell {place}")))


def _carried_out(
    cells: Sequence[Experiment],
    experiments: Sequence[Experiment],
    broken: Mapping[Experiment, Outcome],
    timeout: float | None,
) -> Generator[Outcome, None, None]:
    """Yield how each of these cells of one index ended, one after the other."""
    if cells[0] in broken:
        yield broken[cells[0]]
    elif cells[0].settings.together.alone:
        yield from run_apart(cells, timeout)
    else:
        yield from _with_others(_among(experiments, experiments.index(cells[0])), timeout)


def _with_others(experiment: Experiment, timeout: float | None) -> Iterator[Outcome]:
    together = experiment.settings.together
    together.about("").say(together.name.removeprefix("cell "))
    yield from run_apart([experiment], timeout)
    together.fail("it has ended")  # for those that still wait for its word


def _check(
    experiments: Sequence[Experiment], *, force: bool, writes: bool = True, timeout: float | None = None
) -> dict[Experiment, Outcome]:
    """Find what is wrong with a request before anything is computed.

    Returns the experiments that ended already: code of the user's could not be imported or built.
    """
    read_datasets_again()
    broken: dict[Experiment, Outcome] = {}
    for experiment in experiments:
        if not experiment.runs_code_of_the_user:
            experiment.check(force=force)
        elif (ended := check_apart(experiment, timeout, force=force)) is not None:
            broken[experiment] = ended
    known_metrics()  # a broken one would be found only when the first cell is scored
    if writes and experiments:
        check_writable(experiments[0].settings.results, "--results")
        check_writable(experiments[0].settings.work, "--work")
    return broken
