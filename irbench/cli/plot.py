"""`irbench plot`: figures of stored results."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from irbench.cli import options as o
from irbench.cli.read import known_names, read_results
from irbench.core.errors import check_choice

app = typer.Typer()
_KINDS = ("pr", "mrr", "precision", "throughput", "pareto", "recall", "retrieved")


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """The options of `irbench plot`."""

    kind: Annotated[str, typer.Argument(help=", ".join(_KINDS) + ".", autocompletion=o.one_of(*_KINDS))]
    out: Annotated[Path, typer.Option("--out", help="File to write: .svg, .png or .pdf.", show_default=False)]
    dataset: o.Datasets = None
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            help="Cells to draw: irgen, ft-clip, ft-clip+scann, irgen@hkm, 'irgen@*'.",
            autocompletion=o.names_of("methods"),
        ),
    ] = None
    seed: o.Seeds = None
    k: Annotated[
        int | None, typer.Option("-k", min=1, help="K of precision, pareto and recall; results per query of retrieved.")
    ] = None
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            help="throughput or latency: batches, or one query at a time.",
            autocompletion=o.one_of("throughput", "latency"),
        ),
    ] = None
    query: Annotated[
        list[int] | None, typer.Option("--query", min=0, help="Row of a query to show (retrieved); repeatable.")
    ] = None
    paper: Annotated[bool, typer.Option("--paper/--no-paper", help="Also the paper's numbers.")] = True
    results: o.ResultsOut = None
    data: o.Data = Path("data")
    work: o.Work = Path("runs/work")


@app.command()
@o.command(PlotOptions)
def plot(options: PlotOptions) -> None:
    """Draw stored results: curves, times by component, quality against speed, or retrieved images."""
    from irbench.report.figures import FigureOptions, check_out, draw, save
    from irbench.results.artefacts import Artefacts

    check_choice("kind of figure", options.kind, _KINDS)
    check_out(options.out)
    stored = read_results(options.results)
    names, places = known_names(options.dataset or (), stored.results, stored.folder)
    shown = FigureOptions(
        datasets=names,
        methods=tuple(options.method or ()),
        seeds=tuple(options.seed or ()),
        queries=tuple(options.query or ()),
        k=options.k,
        by=options.by,
        paper=options.paper,
    )
    artefacts = Artefacts(stored.folder, options.work, options.data, places, stored.judge)
    figure = draw(options.kind, stored.results, artefacts, shown)
    save(figure, options.out)
    typer.echo(options.out)
    for note in figure.notes:
        typer.echo(f"  {note}", err=True)
    raise typer.Exit(1 if stored.problems else 0)
