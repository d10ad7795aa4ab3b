"""What is doubtful about which images are relevant: queries without a positive, and names that mean one class twice."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from decimal import Decimal, InvalidOperation

import numpy as np

from irbench.core.benchmark import Benchmark
from irbench.core.errors import DataError


def _as_number(label: str) -> Decimal | str:
    try:
        number = Decimal(label)
    except InvalidOperation:
        return label
    return number if number.is_finite() and "_" not in label else label


def _without_zeros(label: str) -> str:
    return re.sub(r"(?<![\d.])0+(?=\d)", "", label)


def _plain(label: str) -> str:
    shown = "".join(sign for sign in label if unicodedata.category(sign) != "Cf")  # no zero-width spaces
    return unicodedata.normalize("NFC", " ".join(shown.split()).casefold())


_FORMS: Mapping[str, Callable[[str], Hashable]] = {  # the plainest explanation first
    "the way in which a number is written": _as_number,
    "leading zeros": _without_zeros,
    "white space": lambda label: " ".join(label.split()),
    "capital letters": str.casefold,
    "the form of Unicode (composed or decomposed)": lambda label: unicodedata.normalize("NFC", label),
    "the form of Unicode (wide or other variants of characters)": lambda label: unicodedata.normalize("NFKC", label),
    "several ways of writing": lambda label: _without_zeros(_plain(unicodedata.normalize("NFKC", label))),
}


def remarks(benchmark: Benchmark) -> Iterator[str]:
    """Yield why some queries have no positive, which classes are probably one, and whether all images are relevant."""
    if benchmark.nearest is not None or not len(benchmark.queries):
        return
    if benchmark.class_names and benchmark.judgements is None:
        yield from _misnamed(benchmark)
        yield from _alike(benchmark)
    others = len(benchmark.gallery) - (benchmark.own_rows >= 0)
    scored = benchmark.positives > 0
    if scored.any() and (benchmark.positives == others)[scored].all():
        yield "every gallery image is relevant to every query that is scored: all rankings score the same"


def _misnamed(benchmark: Benchmark) -> Iterator[str]:
    """Yield how many queries have no positive, but are of a class whose name the gallery has in another form."""
    names = benchmark.class_names
    held = {names[label] for label in benchmark.gallery.labels.tolist()}
    asked = Counter(names[label] for label in benchmark.queries.labels[benchmark.positives == 0].tolist())
    for what, found in _other_forms(asked.keys() - held, held):
        count, first = sum(asked[name] for name in found), min(found)
        yield (
            f"queries without a positive whose class is in the gallery, but for {what}: {count} of "
            f"{len(benchmark.queries)}, as {first!a} and {found[first]!a}"
        )


def _other_forms(asked: Collection[str], held: Collection[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield what names asked for differ in from names that are held, and for each of the first one of the second."""
    left = set(asked)
    for what, form in _FORMS.items():
        same = {form(name): name for name in sorted(held, reverse=True)}
        found = {name: same[form(name)] for name in left if form(name) in same}
        left -= found.keys()
        if found:
            yield what, found


def _alike(benchmark: Benchmark) -> Iterator[str]:
    """Yield how many classes of the gallery or the training images have names that differ by little."""
    groups = defaultdict(list)
    for label in np.unique(np.concatenate([benchmark.train.labels, benchmark.gallery.labels])).tolist():
        groups[_plain(benchmark.class_names[label])].append(benchmark.class_names[label])
    alike = [group for group in groups.values() if len(group) > 1]
    if alike:
        yield (
            "classes that are probably the same, differing only in capital letters, white space or form of Unicode: "
            f"{sum(map(len, alike))}, as {' and '.join(map(ascii, alike[0][:2]))}"
        )


def demand_positives(benchmark: Benchmark, asked: Collection[str] = (), held: Collection[str] = ()) -> None:
    """Raise `DataError` if no query has a positive.

    The message has the likely reason, where the names of the queries' classes, `asked`, and those of the gallery's,
    `held`, are known.
    """
    if len(benchmark.queries) == 0 or benchmark.positives.any():
        return
    if benchmark.judgements is not None:
        raise DataError(
            f"{benchmark.name}: for none of the {len(benchmark.queries):,} queries a gallery image is judged relevant",
            code="no-positives",
        )
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
    for what, found in _other_forms(asked - held, held):
        name = min(found)
        return f": its classes differ from those of the queries in {what}, as {found[name]!a} and {name!a}"
    return f": a class of queries is '{min(asked - held)}', one of the gallery '{min(held)}'"
