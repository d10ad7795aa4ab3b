"""The options that commands share: how each is written, and what its help says."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from irbench.config import recipes


def names_of(family: str) -> Callable[[], list[str]]:
    """Return a function that lists recipes, for shell completion."""
    return lambda: recipes.names(family)


Methods = Annotated[
    list[str] | None,
    typer.Option("--method", "-m", help="Method, or method+search.", autocompletion=names_of("methods")),
]
Searches = Annotated[
    list[str] | None,
    typer.Option("--search", help="Search index.", autocompletion=names_of("methods/search")),
]
Identifiers = Annotated[
    list[str] | None,
    typer.Option("--identifier", help="Kind of identifier.", autocompletion=names_of("methods/identifier")),
]
Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset", "-d", help="Data set, or the path of a folder or CSV.", autocompletion=names_of("datasets")
    ),
]
OneDataset = Annotated[str, typer.Argument(help="Data set, or a path.", autocompletion=names_of("datasets"))]
Data = Annotated[Path, typer.Option("--data", envvar="IRBENCH_DATA", help="Folder of the data sets.")]
Work = Annotated[Path, typer.Option("--work", envvar="IRBENCH_WORK", help="Folder for models, vectors and rankings.")]
ResultsIn = Annotated[Path, typer.Option("--results", envvar="IRBENCH_RESULTS", help="Folder to write results to.")]
ResultsOut = Annotated[
    Path | None,
    typer.Option("--results", envvar="IRBENCH_RESULTS", help="Folder of results; runs/results, else results."),
]
Crop = Annotated[str, typer.Option("--crop", help="none, or bbox: see only the bounding box.")]
Protocol = Annotated[str, typer.Option("--protocol", help="closed-set, or metric-learning: classes never trained on.")]
Ablation = Annotated[str, typer.Argument(help="identifier, length, beam, fresh or index.")]
Grid = Annotated[str, typer.Option("--grid", help="quick, full or paper; what --method leaves open.")]
Scale = Annotated[str | None, typer.Option("--scale", help="tiny, small or paper; the data set's own by default.")]
Seeds = Annotated[list[int] | None, typer.Option("--seed", min=0, help="Seed; several for several runs.")]
Decode = Annotated[str | None, typer.Option("--decode", help="beam, or exact: no identifier missed (irgen).")]
Rerank = Annotated[int | None, typer.Option("--rerank", min=0, help="Reorder the best N by features (irgen).")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Precision = Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16.")]
Weights = Annotated[Path | None, typer.Option("--weights", help="File of pretrained weights (.safetensors).")]
Timeout = Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds that one cell may take.")]
Executor = Annotated[str, typer.Option("--executor", help="local.")]
OnBadImage = Annotated[str, typer.Option("--on-bad-image", help="fail, or skip: leave unreadable images out.")]
MaxQueries = Annotated[int | None, typer.Option("--max-queries", min=1, help="Ask only so many queries (stamped).")]
Epochs = Annotated[int | None, typer.Option("--epochs", min=1, help="Train only so many epochs (stamped).")]
Force = Annotated[bool, typer.Option("--force", help="Run again what is stored.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
