"""Colours and markers of figures and report. Plain data; nothing heavy is imported.

The colour stands for the method, marker and dash for its search, so that a cell looks the same in every figure and
page. The colours are Okabe and Ito's (2008, "Color Universal Design") and similar ones, chosen so that people with any
of the three kinds of colour blindness can distinguish them (tests simulate them). Blue-green and vermilion are reserved
for relevant and other results, which always carry a sign as well.
"""

from dataclasses import dataclass, replace
from typing import TypeVar
from zlib import crc32

_T = TypeVar("_T")

RIGHT, WRONG = "#009E73", "#D55E00"
RIGHT_SIGN, WRONG_SIGN = "✓", "✗"
INK, MUTED, FAINT, PAPER = "#1B1F24", "#59636E", "#D9DEE3", "#FFFFFF"  # text, second text, grid lines, ground

# the components of a query's time (results.schema.QueryTimes), in the order in which they are drawn; only the decoder
# has a method's colour, that of IRGen, the only one with a decoder
STAGES = {
    "read": "#D0C5B3",
    "encode": "#7A8691",
    "decoder": "#0072B2",
    "trie": "#F0D24A",
    "lookup": "#7A1F1F",
    "search": "#A9CFE8",
    "other": "#EDEFF1",
}

_METHODS = {
    "irgen": "#0072B2",
    "ft-clip": "#E08E00",
    "clip": "#56B4E9",
    "cgd": "#CF7FB0",
    "irt-r": "#7F7512",
    "res101-img": "#3F1D2E",
    "pixels": "#6A6A6A",
    "irgen-as-published": "#332288",
    "classify": "#7800D8",
    "imagenet": "#A8C078",
    "vectors": "#0A520A",
}
# Published encoders beside those of the paper: too many for colours that every sight tells apart, so that their names
# stand beside what is drawn.
_ENCODERS = {
    "dinov2-s": "#9ECAE1",
    "dinov2-b": "#4292C6",
    "dinov2-l": "#08306B",
    "dinov3-s": "#A1D99B",
    "dinov3-b": "#41AB5D",
    "dinov3-l": "#00441B",
    "siglip2": "#D94801",
    "openclip": "#807DBA",
    "pe-core": "#A50F15",
    "mobileclip2": "#FDAE6B",
    "convnext": "#8C6D31",
    "eva02": "#DE2D8A",
}
_OTHERS = ("#882255", "#6A55C2", "#9C6B30")  # of other methods
_IDENTIFIERS = {
    "hkm": "#4B2E83",
    "hkm-200": "#7A5FB0",
    "hkm-500": "#A994D0",
    "rqvae": "#0B3C5D",
    "random": "#7FA7C7",
}
_SEARCHES: dict[str, tuple[str, tuple[float, ...]]] = {
    "linear": ("o", ()),
    "ivfpq": ("s", (5, 2)),
    "scann": ("^", (5, 1.5, 1, 1.5)),
    "spann": ("D", (1, 1.5)),
    "hnsw": ("h", (8, 2)),
    "nsg": ("<", (10, 1, 1, 1)),
    "sq8": ("p", (4, 4)),
    "ivf-rabitq": ("P", (3, 1)),
    "usearch": ("H", (6, 3)),
    "vamana": ("v", (7, 1, 2, 1)),
    "vamana-lvq": (">", (2, 1, 5, 1)),
    "cagra": ("d", (9, 3, 2, 3)),
    "fp16": ("8", (4, 1)),
    "binary": ("*", (1, 3)),
    "faiss": ("X", (2, 2)),
}
_OF_SEARCHES = {
    "linear": "#222222",
    "ivfpq": "#0072B2",
    "scann": "#D55E00",
    "spann": "#009E73",
    "hnsw": "#CC79A7",
    "nsg": "#8C564B",
    "sq8": "#999999",
    "fp16": "#666699",
    "binary": "#BBBB33",
    "ivf-rabitq": "#56B4E9",
    "usearch": "#7B3294",
    "vamana": "#B2182B",
    "vamana-lvq": "#F4A582",
    "cagra": "#4DAC26",
    "faiss": "#E69F00",
}
_DASHES = ((5, 2), (3, 1), (1, 1), (6, 1.5, 1, 1.5), (8, 2), (10, 1, 1, 1), (4, 4))
_MARKERS = ("<", "X", "p", "d", ">", "P", "h", "*")  # as many as have no divisor in common with the dashes
_VARIANTS = tuple((marker, _DASHES[i % len(_DASHES)]) for i, marker in enumerate(len(_DASHES) * _MARKERS))
# variants of the ablations, so that no two of them look alike by chance; any other one is drawn by its name's hash
_KNOWN = (
    "beam_size-1", "beam_size-8", "beam_size-10", "beam_size-20", "beam_size-30", "decode-exact",
    "num_codebooks-2", "num_codebooks-6", "num_codebooks-8",
    "hkm", "hkm-200", "hkm-500", "rqvae", "random",
    "rerank-100", "rerank-30", "within-similarity", "unseen-nearest", "unseen-generate",
    "unseen-generate,within-similarity,rerank-30",
    *(f"{identifier}irgen.epochs-{epochs}" for epochs in (8, 32, 64, 128, 15, 60, 120, 240)
      for identifier in ("", "hkm,", "random,")),
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How a cell is drawn: "#RRGGBB", a matplotlib marker, and dash and gap lengths in line widths (none: solid)."""

    color: str
    marker: str
    dash: tuple[float, ...] = ()


def look(method: str, search: str = "", variant: str = "") -> Look:
    """Return how a cell is drawn; for unknown names a look that only the name decides."""
    color = _METHODS.get(method) or _ENCODERS.get(method) or _any(_OTHERS, method)
    marker, dash = _SEARCHES.get(search, ("v", ()) if not search else _any(_VARIANTS, search))
    if not variant:
        return Look(color, marker, dash)
    place = _KNOWN.index(variant) if variant in _KNOWN else crc32(variant.encode())
    other_marker, other_dash = _VARIANTS[place % len(_VARIANTS)]
    lighter = _blend(color, PAPER, 0.15 + 0.15 * (place % 4))
    return Look(_IDENTIFIERS.get(variant, lighter), marker if search else other_marker, other_dash)


def colored_by_search(one: Look, search: str) -> Look:
    """Return a look in a colour of the search's, where all that is drawn has the method's."""
    return replace(one, color=_OF_SEARCHES.get(search) or _any(_OTHERS, search))


def _any(choices: tuple[_T, ...], name: str) -> _T:
    return choices[crc32(name.encode()) % len(choices)]


def _blend(color: str, ground: str, share: float) -> str:
    """Return `color` with `share` of `ground` mixed in."""
    mixed = (round((1 - share) * _part(color, at) + share * _part(ground, at)) for at in (1, 3, 5))
    return "#" + "".join(f"{part:02X}" for part in mixed)


def _part(color: str, at: int) -> int:
    return int(color[at : at + 2], 16)
