"""`irbench report`: a folder of pages about stored results."""

from pathlib import Path
from typing import Annotated

import typer

from irbench.cli import options as o
from irbench.cli.read import known_names, read_results, refuse_none

app = typer.Typer()


@app.command()
def report(
    out: Annotated[Path, typer.Option("--out", help="Folder to write to; an earlier report there is replaced.")],
    dataset: o.Datasets = None,
    results: o.ResultsOut = None,
    data: o.Data = Path("data"),
    work: o.Work = Path("runs/work"),
) -> None:
    """Write a site about stored results: tables, figures, retrieved images side by side, provenance of each result."""
    from irbench.report.figures import name_of
    from irbench.report.site import write
    from irbench.results.artefacts import Artefacts

    stored = read_results(results)
    refuse_none(stored.folder, stored.results)
    names, places = known_names(dataset or (), stored.results, stored.folder)
    chosen = [result for result in stored.results if not names or name_of(result.dataset) in names]
    artefacts = Artefacts(stored.folder, work, data, places, stored.judge)
    sizes = write(chosen, artefacts, stored.judge, out, problems=stored.problems)
    typer.echo(f"{out / 'index.html'}: {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB")
    raise typer.Exit(1 if stored.problems else 0)
