"""`irbench report`: a folder of pages about stored results."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irbench.cli import options as o
from irbench.cli.read import known_names, read_results, refuse_none
from irbench.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irbench.results.schema import Result
    from irbench.results.submissions.verify import Verified

app = typer.Typer()


@app.command()
def report(
    out: Annotated[Path, typer.Option("--out", help="Folder to write to; an earlier report there is replaced.")],
    dataset: o.Datasets = None,
    results: o.ResultsOut = None,
    data: o.Data = Path("data"),
    work: o.Work = Path("runs/work"),
    submissions: Annotated[
        Path | None,
        typer.Option("--submissions", help="Folder of submissions (irbench submit): adds a page that ranks them."),
    ] = None,
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
    verified = [] if submissions is None else _verified(submissions, chosen)
    sizes = write(chosen, artefacts, stored.judge, out, problems=stored.problems, submissions=verified)
    typer.echo(f"{out / 'index.html'}: {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB")
    raise typer.Exit(1 if stored.problems or not all(one.accepted for one in verified) else 0)


def _verified(folder: Path, results: "Sequence[Result]") -> "list[Verified]":
    """Return the submissions in a folder; what is wrong with them goes to standard error."""
    from irbench.results.submissions.submission import FILE
    from irbench.results.submissions.verify import data_of, verify

    places = sorted(path.parent for path in folder.glob(f"*/{FILE}"))
    if not places:
        raise UsageError(f"--submissions {folder}: no folder in it that irbench submit wrote", code="no-results")
    found = [verify(place, data_of(results)) for place in places]
    for one in found:
        for problem in one.problems:
            typer.echo(f"irbench: {problem}", err=True)
    return found
