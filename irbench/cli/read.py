"""What the commands about stored results begin with: reading them, and the names of their data sets."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irbench.results.schema import Result


def read_results(named: Path | None) -> "tuple[Path, list[Result], list[str]]":
    """Read the folder that is named, or the usual one; say on standard error which it is and what cannot be read.

    Returns the folder, the results and what cannot be read.
    """
    from irbench.results.files import default_folder, read_all

    folder = named or default_folder()
    found, problems = read_all(folder)
    typer.echo(f"results from {folder}" if found else f"no results in {folder} yet: irbench run makes some", err=True)
    for problem in problems:
        typer.echo(f"irbench: {problem}", err=True)
    return folder, found, problems


def known_names(asked: "Sequence[str]", results: "Sequence[Result]") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names by which results know the data sets, and the paths of data sets of one's own among them."""
    from irbench.data import datasets
    from irbench.report.table import name_of

    known = {name_of(result.dataset) for result in results}
    found = {one: one if one in known else datasets.find(one).name for one in asked}
    return tuple(found.values()), tuple(one for one, name in found.items() if one != name)
