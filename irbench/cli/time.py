"""`irbench time`: times of stored cells, taken together."""

from dataclasses import dataclass
from typing import Annotated

import typer

from irbench.cli import options as o

app = typer.Typer()


@dataclass(frozen=True, kw_only=True)
class TimeOptions(o.MachineOptions):
    """The options of `irbench time`."""

    results: o.ResultsOut = None
    dataset: o.Datasets = None
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", help="Rows as tables name them: ft-clip+scann, irgen@hkm …; default: all."),
    ] = None
    seed: o.Seeds = None
    rounds: Annotated[int, typer.Option("--rounds", min=3, help="How often each cell is timed.")] = 9


@app.command("time")
@o.command(TimeOptions)
def time_(options: TimeOptions) -> None:
    """Time the queries of stored cells together, round by round, so that rows compare; nothing is trained again."""
    from irbench.experiments.retime import retime
    from irbench.results.files import default_folder

    folder = options.results or default_folder()
    done = retime(
        options.settings(folder),
        datasets=options.dataset or (),
        methods=options.method or (),
        seeds=options.seed or (),
        rounds=options.rounds,
    )
    for line in done.lines:
        typer.echo(line)
    for problem in done.problems:
        typer.echo(f"irbench: {problem}", err=True)
    raise typer.Exit(1 if done.problems else 0)
