"""The command that makes a stored result again."""

import shlex
from collections.abc import Iterator

from irbench.config.recipes import names
from irbench.core.cell import Cell
from irbench.results.schema import Result


def command_of(result: Result) -> str:
    """Return the command line that makes this result, without the folders that are a machine's own.

    A data set of one's own goes by its name where the result knows the place of its images; else PATH stands for it, as
    RUN does for the file of an imported ranking and OBJECT for the Python file of a method without a recipe. A model of
    MTEB goes by its name there.
    """
    cell = result.spec
    known = cell.dataset in names("datasets") or result.dataset.path is not None
    dataset = cell.dataset if known else "PATH"
    if cell.origin == "imported":
        return shlex.join(["irbench", "import", "RUN", "--method", cell.method, "--dataset", dataset])
    model = result.retriever.get("mteb")
    method = cell.name if cell.origin == "recipe" else f"{cell.method}=mteb:{model}" if model else "OBJECT"
    words = ["irbench", "run", "--method", method, *_options(cell), "--dataset", dataset, "--seed", str(cell.seed)]
    return shlex.join(words)


def _options(cell: Cell) -> Iterator[str]:
    """The words of the command line that say what differs from a default run."""
    if cell.origin == "object" and cell.search:
        yield from ("--search", cell.search)
    if cell.identifier and cell.identifier != cell.default_identifier:
        yield from ("--identifier", cell.identifier)
    if cell.scale != cell.default_scale:
        yield from ("--scale", cell.scale)
    if cell.crop != "none":
        yield from ("--crop", cell.crop)
    if cell.protocol != "closed-set":
        yield from ("--protocol", cell.protocol)
    if cell.incremental:
        yield "--incremental"
    for key, value in cell.overrides:
        yield from ("--set", f"{key}={str(value).lower() if isinstance(value, bool) else value}")
    for option, number in (("--epochs", cell.epochs), ("--max-queries", cell.max_queries)):
        if number is not None:
            yield from (option, str(number))
