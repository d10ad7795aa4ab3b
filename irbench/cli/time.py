"""`irbench time`: times of stored cells, taken together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irbench.cli import options as o

if TYPE_CHECKING:
    from irbench.results.schema import Result

app = typer.Typer()


@dataclass(frozen=True, kw_only=True)
class TimeOptions:
    """The options of `irbench time`; precision and protocol are those of each result."""

    dataset: o.Datasets = None
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            help="Rows as tables name them: ft-clip+scann, irgen@hkm …; default: all.",
            autocompletion=o.names_of("methods"),
        ),
    ] = None
    seed: o.Seeds = None
    rounds: Annotated[int, typer.Option("--rounds", min=5, help="How often each cell is timed.")] = 9
    clients: Annotated[
        str | None,
        typer.Option(
            "--clients", metavar="N,…", help="Also let so many clients ask each cell at once.", show_default=False
        ),
    ] = None
    results: o.ResultsOut = None
    data: o.Data = Path("data")
    work: o.Work = Path("runs/work")
    device: o.Device = "auto"
    weights: o.Weights = None


@app.command("time")
@o.command(TimeOptions)
def time_(options: TimeOptions) -> None:
    """Time the queries of stored cells together, round by round, so that rows compare; nothing is trained."""
    from irbench.experiments.retime import retime
    from irbench.experiments.settings import Settings
    from irbench.results.place import default_folder

    done = retime(
        Settings(
            results=options.results or default_folder(),
            data=options.data,
            work=options.work,
            device=options.device,
            weights=tuple(options.weights or ()),
        ),
        datasets=options.dataset or (),
        methods=options.method or (),
        seeds=options.seed or (),
        rounds=options.rounds,
        clients=sorted(set(o.numbers("--clients", options.clients))) if options.clients is not None else (),
    )
    for group in done.sessions:
        for line in _lines(group):
            typer.echo(line)
    for note in done.notes:
        typer.echo(note)
    for problem in done.problems:
        typer.echo(f"irbench: {problem}", err=True)
    raise typer.Exit(1 if done.problems else 0)


def _lines(timed: "Sequence[Result]") -> Iterator[str]:
    """Yield what a session measured, cell by cell."""
    known = [(one, one.cost.session, one.cost.query_ms) for one in timed]
    session = known[0][1]
    if session is not None:
        low, high = session.drift
        yield (
            f"{timed[0].dataset.name}: {len(timed)} cells in {len(session.single_ms)} rounds; the reference took "
            f"{session.reference_ms:.2f} ms, {low:.2f} to {high:.2f} times that"
        )
    for result, session, times in known:
        if session is not None and times is not None:
            yield (
                f"  {result.cell}, seed {result.seed}: {times.total_p50:.2f} ms "
                f"({min(session.single_ms):.2f} to {max(session.single_ms):.2f}), "
                f"{result.cost.queries_per_s:,.0f} queries/s"
            )
        for point in result.cost.load or ():
            who = "1 client" if point.clients == 1 else f"{point.clients} clients"
            yield (
                f"    {who} as {point.way}: {point.queries_per_s:,.0f} queries/s, mean {point.mean_ms:.2f}, p50 "
                f"{point.p50_ms:.2f}, p95 {point.p95_ms:.2f}, p99 {point.p99_ms:.2f} ms"
                f"{'' if point.steady else ', not steady'}"
            )
