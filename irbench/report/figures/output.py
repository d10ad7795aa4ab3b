"""Figures as files, and as a part of an HTML page: the same bytes every time, and nothing fetched from elsewhere."""

import hashlib
import io
import re
from html import escape
from pathlib import Path

from irbench.core.errors import UsageError, writing
from irbench.report.figures.sheet import Drawing, style
from irbench.runtime.cache import check_writable, write_atomically

FORMATS = ("svg", "png", "pdf")
_DPI = 200  # of .png
_NO_DATES = {
    "svg": {"Date": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


def check_format(path: Path) -> str:
    """Return which of `FORMATS` the file's name asks for."""
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in FORMATS:
        raise UsageError(f"--out {path}: name a file that ends in .svg, .png or .pdf", code="bad-format")
    return suffix


def check_out(path: Path) -> None:
    """Find out, before anything is computed, whether a figure can be written to `path`."""
    check_format(path)
    if path.is_dir():
        raise UsageError(f"--out {path}: is a folder; name a file", code="not-writable")
    check_writable(path.parent, "--out")


def save(figure: Drawing, path: Path) -> None:
    """Write the figure whole, or not at all."""
    form = check_format(path)
    content = svg(figure).encode() if form == "svg" else _rendered(figure, form)
    with writing(path, "--out"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)


def svg(figure: Drawing) -> str:
    """Return the figure as one `<svg>` element for an HTML page, or for a file of its own."""
    text = _rendered(figure, "svg").decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    head, _, rest = text.partition(">")
    title = escape(str(figure.get_label()))
    for id_, text in figure.hover.items():
        rest = rest.replace(f'<g id="{id_}">', f'<g id="{id_}"><title>{escape(text)}</title>', 1)
    return _with_own_ids(f'{head} role="img"><title>{title}</title>{rest}')


def _with_own_ids(text: str) -> str:
    """Put a prefix that only this figure has before every id, and wherever one is used."""
    prefix = "f" + hashlib.sha256(text.encode()).hexdigest()[:10]
    return re.sub(r"<[^<>]*>", lambda tag: _ID.sub(rf"\1{prefix}-", tag[0]), text)


_ID = re.compile(r'(\bid="|href="#|url\(#)')


def _rendered(figure: Drawing, form: str) -> bytes:
    content = io.BytesIO()
    with style():
        figure.savefig(content, format=form, dpi=_DPI, metadata=_NO_DATES[form])
    return content.getvalue()
