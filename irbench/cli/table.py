"""The command that prints tables of stored results."""

import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from irbench.cli import options as o
from irbench.cli import remembered
from irbench.cli.read import Stored, known_names, read_results, refuse_none, say_folder
from irbench.core.errors import UsageError, check_choice
from irbench.results.place import default_folder

if TYPE_CHECKING:
    from irbench.report.panel import Table
    from irbench.report.ranks import Judge
    from irbench.results.schema import Result

_ALL = "all"


def _metrics() -> list[str]:
    """Return what can be shown, for shell completion; metrics of the user's own are code, which is not run for it."""
    from irbench.metrics.own import COSTS
    from irbench.metrics.retrieval import METRICS

    return [*METRICS, *COSTS]


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """The options of `irbench table`."""

    metric: Annotated[
        str | None,
        typer.Option(
            help="precision (default), hit_rate, recall, mrr, map …, cost, latency, search, components, setup, "
            "training, footprint.",
            autocompletion=_metrics,
        ),
    ] = None
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            help="The paper's table 1 to 6, or all: its rows, published and measured.",
            autocompletion=o.one_of("1", "2", "3", "4", "5", "6", "all"),
        ),
    ] = None
    dataset: o.Datasets = None
    format: Annotated[
        str,
        typer.Option(
            help="text, markdown, latex, csv or json.",
            autocompletion=o.one_of("text", "markdown", "latex", "csv", "json"),
        ),
    ] = "text"
    paper: Annotated[bool, typer.Option("--paper/--no-paper", help="Also the paper's numbers.")] = True
    shortened: Annotated[
        bool, typer.Option("--shortened", help="Also shortened runs (partial evaluation or training).")
    ] = False
    mix: Annotated[
        bool, typer.Option("--mix", help="Rows of different protocols, crops and images in one panel, marked.")
    ] = False
    results: o.ResultsOut = None


@o.command(TableOptions)
def table(options: TableOptions) -> None:
    """Print a table of stored results, by metric, or row by row as in the paper."""
    width, color = shutil.get_terminal_size((110, 24)).columns, sys.stdout.isatty()
    folder = options.results or default_folder()

    def key() -> str | None:
        # a name may be that of a folder, whose images decide which results it stands for
        return None if options.dataset else remembered.key(folder, options, width, color, sys.stdout.encoding)

    before = key()
    text = remembered.recall(before)
    if text is not None:
        say_folder(folder)
        typer.echo(text, nl=False)
        return
    stored = read_results(folder)
    text = _text(stored, options, width, color=color)
    typer.echo(text, nl=False)
    if stored.clean and key() == before:  # what was read is what was asked about
        remembered.remember(before, text)
    raise typer.Exit(1 if stored.problems else 0)


def _text(stored: Stored, options: TableOptions, width: int, *, color: bool) -> str:
    from irbench.report.render import FORMATS, render
    from irbench.report.table import table as by_metric

    folder, found, judge = stored.folder, stored.results, stored.judge
    check_choice("--format", options.format, FORMATS)
    if options.table is not None and (options.metric or options.mix or not options.paper):
        raise UsageError(
            "--table is about the paper's own rows: leave out --metric, --mix and --no-paper", code="unused-option"
        )
    datasets = known_names(options.dataset or (), found, folder)[0]
    if options.table is not None:
        made = _numbered(options.table, found, datasets, judge, include_shortened=options.shortened)
    else:
        view = {"paper": options.paper, "include_shortened": options.shortened, "mix": options.mix}
        made = [by_metric(found, options.metric or "precision", datasets=datasets, judge=judge, **view)]
    refuse_none(folder, found)
    return render(made, options.format, width=width, color=color)


def _numbered(
    which: str, found: "list[Result]", datasets: tuple[str, ...], judge: "Judge", *, include_shortened: bool
) -> "list[Table]":
    from irbench.report.numbered import NUMBERS, numbered

    check_choice("--table", which, (*NUMBERS, _ALL))
    chosen = NUMBERS if which == _ALL else (which,)
    made = [
        numbered(int(one), found, datasets=datasets, include_shortened=include_shortened, judge=judge) for one in chosen
    ]
    return [one for one in made if one.panels] or made
