"""`irbench submit` and `irbench results verify`: results that others can score again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from irbench.cli import options as o
from irbench.cli.read import chosen
from irbench.core.errors import UsageError
from irbench.core.text import as_text

app = typer.Typer()
results_app = typer.Typer(no_args_is_help=True, help="Verify the results of others.")


@dataclass(frozen=True, kw_only=True)
class SubmitOptions:
    """The options of `irbench submit`."""

    out: Annotated[Path, typer.Option("--out", help="New folder to write to.", show_default=False)]
    who: Annotated[str, typer.Option("--who", help="Who submits: a name, a group.", show_default=False)]
    license: Annotated[
        str, typer.Option("--license", help="Licence of the results, such as CC-BY-4.0.", show_default=False)
    ]
    page: Annotated[str, typer.Option("--page", help="Address of the paper or the code.")] = ""
    dataset: o.Datasets = None
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            help="Method or cell, such as irgen or ft-clip+scann; repeatable.",
            autocompletion=o.names_of("methods"),
        ),
    ] = None
    results: o.ResultsOut = None
    data: o.Data = Path("data")
    work: o.Work = Path("runs/work")


@app.command()
@o.command(SubmitOptions)
def submit(options: SubmitOptions) -> None:
    """Write results, their rankings and their task into one folder that anybody can verify without the images."""
    from irbench.results.artefacts import Artefacts
    from irbench.results.place import default_folder
    from irbench.results.submissions.write import submit as write

    folder = options.results or default_folder()
    stored, places = chosen(folder, options.dataset or ())
    wanted = set(options.method or ())
    found = [result for result in stored.results if not wanted or {result.cell, result.method} & wanted]
    if missing := wanted - {name for result in found for name in (result.cell, result.method)}:
        raise UsageError(f"no results of {', '.join(sorted(missing))} in {folder}", code="no-results")
    succeeded = [result for result in found if result.status == "ok"]
    if succeeded and len(succeeded) < len(found):
        typer.echo(f"irbench: left out, being of cells that did not succeed: {len(found) - len(succeeded)}", err=True)
    found = succeeded or found
    artefacts = Artefacts(folder, options.work, options.data, places, stored.judge)
    out = write(found, artefacts, options.out, who=options.who, terms=options.license, page=options.page)
    typer.echo(f"{out}: {len(found)} results; irbench results verify {out} scores them again")


@results_app.command()
def verify(
    folders: Annotated[list[Path], typer.Argument(help="Folders that irbench submit wrote.", show_default=False)],
    results: o.ResultsOut = None,
) -> None:
    """Score submissions again, without their images: what does not add up is named, and the exit status is 1.

    Data sets that results of your own (--results) are about have to be the same ones.
    """
    from irbench.results.files import read_all
    from irbench.results.place import default_folder
    from irbench.results.submissions.verify import data_of
    from irbench.results.submissions.verify import verify as check

    own, _ = read_all(results or default_folder())
    known = data_of(own)
    accepted = True
    for folder in folders:
        found = check(folder, known)
        accepted &= found.accepted
        for problem in found.problems:
            typer.echo(f"irbench: {problem}", err=True)
        count = f"{len(found.results)} results"
        by = f", by {as_text(found.submission.who)}, {as_text(found.submission.license)}" if found.submission else ""
        typer.echo(f"{folder}: {'accepted' if found.accepted else 'refused'}, {count}{by}")
    raise typer.Exit(0 if accepted else 1)
