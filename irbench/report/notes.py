"""What stands below a panel: what is missing and why, and what the numbers do not say by themselves."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from irbench import paper
from irbench.report.lines import Line, label, why
from irbench.report.quantities import Quantity
from irbench.results.schema import Result


def notes_of(dataset: str, lines: Sequence[Line], columns: Sequence[Quantity]) -> Iterator[str]:
    """Yield a line for each reason that no row tells, with all seeds that it holds for."""
    results = [result for line in lines for result in line.results]
    told = {(_who(result), line.row.reason) for line in lines for result in line.results}
    seeds: dict[tuple[str, str], list[int]] = defaultdict(list)
    recipes = defaultdict(set)
    for result in results:
        recipes[_who(result)].add(result.recipe.hash)
        for reason in _gaps(result, columns):
            seeds[_who(result), reason].append(result.seed)
    for (cell, reason), which in seeds.items():
        if (cell, reason) not in told:
            yield f"{cell}, seed {_listed(which)}: {reason}"
    yield from (f"{cell}: {len(used)} recipes, a row for each" for cell, used in recipes.items() if len(used) > 1)
    yield from _misses(results)
    if any(column.key.endswith(("_ms", "_s")) for column in columns):
        yield from under_concurrent_load(results)
    for facts in dict.fromkeys(result.dataset for result in results if result.dataset.without_positives):
        yield f"{facts.without_positives} of {facts.queries} queries have no positive in the gallery and are left out"
    if dataset.removesuffix("-incremental") == "inshop" and any(
        column.key.startswith("precision_irgen@") for column in columns
    ):
        yield paper.INSHOP_PRECISION


def _who(result: Result) -> str:
    return f"{label(result)} ({result.scale})"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(set(numbers))))


def _gaps(result: Result, columns: Sequence[Quantity]) -> Iterator[str]:
    if result.status != "ok":
        yield why(result)
        return
    reasons = defaultdict(list)
    for column in columns:
        if reason := column.read(result).reason:
            reasons[reason].append(column.key)
    for reason, keys in reasons.items():
        yield f"{', '.join(keys)}: {reason}"


def under_concurrent_load(results: Sequence[Result]) -> Iterator[str]:
    """Say which times were measured while others used the machine, and may be long for no fault of the method."""
    seeds: dict[str, list[int]] = defaultdict(list)
    for result in results:
        if result.under_concurrent_load:
            seeds[result.cell].append(result.seed)
    if seeds:
        which = ", ".join(f"{cell} (seed {_listed(found)})" for cell, found in seeds.items())
        which = "all" if sum(map(len, seeds.values())) == len(results) > 1 else which
        yield f"timed while others used the machine, and so perhaps too long: {which}"


def _misses(results: Sequence[Result]) -> Iterator[str]:
    """Say what beams would have missed, where answers are exact."""
    found: dict[str, dict[int, tuple[float, float]]] = defaultdict(dict)
    for result in results:
        missed = result.retriever.get("beam_misses")
        if isinstance(missed, dict):
            leaves, queries = (100 * float(str(missed[share])) for share in ("leaves", "queries"))
            found[label(result)][result.seed] = (leaves, queries)
    for cell, by_seed in found.items():
        shares, asked = ([pair[i] for pair in by_seed.values()] for i in (0, 1))
        yield (
            f"{cell}, seed {_listed(list(by_seed))}: beam search would have missed {_range(shares, 2)} % of these "
            f"identifiers, one or more for {_range(asked, 1)} % of the queries"
        )


def _range(values: Sequence[float], digits: int) -> str:
    bounds = dict.fromkeys(f"{value:.{digits}f}" for value in (min(values), max(values)))
    return " to ".join(bounds)
