"""`irbench check`: new results against a baseline."""

import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irbench.cli import options as o
from irbench.cli.read import chosen
from irbench.core.errors import UsageError, check_choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irbench.results.regression.compare import Comparison
    from irbench.results.regression.limits import Limits
    from irbench.results.schema import Result

app = typer.Typer()
_FATES = ("fail", "pass")


def _fate(name: str, what: str) -> Any:
    """Return an option that says whether the check fails for something that it cannot decide."""
    return typer.Option(name, help=f"fail, or pass: {what}.", autocompletion=o.one_of(*_FATES))


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """The options of `irbench check`."""

    results: Annotated[Path, typer.Option("--results", envvar="IRBENCH_RESULTS", help="Folder of the new results.")] = (
        Path("runs/results")
    )
    baseline: Annotated[Path, typer.Option("--baseline", help="Folder of results to compare with.")] = Path("results")
    dataset: o.Datasets = None
    seed: o.Seeds = None
    floor: Annotated[
        float, typer.Option("--floor", min=0, help="Smallest difference (percentage points) reported as a change.")
    ] = 0.5
    slower: Annotated[float, typer.Option("--slower", min=1, help="Tolerated ratio of query times.")] = 2.0
    complete: Annotated[
        bool, typer.Option("--complete", help="Also fail if a cell or seed of the baseline was not run again.")
    ] = False
    undecided: Annotated[str, _fate("--undecided", "a loss that so few queries cannot tell from chance")] = "fail"
    skipped: Annotated[str, _fate("--skipped", "a cell of the baseline that cannot be run here")] = "fail"
    update: Annotated[bool, typer.Option("--update", help="Then store the new results in the baseline.")] = False
    data: o.Data = Path("data")
    work: o.Work = Path("runs/work")
    format: Annotated[
        str,
        typer.Option("--format", help="text, markdown or json.", autocompletion=o.one_of("text", "markdown", "json")),
    ] = "text"
    as_json: o.AsJson = False


@app.command()
@o.command(CheckOptions)
def check(options: CheckOptions) -> None:
    """Regression check: compare results with a baseline, query by query; exits with status 1 if anything got worse."""
    from irbench.results.regression.baseline import locked

    check_choice("--undecided", options.undecided, _FATES)
    check_choice("--skipped", options.skipped, _FATES)
    check_choice("--format", options.format, ("text", "markdown", "json"))
    with locked(options.baseline):
        passed = _check(options)
    raise typer.Exit(0 if passed or options.update else 1)


def _check(options: CheckOptions) -> bool:
    """Compare, print, and update; return whether the check passes."""
    from irbench.results.artefacts import Artefacts
    from irbench.results.regression.baseline import update
    from irbench.results.regression.compare import compare, passes
    from irbench.results.regression.limits import Limits
    from irbench.results.regression.pairs import pair_up

    results, baseline = options.results, options.baseline
    asked = options.dataset or (), options.seed or ()
    made, places = chosen(results, *asked)
    known, _ = chosen(baseline, *asked)
    if not made.results:
        of = _restricted(options)
        raise UsageError(
            f"no results{of} in {results} to check; irbench run makes some, see --results", code="no-results"
        )
    if not known.results and not options.update:
        of = _restricted(options)
        raise UsageError(f"no results{of} in {baseline} to compare with; see --baseline, --update", code="no-results")
    old = Artefacts(baseline, options.work, options.data, places, known.judge)
    new = Artefacts(results, options.work, options.data, places, made.judge)
    limits = Limits(floor=options.floor / 100, slower=options.slower)
    compared = compare(pair_up(known.results, made.results), old, new, limits)
    anything = any(one.compared for one in compared)
    problems = (*made.problems, *known.problems)
    sound = anything and not problems
    passed = sound and passes(
        compared,
        complete=options.complete,
        undecided=options.undecided == "pass",
        skipped=options.skipped == "pass",
    )
    typer.echo(_text(compared, limits, options, problems, passed=passed), nl=False)
    for problem in problems:
        typer.echo(f"irbench: {problem}", err=True)
    if options.update:
        stored = update(made.results, new, baseline)
        typer.echo(
            f"{stored} results are now the baseline in {baseline}{_not_stored(made.results, made.problems)}", err=True
        )
    elif not anything:
        raise UsageError(f"nothing compared: {_why_nothing(compared, options)}", code="nothing-compared")
    return passed


def _not_stored(made: "Sequence[Result]", broken: "Sequence[str]") -> str:
    """Return how many results an update leaves as they were in the baseline, and why."""
    kinds = Counter(
        one.status.replace("_", " ") if one.status != "ok" else "shortened"
        for one in made
        if one.status != "ok" or one.shortened
    )
    kinds += Counter({"damaged": len(broken)})
    which = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"; not stored, so that the baseline keeps what it has: {which}" if which else ""


def _why_nothing(compared: "Sequence[Comparison]", options: CheckOptions) -> str:
    skipped = [note for one in compared if one.verdict == "skipped" for note in one.notes]
    if skipped:
        return f"each cell that {options.results} and {options.baseline} have in common was skipped ({skipped[0]})"
    return f"{options.results} and {options.baseline} have no cell with a seed in common; see --baseline, --update"


def _restricted(options: CheckOptions) -> str:
    """Return what was asked for among the results, as a message has it; empty where all were."""
    parts = (("dataset", options.dataset), ("seed", options.seed))
    asked = [f"--{name} {', '.join(map(str, values))}" for name, values in parts if values]
    return f" of {' and '.join(asked)}" if asked else ""


def _text(
    compared: "Sequence[Comparison]",
    limits: "Limits",
    options: CheckOptions,
    problems: "Sequence[str]",
    *,
    passed: bool,
) -> str:
    from irbench.report import regression as show

    if options.as_json or options.format == "json":
        return show.as_json(compared, limits, problems, passed=passed)
    if options.format == "markdown":
        return show.as_markdown(compared, limits, problems, passed=passed)
    width, color = shutil.get_terminal_size((110, 24)).columns, sys.stdout.isatty()
    return show.as_text(compared, limits, width=width, color=color)
