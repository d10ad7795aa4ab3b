"""The report: a folder of pages that any browser opens, from the folder or from a server.

    write(results, artefacts, judge, Path("site"))

Overview, a page for each data set (tables, figures, retrieved images side by side) and each method (results, recipe,
cost, identifiers), the paper's tables, and how each number was obtained. No external resources are loaded; without
JavaScript all text and the first queries can be read, with it tables sort, rows filter and any two methods are
compared. All text from results, including names and paths, is escaped by the templates.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from irbench.core.errors import UsageError, writing
from irbench.core.version import VERSION
from irbench.metrics import diagnostics
from irbench.report import palette, wording
from irbench.report.figures.selection import name_of
from irbench.report.lines import label, why
from irbench.report.panel import Row
from irbench.report.ranks import Judge
from irbench.report.site.explorer import SHOWN, Explorer
from irbench.report.site.pages import DatasetPage, Site, bounds, entry_of, gather
from irbench.report.site.sheet import COLUMNS
from irbench.results.artefacts import Artefacts
from irbench.results.schema import Estimate, Facts, Result
from irbench.results.submissions.verify import Verified
from irbench.runtime.unfinished import leftovers, unfinished

__all__ = ["write"]

_MARK = "irbench-report.json"  # only a folder that holds it is replaced
_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("site.js", "explorer.js")
_WORDING = ("brief", "captions", "has_ranks", "made_with", "number", "rank", "rank_heading", "shared_machine", "spread")
Files = Iterator[tuple[str, str | bytes]]


def write(
    results: Sequence[Result],
    artefacts: Artefacts,
    judge: Judge,
    out: Path,
    *,
    problems: Sequence[str] = (),
    submissions: Sequence[Verified] = (),
) -> dict[str, int]:
    """Write the report to the folder `out`, whole or not at all; return each file's bytes.

    Args:
        results: what it is about; shortened runs are shown as such.
        artefacts: where the rankings behind the results, and the images, are looked for.
        judge: returns the hits of a result (`hits.Reader`).
        out: the folder; one that holds an earlier report is replaced, any other that is not empty is refused.
        problems: what could not be read, listed on the first page.
        submissions: verified ones, which make a leaderboard.
    """
    if not results:
        raise UsageError("no results to report on: irbench run makes some", code="no-results")
    _check(out)
    files = dict(_files(gather(results, artefacts, judge, problems, submissions)))
    files[_MARK] = json.dumps({"irbench": VERSION, "results": len(results)}) + "\n"
    contents = {name: text if isinstance(text, bytes) else _encoded(text) for name, text in files.items()}
    with writing(f"the report to {out}", "--out"):
        _replace(out, contents)
    return {name: len(content) for name, content in contents.items()}


def _check(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file; name a folder", code="not-writable")
    if out.is_dir() and any(out.iterdir()) and not (out / _MARK).is_file():
        raise UsageError(f"--out {out}: holds other files than a report; name a new or empty folder", code="not-empty")


def _replace(out: Path, contents: Mapping[str, bytes]) -> None:
    """Create the folder beside its place, then rename it."""
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    _tidy(out)
    beside = unfinished(out)
    try:
        made = beside / "new"
        for name, content in contents.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_bytes(content)
        old = beside / "old"
        if out.exists():
            out.rename(old)
        try:
            made.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _tidy(out: Path) -> None:
    """Remove what was left of reports whose writer was killed, and put back the one that it had set aside."""
    for left in leftovers(out):
        if not out.exists() and (left / "old").exists():
            (left / "old").rename(out)
        shutil.rmtree(left, ignore_errors=True)


def _encoded(text: str) -> bytes:
    """Return UTF-8; other bytes of a file's name become escapes."""
    return text.encode("utf-8", "backslashreplace")


def _files(site: Site) -> Files:
    """Yield every file of the report by its path."""
    templates = _environment(site)
    colors = {name: getattr(palette, name.upper()) for name in ("ink", "muted", "faint", "paper", "right", "wrong")}
    yield "site.css", templates.get_template("site.css").render(colors)
    for name in _SCRIPTS:
        yield name, (_TEMPLATES / name).read_text(encoding="utf-8")
    for name in ("index", "paper", "made", *(["leaderboard"] if site.leaderboard else [])):
        yield f"{name}.html", templates.get_template(f"{name}.html").render(page=name, up="")
    for dataset in site.datasets:
        yield from _dataset_files(templates, dataset)
    for method in site.methods:
        path = f"methods/{method.name}.html"
        yield path, templates.get_template("method.html").render(page=path, up="../", method=method)


