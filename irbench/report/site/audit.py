"""The page of an audit: near-duplicates side by side, and what results score without the queries that have one."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from PIL import Image

from irbench.core.errors import DataError, UsageError, writing
from irbench.core.text import as_text
from irbench.core.version import VERSION
from irbench.data.audit import SPLITS, Audit, Pair, Place
from irbench.data.sources import Source
from irbench.report import palette
from irbench.results.without import Effect
from irbench.runtime.cache import check_writable, make_folder, write_atomically

MOST = 300  # pairs that are shown
_SIDE = 180
_PAGE = "index.html"
_GENERATOR = "irbench data audit"  # stands in the page: only a page with it is replaced
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Shown:
    """A pair, and its images as data of JPEG."""

    pair: Pair
    images: tuple[str, str]


def check(out: Path) -> None:
    """Find out, before images are compared, whether the page can be written into `out` and replaces no other one."""
    check_writable(out, "--out")
    page = out / _PAGE
    if page.exists() and not (page.is_file() and f'content="{_GENERATOR}"'.encode() in page.read_bytes()):
        raise UsageError(f"--out {out}: holds a page {_PAGE} already; name a new folder", code="not-empty")


def write(audit: Audit, effects: Sequence[Effect], out: Path) -> Path:
    """Write the page and return where it is; those with other labels come first."""
    ordered = sorted(audit.pairs, key=lambda pair: not (pair.conflicts and audit.benchmark.labelled))
    shown = [_shown(audit, pair) for pair in ordered[:MOST]]
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    colors = {name: getattr(palette, name.upper()) for name in ("ink", "muted", "faint", "paper", "right", "wrong")}
    page = templates.get_template("audit.html").render(
        audit=audit,
        shown=shown,
        effects=list(summed(effects)),
        version=VERSION,
        colors=colors,
        text=as_text,
        generator=_GENERATOR,
    )
    path = out / _PAGE
    with writing(path, "--out"):
        make_folder(out)
        write_atomically(path, page)
    return path


def summed(effects: Iterable[Effect]) -> list[tuple[str, str, float, float | None]]:
    """Return for each cell and metric the mean over the seeds, in percent, with all queries and without some."""
    groups: dict[tuple[str, str], list[Effect]] = {}
    for one in effects:
        groups.setdefault((one.cell, one.metric), []).append(one)
    found = []
    for (cell, metric), some in groups.items():
        after = [one.after for one in some if one.after is not None]
        before = 100 * sum(one.before for one in some) / len(some)
        found.append((cell, metric, before, 100 * sum(after) / len(after) if after else None))
    return found


def _shown(audit: Audit, pair: Pair) -> Shown:
    return Shown(pair, (_image(audit, pair.first), _image(audit, pair.second)))


def _image(audit: Audit, place: Place) -> str:
    images = dict(zip(SPLITS, (audit.benchmark.queries, audit.benchmark.gallery, audit.benchmark.train), strict=True))
    try:
        image = Source(images[place.split]).seen(place.row)
    except DataError:
        return ""
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()
