"""The command line. Each command parses, calls one use case and prints; heavy libraries load only when one runs."""

import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from irbench.cli import advise, check, data, plot, report, rescore, run, show, stored, submit, time
from irbench.cli.bench import bench_app
from irbench.cli.table import table
from irbench.core.errors import DISK_FULL, IrbenchError, is_out_of_memory
from irbench.core.text import as_message
from irbench.core.version import VERSION

_CLOSED = 141  # what a shell reports of a program that SIGPIPE ended
app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Compare ways to retrieve images: encoders with a search index, and models that generate identifiers.",
)
app.add_typer(run.app)
app.command()(table)
app.add_typer(show.app)
app.add_typer(stored.app)
app.add_typer(check.app)
app.add_typer(plot.app)
app.add_typer(report.app)
app.add_typer(rescore.app)
app.add_typer(time.app)
app.add_typer(advise.app)
app.add_typer(submit.app)
app.add_typer(submit.results_app, name="results")
app.add_typer(data.app, name="data")
app.add_typer(bench_app, name="bench")


def main() -> None:
    """Run the command line; an error for the user is one message, with its code, and status 2."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123 -- closed by whoever started the command
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    try:
        _run()
    except IrbenchError as error:
        typer.echo(f"irbench: {error} [{error.code}]", err=True)
        sys.exit(2)
    except Exception as error:
        if is_out_of_memory(error):
            typer.echo(f"irbench: out of memory: {_first_line(error)} [out_of_memory]", err=True)
            sys.exit(2)
        if not isinstance(error, OSError) or error.errno not in DISK_FULL:
            raise
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 -- what is left of it cannot be written either
        typer.echo(f"irbench: no space is left for {error.filename or 'standard output'} [disk-full]", err=True)
        sys.exit(2)


def _first_line(error: Exception) -> str:
    return as_message(str(error).partition("\n")[0] or "there is not enough for this command")


def _run() -> None:
    """Run the command line; also what standard output still holds can fail to be written."""
    try:
        app(prog_name="irbench")
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # click and rich end with 1, as if something had failed
            sys.exit(_CLOSED)
        raise
    finally:
        with suppress(BrokenPipeError):
            sys.stdout.flush()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"irbench {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options of irbench itself."""