def _dataset_files(templates: jinja2.Environment, dataset: DatasetPage) -> Files:
    path = f"data/{dataset.name}.html"
    yield path, templates.get_template("dataset.html").render(page=path, up="../", dataset=dataset)
    if dataset.explorer is None:
        return
    path = f"explore/{dataset.name}.html"
    yield path, templates.get_template("explorer.html").render(page=path, up="../", dataset=dataset)
    yield f"explore/{dataset.name}.js", _script(dataset.explorer)
    if dataset.explorer.sheet is not None:
        yield f"explore/{dataset.name}.webp", dataset.explorer.sheet.content


def _script(explorer: Explorer) -> str:
    document = json.dumps(explorer.document(), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return f"const explorer = {document};\n"


def _environment(site: Site) -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {
        "site": site,
        "version": VERSION,
        "shown": SHOWN,
        "columns": COLUMNS,
        "signs": {"relevant": palette.RIGHT_SIGN, "other": palette.WRONG_SIGN},
        "color_of": _color_of,
        "entry_of": entry_of,
        "bounds": bounds,
        "coverage": _coverage,
        "oracle_precision": _oracle_precision,
        "losses": _losses,
        "percent": _percent,
        "polyline": _polyline,
        "positions": _positions,
        "quantity": _quantity,
        "name_of": name_of,
        "label": label,
        **{name: getattr(wording, name) for name in _WORDING},
    }
    return templates


def _color_of(row: Row) -> str:
    """Return the colour of a row's cell."""
    return palette.look(row.family, row.search, row.variant).color


def _coverage(cell: str, dataset: DatasetPage) -> dict[str, str]:
    """Return of a cell on a data set how many seeds succeeded, or why none did."""
    results = [result for result in dataset.results if label(result) == cell]
    done = [result for result in results if result.status == "ok"]
    if done:
        return {"kind": "ok", "text": f"{len(done)} seed{'s' if len(done) > 1 else ''}", "reason": ""}
    if results:
        return {"kind": "no", "text": results[0].status.replace("_", " "), "reason": why(results[0])}
    return {"kind": "none", "text": "—", "reason": ""}


def _headline(result: Result) -> tuple[str, Estimate | None]:
    """Return the headline metric of a result: precision at its second K."""
    names = [name for name in result.metrics if name.startswith("precision@")]
    name = names[min(1, len(names) - 1)] if names else "—"
    return name, result.metrics.get(name)


def _oracle_precision(result: Result, report: Facts) -> str:
    """Return the oracle precision of the identifiers, in percent, at the K of the headline metric."""
    oracle: Any = report.get("oracle_precision")
    name, _ = _headline(result)
    return f"{100 * oracle[name]:.1f}" if isinstance(oracle, dict) and name in oracle else wording.GAP


def _losses(result: Result) -> list[str]:
    """Return the entropy lower bound, the loss at the end of the decoder's training, and the gap between them."""
    facts = result.retriever
    values = (diagnostics.least_loss(facts), diagnostics.reached_loss(facts), diagnostics.left_to_learn(facts))
    return [wording.GAP if value is None else f"{value:.3f}" for value in values]


def _positions(values: Sequence[float], form: str, most: int = 8) -> str:
    """Format a value for each position of an identifier; of a long one the first few."""
    return " · ".join(form % value for value in values[:most]) + (" …" if len(values) > most else "")


def _percent(value: float, least: float) -> str:
    """Return the place of a value on a scale from `least` to 100, as a CSS percentage."""
    return f"{100 * max(0.0, value - least) / (100 - least):.2f}%"


def _quantity(value: float | None) -> str:
    """Format a cost with three significant digits."""
    if value is None:
        return wording.GAP
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _polyline(values: Sequence[float], width: float, height: float) -> str:
    """Return the points of a curve that fills a box, its largest value at the top."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    points = (
        (i * width / (len(values) - 1), height - 1 - (value - low) / span * (height - 2))
        for i, value in enumerate(values)
    )
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
