"""The order of a grid's jobs where several run at once: prepare what cells share, then measure each alone.

Cells that differ in their search only share all that is prepared: one of them prepares for all. A method that another
one of the grid builds on comes first. What cells share beyond that is found when they ask for it: whoever needs what
another process is making gives its slot away, and asks again when something has been finished, or a while later.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from time import sleep
from typing import Literal, cast

from irbench.core.cell import Cell
from irbench.experiments.attempts import Outcome, record
from irbench.experiments.executors import Answer, Executor, Job, Lost
from irbench.experiments.experiment import Experiment
from irbench.experiments.watcher import Watcher

_POLL_S = 5.0  # until what others are making is asked for again, where nothing of the grid's is finished before


@dataclass(eq=False)
class _Group:
    """Cells that differ in their search only, of which the first prepares for all."""

    cells: deque[Experiment]
    told: set[str] = field(default_factory=set)  # what the watcher has heard of it: each thing once

    @property
    def first(self) -> Experiment:
        return self.cells[0]

    def needs(self, other: "_Group") -> bool:
        """Does it build on the method of another group, on the same images?"""
        mine, others = self.first.cell, other.first.cell
        return others.method in self.first.builds_on and _place(mine) == _place(others)


def carry_out(
    due: Sequence[Experiment], executor: Executor, watcher: Watcher, *, timeout: float | None = None
) -> dict[Experiment, Outcome]:
    """Run these experiments and return how each ended; `timeout` limits each stage of each."""
    return _Schedule(executor, watcher, timeout, waiting=deque(_groups(due))).run()


@dataclass(eq=False)
class _Schedule:
    executor: Executor
    watcher: Watcher
    timeout: float | None
    waiting: deque[_Group]
    busy: list[_Group] = field(default_factory=list)  # that need what others are making
    ready: deque[Sequence[Experiment]] = field(default_factory=deque)  # cells of one index are measured in one job
    preparing: "dict[Future[Answer], _Group]" = field(default_factory=dict)
    measuring: "dict[Future[Answer], Sequence[Experiment]]" = field(default_factory=dict)
    outcomes: dict[Experiment, Outcome] = field(default_factory=dict)

    def run(self) -> dict[Experiment, Outcome]:
        while self.waiting or self.busy or self.ready or self.preparing or self.measuring:
            self._begin()
            done = self._wait()
            finished = [self._after(future) for future in done]
            if any(finished) or not done:
                self.waiting += self.busy
                self.busy.clear()
        return self.outcomes

    def _wait(self) -> "set[Future[Answer]]":
        """Return the jobs that have ended; none once it is time to ask again for what others are making."""
        running = {**self.preparing, **self.measuring}
        if not running:  # and so there is nothing to wait for but others
            sleep(_POLL_S)
            return set()
        return wait(running, timeout=_POLL_S if self.busy else None, return_when=FIRST_COMPLETED).done

    def _after(self, future: "Future[Answer]") -> bool:
        """Take note of how a job ended; return whether it may have made what others wait for."""
        if future in self.preparing:
            return self._after_preparing(self.preparing.pop(future), future)
        self._after_measuring(self.measuring.pop(future), future)
        return True

    def _begin(self) -> None:
        for group in [group for group in self.waiting if not self._must_wait(group)]:
            if self._full:
                break
            self.waiting.remove(group)
            self._tell(self.watcher.preparing, group)
            self.preparing[self.executor.submit(self._job([group.first], "prepare"))] = group
        while self.ready and self._may_measure:
            cells = self.ready.popleft()
            for experiment in cells:
                self.watcher.started(experiment)
            self.measuring[self.executor.submit(self._job(cells, "measure"))] = cells

    def _job(self, cells: Sequence[Experiment], stage: Literal["prepare", "measure"]) -> Job:
        return Job(tuple(one.sent() for one in cells), stage, self.timeout)

    @property
    def _full(self) -> bool:
        slots = self.executor.slots
        return slots is not None and len(self.preparing) + len(self.measuring) >= slots

    @property
    def _may_measure(self) -> bool:
        others = self.waiting or self.busy or self.preparing or self.measuring
        return self.executor.alone or not others

    def _must_wait(self, group: _Group) -> bool:
        unfinished = (*self.waiting, *self.busy, *self.preparing.values())
        return any(group.needs(other) for other in unfinished if other is not group)

    def _tell(self, what: Callable[[Sequence[Experiment]], None], group: _Group) -> None:
        if what.__name__ not in group.told:
            group.told.add(what.__name__)
            what(tuple(group.cells))

    def _after_preparing(self, group: _Group, future: "Future[Answer]") -> bool:
        answer = _answers([group.first], future)[0]
        if isinstance(answer, Outcome):  # it has failed; whether the others would as well, they find out
            self._end(group.cells.popleft(), answer)
            if group.cells:
                self.waiting.appendleft(group)
        elif answer.busy:
            self.busy.append(group)
            self._tell(self.watcher.waits, group)
        else:
            self.watcher.prepared(tuple(group.cells), answer.seconds)
            self.ready += of_one_index(group.cells)
        return isinstance(answer, Outcome) or not answer.busy

    def _after_measuring(self, cells: Sequence[Experiment], future: "Future[Answer]") -> None:
        for experiment, outcome in zip(cells, _answers(cells, future), strict=True):
            self._end(experiment, cast("Outcome", outcome))

    def _end(self, experiment: Experiment, outcome: Outcome) -> None:
        self.outcomes[experiment] = outcome
        self.watcher.ended(experiment, outcome)


def _answers(cells: Sequence[Experiment], future: "Future[Answer]") -> Answer:
    try:
        return future.result()
    except Lost as lost:
        return tuple(record(one, "failed", str(lost), exit_code=1) for one in cells)


def of_one_index(experiments: Iterable[Experiment]) -> list[Sequence[Experiment]]:
    """Return the cells that one index answers for together, in the order of the first of each."""
    found: dict[object, list[Experiment]] = {}
    for one in experiments:
        found.setdefault((one.index_key, one.objects), []).append(one)
    return list(found.values())


def _groups(due: Sequence[Experiment]) -> Iterator[_Group]:
    """Yield the cells that share all that is prepared, in the order of the first of each."""
    groups: dict[object, list[Experiment]] = {}
    for experiment in due:
        method = experiment.objects.method if experiment.objects else None
        groups.setdefault((experiment.prepared_key, id(method)), []).append(experiment)
    return (_Group(deque(cells)) for cells in groups.values())


def _place(cell: Cell) -> Cell:
    """Return the cell without what may differ between a method and the one that it builds on."""
    return replace(cell, method="", search=None, identifier=None, default_identifier=None, overrides=(), epochs=None)
