"""Progress of `irbench run`, on standard error, and its results."""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from irbench.core.text import as_text
from irbench.data import datasets
from irbench.experiments.attempts import Outcome
from irbench.experiments.estimate import Estimate, estimate, missing_weights
from irbench.experiments.experiment import Experiment
from irbench.experiments.query import Retrieved
from irbench.experiments.watcher import Watcher
from irbench.report.render import render
from irbench.report.table import table
from irbench.results.files import document
from irbench.results.hits import Reader


class Console(Watcher):
    """Reports each cell as it starts and ends."""

    def __init__(self, *, estimating: bool = False) -> None:
        self._due = self._done = 0
        self._running: set[Experiment] = set()
        self._estimating = estimating  # say what each cell would cost?
        self.estimates: tuple[Estimate, ...] = ()

    def planned(self, stored: Sequence[Experiment], due: Sequence[Experiment]) -> None:
        """Report what is stored already and what is left to do."""
        self._due = len(due)
        for note in dict.fromkeys(filter(None, map(_renamed, (*stored, *due)))):
            _say(note)
        if stored:
            _say(f"{_cells(len(stored))} stored already and not run again (use --force to run everything)")
        if due:
            first = due[0].runtime
            _say(f"{_cells(len(due))} to run on {first.device} in {first.precision}:")
            self.estimates = tuple(map(estimate, due)) if self._estimating else ()
            costs = [f": {_cost(one)}" for one in self.estimates] or [""] * len(due)
            for number, (experiment, cost) in enumerate(zip(due, costs, strict=True), 1):
                _say(f"  {number}. {experiment.cell}{cost}")
        for line in _explained(self.estimates):
            _say(line)

    def rescored(self, experiments: Sequence[Experiment]) -> None:
        """Say how many results were not as today's code makes them."""
        why = "the code of the metrics has changed, or hits were lost or damaged"
        _say(f"{_cells(len(experiments))} scored again from stored results: {why}")

    def started(self, experiment: Experiment) -> None:
        """Name the cell."""
        self._done += 1
        self._running.add(experiment)
        _say(f"[{self._done}/{self._due}] {experiment.cell}")

    def preparing(self, experiments: Sequence[Experiment]) -> None:
        """Name the cells."""
        _say(f"preparing {_listed(experiments)}")

    def waits(self, experiments: Sequence[Experiment]) -> None:
        """Say that what these cells need is being made elsewhere."""
        _say(f"waiting with {_listed(experiments)}: another process is making what it needs")

    def prepared(self, experiments: Sequence[Experiment], seconds: float) -> None:
        """Say how long it took."""
        _say(f"prepared {_listed(experiments)} in {seconds:.1f} s")

    def ended(self, experiment: Experiment, outcome: Outcome) -> None:
        """Report how the cell ended and how long it took; which one, where others are running."""
        what = outcome.status if outcome.status != "ok" else "done"
        reason = f": {outcome.reason.strip().splitlines()[-1]}" if outcome.reason else ""
        more = f" (in full: {outcome.path})" if outcome.path and "\n" in outcome.reason.strip() else ""
        which = "" if self._running == {experiment} else f"{experiment.cell}: "
        self._running.discard(experiment)
        where = " on the index of the cell before" if outcome.same_index else ""
        _say(f"      {which}{what} in {outcome.seconds:.1f} s{where}{reason}{more}")


def _listed(experiments: Sequence[Experiment]) -> str:
    """Return the cells that share a preparation as one phrase."""
    more = f" and {_cells(len(experiments) - 1)} with other searches" if len(experiments) > 1 else ""
    return f"{experiments[0].cell}{more}"


def _renamed(experiment: Experiment) -> str:
    """Say that images of one's own go by another name than their folder or list; nothing where they do not."""
    path, name = experiment.benchmark.path, experiment.benchmark.name
    if path is None or experiment.settings.name == name or name == datasets.find(path).name:
        return ""
    return f"{as_text(str(path))} is '{name}' in {experiment.settings.results}: by its images, whatever its own name"


