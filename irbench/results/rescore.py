"""Scores of stored results, computed again where the code that computes them has changed.

Every metric of one label follows from which retrieved images are right and how many right ones the gallery holds: the
hits that are stored beside a result, or its ranking and the benchmark. Nothing is trained or searched.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from irbench.config import recipes
from irbench.core.errors import StoreError
from irbench.metrics import own
from irbench.metrics.retrieval import METRICS, NEAREST, Judged, Metric, Scope
from irbench.results import files, hits, scoring
from irbench.results.artefacts import Artefacts
from irbench.results.schema import Result
from irbench.runtime.code import code_digest

Judge = Callable[[Result], Mapping[str, Judged]]  # the judged ranking of a result; StoreError where it is not known


def known_metrics() -> Mapping[str, Metric]:
    """Return irbench's metrics and the user's: those in a folder `metrics` beside the recipes, see `metrics.own`."""
    own.load(recipes.own_folders())
    return METRICS


def scoring_version() -> str:
    """Return 16 hexadecimal digits for the code that scores today, that of the user's metrics included."""
    return code_digest(scoring.estimates, *own.load(recipes.own_folders()))[:16]


def scored(result: Result, judged: Mapping[str, Judged], scope: Scope) -> Result:
    """Return the result with every metric of its judged ranking, and the version of the code that scored it."""
    version = scoring_version()  # which finds the user's metrics
    return replace(result, metrics=scoring.estimates(judged, scope), scoring=version)


def rescored(result: Result, judge: Judge, *, force: bool = False) -> Result:
    """Return the result with today's scores: the same one where these are its own already, unless `force`d.

    Raises:
        StoreError: `judge` does not know the result's judged ranking.
    """
    if result.status != "ok" or (result.scoring == scoring_version() and not force):
        return result
    judged = judge(result)
    return scored(result, judged, _scope(result, judged))


@dataclass(frozen=True, kw_only=True)
class Rescored:
    """What became of some results."""

    results: tuple[Result, ...]  # all of them, with today's scores where these could be computed
    changed: tuple[Result, ...]  # those among them that were rescored
    problems: tuple[str, ...]  # why others could not be
    restored: int = 0  # hits that were missing or damaged and were made again


def rescore(results: Iterable[Result], judge: Judge, *, force: bool = False) -> Rescored:
    """Rescore the results that are due, or all with `force`; nothing is written."""
    made, changed, problems = [], [], []
    for result in results:
        try:
            new = rescored(result, judge, force=force)
        except StoreError as error:
            problems.append(str(error))
            new = result
        made.append(new)
        if new is not result:
            changed.append(new)
    return Rescored(results=tuple(made), changed=tuple(changed), problems=tuple(problems))


def rescore_folder(artefacts: Artefacts, *, force: bool = False) -> Rescored:
    """Rescore the results of a folder and write those that changed; what cannot be read is a problem too.

    Hits that are missing or damaged are made again where the ranking is kept.
    """
    found, unreadable = files.read_all(artefacts.results)
    lost = [any(artefacts.hits.damaged([result])) for result in found]
    whole = [with_hits(one, artefacts) if is_lost else one for one, is_lost in zip(found, lost, strict=True)]
    done = rescore(whole, artefacts.judged, force=force)
    for result in done.changed:
        files.write(result, artefacts.results)
    still = tuple(artefacts.hits.damaged(done.results))
    return replace(done, problems=(*unreadable, *still, *done.problems), restored=sum(lost) - len(still))


def with_hits(result: Result, artefacts: Artefacts) -> Result:
    """Return the result after making its hits again, where its ranking is kept."""
    try:
        stored = hits.save(artefacts.judged(result), result.path(artefacts.results).parent, seed=result.seed)
    except StoreError:
        return result
    if stored != result.hits:
        result = replace(result, hits=stored)
        files.write(result, artefacts.results)
    return result


def _scope(result: Result, judged: Mapping[str, Judged]) -> Scope:
    """Return what was scored of a result's ranking, which is judged as far as it is stored."""
    names = [name.partition("@") for name in result.metrics]
    ks = {int(k) for base, _, k in names if k and base != "map"}  # which is scored at 100 too
    return Scope(
        ks=tuple(sorted(ks)),
        top_k=max([judged[""].top_k, *(int(k) for _, _, k in names if k)]),
        gallery=result.dataset.gallery,
        incremental=result.dataset.incremental > 0,
        judged=result.dataset.judged,
        nearest=any(part.startswith(NEAREST) for part in judged),
    )
