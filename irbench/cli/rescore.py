"""`irbench rescore`: today's scores for stored results."""

from pathlib import Path
from typing import Annotated

import typer

from irbench.cli import options as o

app = typer.Typer()


@app.command()
def rescore(
    results: o.ResultsOut = None,
    data: o.Data = Path("data"),
    work: o.Work = Path("runs/work"),
    force: Annotated[bool, typer.Option("--force", help="Also results that the same code has scored.")] = False,
) -> None:
    """Compute the metrics of stored results again, from their stored hits or rankings, after the metrics changed."""
    from irbench.results.artefacts import Artefacts
    from irbench.results.place import default_folder
    from irbench.results.rescore import rescore_folder

    folder = results or default_folder()
    done = rescore_folder(Artefacts(folder, work, data), force=force)
    for problem in done.problems:
        typer.echo(f"irbench: {problem}", err=True)
    restored = f", the hits of {done.restored} restored" if done.restored else ""
    typer.echo(f"{len(done.changed)} of {len(done.results)} results in {folder} rescored{restored}")
    raise typer.Exit(1 if done.problems else 0)