def conclude(
    experiments: Sequence[Experiment],
    outcomes: Mapping[Experiment, Outcome],
    *,
    tables: Sequence[str],
    as_json: bool,
    estimates: Sequence[Estimate] = (),
) -> bool:
    """Print the results, and estimates as JSON, on standard output; return whether tables were printed."""
    root = experiments[0].settings.results
    found = [result for experiment in experiments if (result := experiment.current()) is not None]
    if as_json:
        ended = [{"cell": str(e.cell), "status": o.status, "reason": o.reason} for e, o in outcomes.items()]
        planned = {"planned": [asdict(one) for one in estimates]} if estimates else {}
        print(json.dumps({"results": [document(result) for result in found], "run": ended, **planned}))
        return False
    width = shutil.get_terminal_size((110, 24)).columns
    for metric in tables if found else ():
        made = table(found, metric, paper=False, include_shortened=True, judge=Reader(root))
        print("\n" + render(made, "text", width=width, color=sys.stdout.isatty()), end="")
    if found:
        _say("")
    return bool(found)


def print_retrieved(retrieved: Sequence[Retrieved], *, as_json: bool) -> None:
    """Print the retrieved images of each query."""
    if as_json:
        print(json.dumps([asdict(one) for one in retrieved]))
        return
    for one in retrieved:
        print(as_text(one.image))
        width = max((len(as_text(a.image)) for a in one.results), default=0)
        classes = ["" if a.class_name is None else f"class {as_text(a.class_name)}" for a in one.results]
        named = max(map(len, classes), default=0)
        for a, class_name in zip(one.results, classes, strict=True):
            path = "   " + " > ".join(map(str, a.identifier)) if a.identifier else ""
            print(f"{a.rank:4}. {as_text(a.image):<{width}}  {class_name:<{named}} score {a.score:10.4f}{path}")
        if one.skipped:
            print(f"      skipped: {as_text(one.skipped)}")
        elif len(one.results) < one.asked:
            print(f"      {len(one.results)} of the {one.asked} results that were asked for: the search found no more")


def _cost(one: Estimate) -> str:
    """Return what a cell cost before, in words."""
    lack = " (no room: decoded whenever they are needed)" if one.pixels_fit is False else ""
    pixels = [f"{one.pixel_bytes / 1e6:,.1f} MB of decoded images{lack}"] if one.pixel_bytes else []
    if one.seconds is None:
        return ", ".join(["unknown", *pixels])
    peak = [
        (one.peak_host_bytes, "MB of memory"),
        (one.peak_device_bytes, "MB on the GPU"),
        (one.result_bytes, "MB of files"),
    ]
    known = [f"{size / 1e6:,.1f} {what}" for size, what in peak if size is not None]
    other = f", with another {', '.join(one.but_for)}" if one.but_for else ""
    whence = f"scaled from {one.scaled_from}{other}" if one.scaled_from else f"as seed {one.seed}"
    return ", ".join([f"{one.seconds:,.1f} s", *known, *pixels, whence])


def _explained(estimates: Sequence[Estimate]) -> Iterator[str]:
    """Yield what the estimates are, and which weights are missing."""
    if any(one.seconds is not None and not one.scaled_from for one in estimates):
        yield (
            "estimates are what the same cell cost on this machine: seconds of training and indexing (a network that "
            "cells share, or that is stored, is not trained again), peak memory of indexing and search, stored files"
        )
    if any(one.scaled_from for one in estimates):
        yield (
            "scaled: seconds in proportion to training images, epochs and gallery, memory by the bytes of an image's "
            "vector and of its part of the index; another data set may differ"
        )
    if any(one.pixel_bytes for one in estimates):
        yield "decoded images lie in the work folder, and cells share them; --pixel-cache limits them"
    if any(one.seconds is None for one in estimates):
        yield (
            "unknown: no whole run of this cell on this machine is stored yet, nor one of its method at this scale on "
            "another data set"
        )
    for name, cells in missing_weights(estimates).items():
        yield f"weights of {name} are not on this machine ({_cells(len(cells))}): from the hub, or --weights FILE"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
