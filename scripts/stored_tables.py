"""Fill the tables of the docs with the stored results that each of them names.

Above such a table, a comment says in TOML what it shows: the columns, each a data set and a metric or cost (by its name
in `Results.to_dataframe(wide=True)`), and the rows, each a cell by its name.

    <!-- stored
    heading = "Identifiers"
    seeds = [0, 1, 2]
    columns = { "digits @1" = "digits precision@1", "p50, ms" = "digits query_ms" }
    [rows]
    "semantic (IRGen)" = "irgen"
    -->

Values are means over exactly these seeds; a result that is missing is an error.

    python scripts/stored_tables.py              # write them
    python scripts/stored_tables.py --check      # status 1 where a page differs from the stored results
"""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import irbench

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"(<!-- stored\n((?:.*\n)*?)-->\n\n)(?:\|.*\n)*\n?")
_SHARE = 100.0  # metrics are printed in percent, costs as they are

Values = Mapping[tuple[str, str, int], Mapping[str, float]]  # of (data set, cell, seed), by metric or cost


def stored(folder: Path) -> Values:
    """Return every value of the results in `folder`."""
    results = irbench.load_results(folder)
    rows = zip(results, results.to_dataframe(wide=True).to_dict("records"), strict=True)
    return {(one.dataset.name, one.cell, one.seed): row for one, row in rows if one.status == "ok"}


def filled(text: str, values: Values) -> str:
    """Return a page with each of its tables made anew."""
    return _BLOCK.sub(lambda found: found[1] + _table(tomllib.loads(found[2]), values) + "\n", text)


def _table(declared: Mapping[str, Any], values: Values) -> str:
    columns, rows, seeds = declared["columns"], declared["rows"], declared["seeds"]
    lines = [[declared["heading"], *columns], ["---"] * (len(columns) + 1)]
    for label, cell in rows.items():
        lines.append([label, *(_value(*column.split(), cell, seeds, values) for column in columns.values())])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _value(dataset: str, quantity: str, cell: str, seeds: Sequence[int], values: Values) -> str:
    found = [values.get((dataset, cell, seed), {}).get(quantity) for seed in seeds]
    known = [value for value in found if value is not None and not math.isnan(value)]
    if quantity == "loss_gap" and not known and all((dataset, cell, seed) in values for seed in seeds):
        return "—"  # a method without a decoder
    if len(known) < len(seeds):
        raise SystemExit(f"{cell} on {dataset} has no stored {quantity} for each of the seeds {list(seeds)}")
    mean = sum(known) / len(known)
    if "@" in quantity or quantity == "r_precision":
        return f"{_SHARE * mean:.1f}"
    return f"{mean:,.2f}" if mean < 100 else f"{mean:,.0f}"


def pages() -> list[Path]:
    """Return the files that may have such tables."""
    return [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def main(*, check: Annotated[bool, typer.Option("--check", help="Only say which pages differ.")] = False) -> None:
    """Fill every page."""
    values = stored(ROOT / "results")
    changed = {path: new for path in pages() if (new := filled(text := path.read_text(), values)) != text}
    for path, new in changed.items():
        typer.echo(str(path.relative_to(ROOT)))
        if not check:
            path.write_text(new)
    raise typer.Exit(int(check and bool(changed)))


if __name__ == "__main__":
    typer.run(main)
