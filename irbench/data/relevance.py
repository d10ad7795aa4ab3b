"""Finds benchmarks on which nothing can be measured, since no query has an image of its class in the gallery."""

import unicodedata
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal, InvalidOperation

from irbench.core.benchmark import Benchmark
from irbench.core.errors import DataError


def _as_number(label: str) -> str:
    try:
        return str(Decimal(label).normalize())
    except InvalidOperation:
        return label


_FORMS: Mapping[str, Callable[[str], str]] = {
    "the way in which a number is written": _as_number,
    "white space": lambda label: " ".join(label.split()),
    "capital letters": str.casefold,
    "the form of Unicode (composed or decomposed)": lambda label: unicodedata.normalize("NFC", label),
}


def demand_positives(benchmark: Benchmark, asked: Collection[str] = (), held: Collection[str] = ()) -> None:
    """Raise `DataError` if no query has a positive.

    The message has the likely reason, where the names of the queries' classes, `asked`, and those of the gallery's,
    `held`, are known.
    """
    if len(benchmark.queries) == 0 or benchmark.positives.any():
        return
    reason = _reason(set(asked), set(held)) if asked and held else ""
    raise DataError(
        f"{benchmark.name}: none of the {len(benchmark.queries):,} queries has another image of its class in the "
        f"gallery{reason}",
        code="no-positives",
    )


def _reason(asked: set[str], held: set[str]) -> str:
    """Return what the names of classes differ in, if it is one thing, else examples."""
    if asked <= held:
        return "; each class has a single image there, which is the query"
    for what, form in _FORMS.items():
        same = {form(name): name for name in held}
        for name in sorted(asked - held):
            if form(name) in same:
                return f": its classes differ from those of the queries in {what}, as {same[form(name)]!a} and {name!a}"
    return f": a class of queries is '{min(asked - held)}', one of the gallery '{min(held)}'"
