"""Compare two stored cells on the same queries: the difference of precision at each K, and p over classes and seeds.

    python scripts/paired.py omniglot-small irgen@irgen.epochs-60 irgen@random,irgen.epochs-60 --seed 0

p is that of one pair, without a correction for others. Tables correct it for all rows of theirs.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import irbench
from irbench.metrics import retrieval
from irbench.metrics.uncertainty import p_value
from irbench.results.hits import Reader

ROOT = Path(__file__).resolve().parents[1]


def main(
    dataset: str,
    first: str,
    second: str,
    seed: Annotated[list[int], typer.Option(help="Seed of both; repeatable.")],
    results: Path = ROOT / "results",
) -> None:
    """Print a line for each K."""
    stored = {(one.dataset.name, one.cell, one.seed): one for one in irbench.load_results(results)}
    missing = [key for key in ((dataset, cell, one) for cell in (first, second) for one in seed) if key not in stored]
    if missing:
        raise typer.BadParameter(f"{results} has no result of {', '.join(map(str, missing))}")
    of_first, of_second = ([stored[dataset, cell, one] for one in seed] for cell in (first, second))
    judge = Reader(results)
    names = [name for name in of_first[0].metrics if name.startswith("precision@")]
    judged = [[judge(one) for one in cells] for cells in (of_first, of_second)]
    for name in names:
        a, b = (np.stack([retrieval.per_query(one, name) for one in cells]) for cells in judged)  # [S,Q] each
        p = float(p_value(a - b, judged[0][0][""].classes))
        typer.echo(f"{name}: {100 * a.mean():.1f} - {100 * b.mean():.1f} = {100 * (a - b).mean():+.1f}, p = {p:.2g}")


if __name__ == "__main__":
    typer.run(main)
