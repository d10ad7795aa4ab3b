"""The order of a grid's jobs where several run at once: prepare what cells share, then measure each alone.

Cells that differ in their search only share all that is prepared: one of them prepares for all. A method that another
one of the grid builds on comes first. What cells share beyond that is found when they ask for it: whoever needs what
another process is making gives its slot away and asks again when something has been finished.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from irbench.core.cell import Cell
from irbench.experiments.attempts import Outcome, record
from irbench.experiments.executors import Answer, Executor, Job, Lost
from irbench.experiments.run import Experiment
from irbench.experiments.watcher import Watcher

_POLL_S = 5.0  # between two looks at what a process of another command is making


@dataclass(eq=False)
class _Group:
    """Cells that differ in their search only, of which the first prepares for all."""

    cells: deque[Experiment]

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
    ready: deque[Experiment] = field(default_factory=deque)
    preparing: "dict[Future[Answer], _Group]" = field(default_factory=dict)
    measuring: "dict[Future[Answer], Experiment]" = field(default_factory=dict)
    outcomes: dict[Experiment, Outcome] = field(default_factory=dict)

    def run(self) -> dict[Experiment, Outcome]:
        while self.waiting or self.busy or self.ready or self.preparing or self.measuring:
            self._begin()
            running = {**self.preparing, **self.measuring}
            done, _ = wait(running, timeout=None if running else _POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                if future in self.preparing:
                    self._after_preparing(self.preparing.pop(future), future)
                else:
                    self._after_measuring(self.measuring.pop(future), future)
            if self.busy and (done or not running):
                self.waiting += self.busy
                self.busy.clear()
        return self.outcomes

    def _begin(self) -> None:
        for group in [group for group in self.waiting if not self._must_wait(group)]:
            if self._full:
                break
            self.waiting.remove(group)
            self.watcher.preparing(tuple(group.cells))
            self.preparing[self.executor.submit(self._job(group.first, "prepare"))] = group
        while self.ready and self._may_measure:
            experiment = self.ready.popleft()
            self.watcher.started(experiment)
            self.measuring[self.executor.submit(self._job(experiment, "measure"))] = experiment

    def _job(self, experiment: Experiment, stage: Literal["prepare", "measure"]) -> Job:
        return Job(experiment.anchored(), stage, self.timeout)

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

    def _after_preparing(self, group: _Group, future: "Future[Answer]") -> None:
        answer = _answer(group.first, future)
        if isinstance(answer, Outcome):  # it has failed; whether the others would as well, they find out
            self._end(group.cells.popleft(), answer)
            if group.cells:
                self.waiting.appendleft(group)
        elif answer.busy:
            self.busy.append(group)
        else:
            self.watcher.prepared(tuple(group.cells), answer.seconds)
            self.ready += group.cells

    def _after_measuring(self, experiment: Experiment, future: "Future[Answer]") -> None:
        self._end(experiment, cast("Outcome", _answer(experiment, future)))

    def _end(self, experiment: Experiment, outcome: Outcome) -> None:
        self.outcomes[experiment] = outcome
        self.watcher.ended(experiment, outcome)


def _answer(experiment: Experiment, future: "Future[Answer]") -> Answer:
    try:
        return future.result()
    except Lost as lost:
        return record(experiment, "failed", str(lost), exit_code=1)


def _groups(due: Sequence[Experiment]) -> Iterator[_Group]:
    """Yield the cells that share all that is prepared, in the order of the first of each."""
    groups: dict[object, list[Experiment]] = {}
    for experiment in due:
        method = experiment.objects.method if experiment.objects else None
        groups.setdefault((replace(experiment.cell, search=None), id(method)), []).append(experiment)
    return (_Group(deque(cells)) for cells in groups.values())


def _place(cell: Cell) -> Cell:
    """Return the cell without what may differ between a method and the one that it builds on."""
    return replace(cell, method="", search=None, identifier=None, default_identifier=None, overrides=(), epochs=None)
