"""Names of images in text files whose columns are separated by white space: runs and qrels.

White space and whatever cannot be printed would break the columns, so it is percent-encoded, and so is the percent
sign: `a%20cat.png`.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from urllib.parse import quote


def name(id_: str) -> str:
    """Return an image's id as files name it: no white space, nothing that cannot be printed."""
    return id_ if _is_plain(id_) else "".join(map(_encoded, id_))


def names(ids: Sequence[str]) -> list[str]:
    """Return each id as files name it."""
    return [name(id_) for id_ in ids]


def rows_by_name(ids: Sequence[str]) -> Mapping[str, int]:
    """Map each image's name to its row; its plain id is accepted as well, where that is no other image's name."""
    return {id_: row for row, id_ in enumerate(ids)} | {name(id_): row for row, id_ in enumerate(ids)}


def _is_plain(text: str) -> bool:
    return text.isprintable() and "%" not in text and not any(map(str.isspace, text))


@cache
def _encoded(sign: str) -> str:
    return sign if _is_plain(sign) else quote(sign, safe="", errors="surrogateescape")
