"""Compares two folders of results, cell by cell."""

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from irbench.results.artefacts import Artefacts
from irbench.results.regression.cost import CostChange, cost_changes
from irbench.results.regression.limits import Limits, overall
from irbench.results.regression.pairs import Pair
from irbench.results.regression.quality import Change, changes, movements
from irbench.results.schema import Result

BAD = ("worse", "unlike")  # verdicts with which no check passes
_LIBRARIES = ("torch", "faiss", "scann", "sptag", "timm", "torchvision")
_MADE_WITH = {"precision": "computed in", "cpu": "on processor", "gpu": "on GPU", **{name: name for name in _LIBRARIES}}
_NEARLY_TIED = 2  # queries
_SHOWN = 4  # lines of a recipe's changes


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The comparison of one cell.

    `verdict` is "better", "same", "undecided" or "worse" for what was compared, a cell that no longer succeeds being
    worse; "skipped" where it cannot be run here; "unlike" where the data changed; "missing" or "new" where only the
    baseline or only the new results have it.
    """

    dataset: str
    cell: str
    seeds: tuple[int, ...]  # that were compared
    not_run: tuple[int, ...]  # seeds of the baseline that were not run again
    verdict: str
    quality: tuple[Change, ...]
    cost: tuple[CostChange, ...]
    notes: tuple[str, ...]

    @property
    def compared(self) -> bool:
        """Did both sides measure this cell, or try to, with one seed at least?"""
        return self.verdict not in ("missing", "new", "skipped")

    @property
    def may_be_worse(self) -> bool:
        """Is there a loss of more than two queries of which they cannot tell whether it is one?

        One or two that are nearly tied fall either way on another processor.
        """
        return any(
            one.verdict == "undecided" and one.after < one.before and _lost(one) > _NEARLY_TIED for one in self.quality
        )


def _lost(change: Change) -> float:
    """Return how many queries are lost: those that got worse on balance, or as much as so many whole ones."""
    if change.worse is None or change.better is None or change.of is None:
        return math.inf
    return max(change.worse - change.better, change.of * (change.before - change.after))


def compare(pairs: Sequence[Pair], before: Artefacts, after: Artefacts, limits: Limits) -> list[Comparison]:
    """Compare all cells; `before` and `after` locate their hits, rankings and data."""
    moved = [movements(pair, before, after) if pair.seeds else ([], []) for pair in pairs]
    judged = changes([movement for movement, _ in moved], limits)
    return [
        _comparison(pair, quality, notes, limits)
        for pair, quality, (_, notes) in zip(pairs, judged, moved, strict=True)
    ]


def passes(
    comparisons: Sequence[Comparison], *, complete: bool, undecided: bool = False, skipped: bool = False
) -> bool:
    """Return whether nothing got worse; with `complete`, also whether nothing is missing.

    A loss that the queries cannot tell from chance passes with `undecided` only, and a cell that cannot be run here,
    where the baseline has it, with `skipped` only.
    """
    bad = (*BAD, *(() if skipped else ("skipped",)))
    if any(one.verdict in bad or (one.may_be_worse and not undecided) for one in comparisons):
        return False
    return not (complete and any(one.verdict == "missing" or one.not_run for one in comparisons))


def _comparison(pair: Pair, quality: Sequence[Change], notes: Sequence[str], limits: Limits) -> Comparison:
    cost, more = cost_changes(pair, limits) if pair.seeds else ([], [])
    missing = sorted(pair.before.keys() - pair.after.keys())
    return Comparison(
        dataset=pair.dataset,
        cell=pair.cell,
        seeds=tuple(pair.seeds),
        not_run=tuple(missing) if pair.after else (),
        verdict=_verdict(pair, quality, cost),
        quality=tuple(quality),
        cost=tuple(cost),
        notes=(*notes, *more, *_notes(pair)),
    )


def _verdict(pair: Pair, quality: Sequence[Change], cost: Sequence[CostChange]) -> str:
    if not pair.after or not pair.before:
        return "new" if pair.after else "missing"
    if not pair.shared:
        return "missing"
    lost = {pair.after[seed].status for seed in pair.shared if pair.before[seed].status == "ok"} - {"ok"}
    if lost - {"skipped"}:
        return "worse"
    if pair.unlike:
        return "unlike"
    compared = overall([*(change.verdict for change in quality), *(change.verdict for change in cost)])
    if lost and compared not in ("worse", "undecided"):  # of seeds that did run a loss is not hidden
        return "skipped"
    mended = any(pair.before[seed].status != "ok" and pair.after[seed].status == "ok" for seed in pair.shared)
    return "better" if compared == "same" and mended else compared


def _notes(pair: Pair) -> Iterator[str]:
    """Yield what else differs: status, data, and what the results were made with."""
    for seed, result in sorted(pair.after.items()):
        if result.status != "ok":
            reason = (result.reason or "").strip().splitlines()[-1:]
            yield f"seed {seed} {result.status}: {''.join(reason)}"
        elif seed in pair.before and pair.before[seed].status != "ok":
            yield f"seed {seed} was {pair.before[seed].status} and now succeeds"
    for seed in pair.unlike:
        old, new = pair.before[seed].dataset, pair.after[seed].dataset
        yield (
            f"other data: fingerprint {old.fingerprint[:8]}, now {new.fingerprint[:8]} ({old.queries} queries in "
            f"{old.gallery} images, now {new.queries} in {new.gallery}); not compared"
        )
    yield from dict.fromkeys(note for before, after in pair.both() for note in _made_otherwise(before, after))


def _made_otherwise(before: Result, after: Result) -> Iterator[str]:
    if before.recipe_in_force != after.recipe_in_force:
        yield f"recipe changed: {_recipe_lines(before, after)}"
    if before.scale != after.scale:
        yield f"scale changed: {before.scale}, now {after.scale}"
    if before.backbone != after.backbone:
        old, new = (f"{r.backbone.name} ({r.backbone.weights})" if r.backbone else "unknown" for r in (before, after))
        yield f"network changed: {old}, now {new}"
    for key, name in _MADE_WITH.items():
        values = before.environment.get(key), after.environment.get(key)
        if all(values) and values[0] != values[1]:
            yield f"{name} {values[0]}, now {values[1]}"


def _recipe_lines(before: Result, after: Result) -> str:
    old, new = ([f"{key} = {value}" for key, value in one.recipe_in_force] for one in (before, after))
    lines = [
        line for line in difflib.unified_diff(old, new, lineterm="", n=0) if not line.startswith(("---", "+++", "@@"))
    ]
    more = f" and {len(lines) - _SHOWN} more lines" if len(lines) > _SHOWN else ""
    return "; ".join(lines[:_SHOWN]) + more
