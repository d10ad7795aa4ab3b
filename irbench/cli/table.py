"""The command that prints tables of stored results."""

import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from irbench.cli import options as o
from irbench.cli.read import known_names, read_results, refuse_none
from irbench.core.errors import UsageError, check_choice

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
            help="precision (default), hit_rate, recall, mrr, map …, cost, latency, components, setup, training, "
            "footprint.",
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
    from irbench.report.render import FORMATS, render
    from irbench.report.table import table as by_metric

    check_choice("--format", options.format, FORMATS)
    if options.table is not None and (options.metric or options.mix or not options.paper):
        raise UsageError(
            "--table is about the paper's own rows: leave out --metric, --mix and --no-paper", code="unused-option"
        )
    folder, found, problems, judge = read_results(options.results)
    datasets = known_names(options.dataset or (), found, folder)[0]
    if options.table is not None:
        made = _numbered(options.table, found, datasets, judge, include_shortened=options.shortened)
    else:
        view = {"paper": options.paper, "include_shortened": options.shortened, "mix": options.mix}
        made = [by_metric(found, options.metric or "precision", datasets=datasets, judge=judge, **view)]
    refuse_none(folder, found)
    width = shutil.get_terminal_size((110, 24)).columns
    typer.echo(render(made, options.format, width=width, color=sys.stdout.isatty()), nl=False)
    raise typer.Exit(1 if problems else 0)


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
