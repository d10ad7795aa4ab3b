"""The commands that work on stored results: export their rankings, import others', check them against a baseline."""

from pathlib import Path
from typing import Annotated

import typer

from irbench import options as o
from irbench.errors import UsageError

app = typer.Typer()


@app.command("export")
def export_(
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.", show_default=False)],
    format: Annotated[str, typer.Option("--format", help="trec or parquet.")] = "trec",
    dataset: o.Datasets = None,
    results: o.ResultsOut = None,
    data: o.Data = Path("data"),
    work: o.Work = Path("runs/work"),
) -> None:
    """Write kept rankings as run and qrels files, for trec_eval, ir-measures, ranx and the like."""
    from irbench import datasets
    from irbench.exchange.export import export
    from irbench.kept import Kept
    from irbench.results import read_all, usual_folder

    folder = results or usual_folder()
    found, problems = read_all(folder)
    wanted = {datasets.find(path).name for path in dataset or ()}
    chosen = [result for result in found if result.status == "ok" and (not wanted or result.dataset.name in wanted)]
    if not chosen:
        raise UsageError(f"{folder} has no results{' of ' + ', '.join(wanted) if wanted else ''} to export")
    done = export(chosen, Kept(folder, work, data, tuple(dataset or ())), out, format=format)
    for path in done.files:
        typer.echo(path)
    for problem in (*problems, *done.problems):
        typer.echo(f"irbench: {problem}", err=True)
    typer.echo(
        "map here divides by min(n, K), trec_eval's map_cut and ir-measures' AP@K by n, all right answers", err=True
    )
    raise typer.Exit(1 if problems or done.problems else 0)


@app.command("import")
def import_(
    run: Annotated[Path, typer.Argument(help="Run file: TREC, or .csv, .parquet with query_id, doc_id, score.")],
    method: Annotated[str, typer.Option("--method", "-m", help="What to call its method.", show_default=False)],
    dataset: Annotated[
        str, typer.Option("--dataset", "-d", help="What it answers.", autocompletion=o.names_of("datasets"))
    ],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the method.")] = 0,
    format: Annotated[str, typer.Option("--format", help="auto, trec, csv or parquet.")] = "auto",
    crop: o.Crop = "none",
    protocol: o.Protocol = "closed-set",
    data: o.Data = Path("data"),
    work: o.Work = Path("runs/work"),
    results: o.ResultsIn = Path("runs/results"),
) -> None:
    """Score a run file that another program wrote; its method then stands in the same tables."""
    from irbench import datasets
    from irbench.cell import Cell
    from irbench.exchange.foreign import import_run

    benchmark = datasets.load(dataset, data=data, crop=crop, protocol=protocol, files_must_exist=False)
    cell = Cell(
        method=method, dataset=benchmark.name, scale="", usual_scale="", seed=seed, crop=crop, protocol=protocol
    )
    done = import_run(run, benchmark, cell, format=format, work=work, root=results)
    for note in done.notes:
        typer.echo(note, err=True)
    shown = {name: one.mean for name, one in done.result.metrics.items() if name.startswith(("precision@", "map@"))}
    means = ", ".join(f"{name} {100 * mean:.1f}" for name, mean in shown.items() if mean is not None)
    typer.echo(f"{done.result.cell} on {benchmark.name}, seed {seed}: {means}", err=True)
    typer.echo(done.path)
