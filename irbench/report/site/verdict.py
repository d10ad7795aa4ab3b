"""The verdict on a data set, in sentences: who leads and by how much, what cannot be told apart, what it costs."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from irbench.report.site.pages import Standing

_NAMED = 4  # methods that are listed by name


def verdict(standings: "Sequence[Standing]", column: str) -> Iterator[str]:
    """Yield two to five sentences on the methods of a data set, best first, by the column that ranks them."""
    if not standings:
        return
    names = _names(standings)
    compared = [one for one in standings if one.score.rank] or list(standings)
    lead = [one for one in compared if one.score.best or one.score.tied] or compared[:1]
    yield _leaders(lead, names, column)
    lowest = min(one.score.value or 0 for one in lead)
    behind = [one for one in compared if one not in lead]
    rest = [one for one in behind if not one.score.rank or (one.score.value or 0) < lowest]
    if between := [names[id(one)] for one in behind if one not in rest]:
        yield f"By value among these, yet significantly below the best: {_listed(between)}."
    if rest:
        points = (compared[0].score.value or 0) - (rest[0].score.value or 0)
        tested = "" if compared[0].score.rank else ", which no test confirms"
        yield f"{names[id(rest[0])]} follows {points:.1f} points behind the best{tested}."
    yield from _costs(lead, names)
    if all(one.row.seeds == 1 for one in lead):
        yield "One seed each: training again may change the order."
    if apart := [one for one in standings if one not in compared]:
        yield f"Not compared, since no other row has the same seeds or no hits are stored: {_with_seeds(apart, names)}."


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


def _with_seeds(some: "Sequence[Standing]", names: dict[int, str]) -> str:
    seeds = [_seeds(one) for one in some]
    return _listed(
        [
            names[id(one)] if names[id(one)].endswith(f"({count})") else f"{names[id(one)]} ({count})"
            for one, count in zip(some, seeds, strict=True)
        ]
    )


def _leaders(lead: "Sequence[Standing]", names: dict[int, str], column: str) -> str:
    values = sorted(one.score.value or 0 for one in lead)
    span = " to ".join(dict.fromkeys(f"{value:.1f}" for value in (values[0], values[-1])))
    who = _listed([names[id(one)] for one in lead])
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


def _listed(names: Sequence[str]) -> str:
    shown = [*names[:_NAMED], *([f"{len(names) - _NAMED} others"] if len(names) > _NAMED else [])]
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
