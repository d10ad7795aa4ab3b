"""Progress of `irbench run`, on standard error, and its results."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from time import perf_counter

from irbench.core.text import as_text
from irbench.data import datasets
from irbench.experiments.executors import Outcome
from irbench.experiments.query import Retrieved
from irbench.experiments.run import Experiment
from irbench.report.render import render
from irbench.report.table import table
from irbench.results import hits
from irbench.results.files import document


class Console:
    """Reports each cell as it starts and ends."""

    def __init__(self) -> None:
        self._due = self._done = 0
        self._start = 0.0

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
            for number, experiment in enumerate(due, 1):
                _say(f"  {number}. {experiment.cell}")

    def rescored(self, experiments: Sequence[Experiment]) -> None:
        """Say whose scores were computed again."""
        _say(f"{_cells(len(experiments))} scored again from stored results: the code of the metrics has changed")

    def started(self, experiment: Experiment) -> None:
        """Name the cell."""
        self._done += 1
        self._start = perf_counter()
        _say(f"[{self._done}/{self._due}] {experiment.cell}")

    def ended(self, outcome: Outcome) -> None:
        """Report how the cell ended and how long it took."""
        seconds = perf_counter() - self._start
        what = outcome.status if outcome.status != "ok" else "done"
        reason = f": {outcome.reason.strip().splitlines()[-1]}" if outcome.reason else ""
        more = f" (in full: {outcome.path})" if outcome.path and "\n" in outcome.reason.strip() else ""
        _say(f"      {what} in {seconds:.1f} s{reason}{more}")


def _renamed(experiment: Experiment) -> str:
    """Say that images of one's own go by another name than their folder or list; nothing where they do not."""
    path, name = experiment.benchmark.path, experiment.benchmark.name
    if path is None or experiment.settings.name == name or name == datasets.find(path).name:
        return ""
    return f"{as_text(str(path))} is '{name}' in {experiment.settings.results}: by its images, whatever its own name"


def conclude(
    experiments: Sequence[Experiment], outcomes: Mapping[Experiment, Outcome], *, tables: Sequence[str], as_json: bool
) -> bool:
    """Print the results on standard output; return whether tables were printed."""
    root = experiments[0].settings.results
    found = [result for experiment in experiments if (result := experiment.current()) is not None]
    if as_json:
        ended = [{"cell": str(e.cell), "status": o.status, "reason": o.reason} for e, o in outcomes.items()]
        print(json.dumps({"results": [document(result) for result in found], "run": ended}))
        return False
    width = shutil.get_terminal_size((110, 24)).columns
    for metric in tables if found else ():
        made = table(found, metric, paper=False, include_shortened=True, judge=hits.reader(root))
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
        named = max((len(as_text(a.class_name)) for a in one.results), default=0)
        for a in one.results:
            path = "   " + " > ".join(map(str, a.identifier)) if a.identifier else ""
            image, class_name = as_text(a.image), as_text(a.class_name)
            print(f"{a.rank:4}. {image:<{width}}  class {class_name:<{named}} score {a.score:10.4f}{path}")
        if len(one.results) < one.asked:
            print(f"      {len(one.results)} of the {one.asked} results that were asked for: the search found no more")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
