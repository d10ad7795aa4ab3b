"""The verdict on a data set, in sentences: who leads and by how much, what cannot be told apart, what it costs."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from irbench.report.wording import enumerated

if TYPE_CHECKING:
    from irbench.report.site.pages import Standing

_ONLY = "by the comparisons with it, though not by those of all pairs, on which ranks rest"


def verdict(standings: "Sequence[Standing]", column: str) -> Iterator[str]:
    """Yield a few sentences on the methods of a data set, best first, by the column that ranks them.

    They claim no difference that the marks of the table do not: only rows with a p value were tested against the best.
    """
    if not standings:
        return
    names = _names(standings)
    best = [one for one in standings if one.score.best]
    is_tested = any(one.score.p is not None for one in standings)
    compared = [one for one in standings if one.score.best or one.score.p is not None or not is_tested]
    lead = [one for one in compared if one.score.best or one.score.tied]
    lead = lead or [one for one in compared if _is_complete(one)][:1] or compared[:1]
    top = max(map(_value, best or lead))
    yield _leaders(lead, names, column)
    above = [one for one in compared if one not in lead and _value(one) > top]
    if few := [names[id(one)] for one in above if one.score.short]:
        yield f"Above these by value, but with fewer results than K for some queries: {enumerated(few)}."
    if unknown := [names[id(one)] for one in above if one.score.short is None]:
        yield f"Above these by value, but perhaps with fewer results than K: {enumerated(unknown)}."
    behind = [one for one in compared if one not in lead and _value(one) <= top]
    if is_tested:
        yield from _unordered(behind, min(map(_value, lead)), names)
        behind = [one for one in behind if _value(one) < min(map(_value, lead)) and not _may_be_first(one)]
    if behind:
        tested = "" if is_tested else ", which no test confirms"
        yield f"{names[id(behind[0])]} follows {top - _value(behind[0]):.1f} points behind the best{tested}."
    yield from _costs(lead, names)
    if all(one.row.seeds == 1 for one in lead):
        yield "One seed each: training again may change the order."
    if apart := [one for one in standings if one not in compared or (one in above and _is_complete(one))]:
        yield f"Not compared with the best, having other seeds or no stored hits: {_with_seeds(apart)}."


def _value(one: "Standing") -> float:
    return one.score.value or 0.0


def _is_complete(one: "Standing") -> bool:
    """Is it known that every query had as many results as the value is about?"""
    return one.score.short == 0


def _may_be_first(one: "Standing") -> bool:
    """Do the tests of all pairs leave it the first rank, which is the best one's too?"""
    return one.score.rank is not None and one.score.rank[0] == 1


def _unordered(behind: "Sequence[Standing]", lowest: float, names: dict[int, str]) -> Iterator[str]:
    """Name the rows that are told from the best although a lower one is not, or their own rank is not."""
    amid = [one for one in behind if _value(one) >= lowest]
    found = {
        "By value among these, yet significantly below the best": [one for one in amid if not _may_be_first(one)],
        f"By value among these, yet significantly below the best {_ONLY}": [one for one in amid if _may_be_first(one)],
        f"Significantly below the best {_ONLY}": [one for one in behind if _may_be_first(one) and one not in amid],
    }
    yield from (f"{what}: {enumerated([names[id(one)] for one in some])}." for what, some in found.items() if some)


def _names(standings: "Sequence[Standing]") -> dict[int, str]:
    """Return what each method is called: its label, and of several rows of one label what tells them apart."""
    rows = defaultdict(list)
    for one in standings:
        rows[one.entry.label].append(one)
    return {
        id(one): f"{label} ({said})" if said else label
        for label, alike in rows.items()
        for one, said in zip(alike, _told_apart(alike), strict=True)
    }


def _told_apart(alike: "Sequence[Standing]") -> Sequence[str]:
    """Return the precision, the scale or the seeds of rows of one label, whichever differs; else their numbers."""
    if len(alike) == 1:
        return [""]
    facts = ([one.row.precision for one in alike], [one.row.scale for one in alike], [_seeds(one) for one in alike])
    numbers = [f"row {number}" for number in range(1, len(alike) + 1)]
    return next((said for said in facts if len(set(said)) == len(alike)), numbers)


def _seeds(one: "Standing") -> str:
    return f"{one.row.seeds} seed{'s' if one.row.seeds > 1 else ''}"


def _with_seeds(some: "Sequence[Standing]") -> str:
    return enumerated([f"{one.entry.label} ({_seeds(one)})" for one in some])


def _leaders(lead: "Sequence[Standing]", names: dict[int, str], column: str) -> str:
    values = sorted(one.score.value or 0 for one in lead)
    span = " to ".join(dict.fromkeys(f"{value:.1f}" for value in (values[0], values[-1])))
    who = enumerated([names[id(one)] for one in lead])
    if len(lead) == 1:
        return f"{who} leads with {span} % {column}."
    return f"{who} lead with {span} % {column}; no difference between the best of them and the others is significant."


def _costs(lead: "Sequence[Standing]", names: dict[int, str]) -> Iterator[str]:
    """Say which of the leaders is fast, and which is small; of one alone, how fast and how small."""
    fast = [one for one in lead if one.cost.queries_per_s and not one.cost.under_concurrent_load]
    small = [one for one in lead if one.cost.bytes_per_image is not None]
    fastest = max(fast, key=lambda one: one.cost.queries_per_s or 0, default=None)
    smallest = min(small, key=lambda one: one.cost.bytes_per_image or 0, default=None)
    alone = len(lead) == 1
    if fastest is not None:
        speed = f"{fastest.cost.queries_per_s:,.0f} queries/s"
        who = names[id(fastest)]
        yield f"{who} answers {speed}." if alone else f"Among these {who} is the fastest, with {speed}."
    if smallest is not None:
        size = f"{smallest.cost.bytes_per_image:,.0f} bytes an image, model included"
        who = names[id(smallest)]
        yield f"{who} takes {size}." if alone else f"{who} is the smallest, with {size}."
    if not fast and any(one.cost.queries_per_s for one in lead):
        yield "Speeds were measured beside other programs and are not compared."
