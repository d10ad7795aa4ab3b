"""The leaderboard: verified submissions side by side, with who submits, what was measured and how it was priced."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from irbench.metrics.retrieval import parse
from irbench.report.figures.selection import machine_of
from irbench.report.lines import label
from irbench.results.schema import Result
from irbench.results.submissions.submission import Submission
from irbench.results.submissions.verify import Verified

_SHOWN = ("precision", "map", "ndcg", "map_trapezoid")  # families, where a data set has them …
_AT_FIRST = ("precision",)  # … of which the smallest K is shown too, and of all of them the largest


@dataclass(frozen=True, kw_only=True)
class Rank:
    """What somebody submits for one cell."""

    submission: Submission
    label: str
    scale: str
    seeds: int  # whose results differ: a copy under another seed is none
    scores: tuple[float | None, ...]  # percent, the mean over the seeds
    single_ms: float | None  # median time of a query alone
    train_s: float | None
    machine: str

    @property
    def link(self) -> str:
        """The page of the submission, where a browser may follow it."""
        page = self.submission.page
        return page if page.startswith(("https://", "http://")) else ""


@dataclass(frozen=True, kw_only=True)
class LeaderboardTable:
    """The cells that were submitted for the same task, best first."""

    title: str
    columns: tuple[str, ...]  # metrics
    ranks: tuple[Rank, ...]


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """All tables, and what was refused."""

    tables: tuple[LeaderboardTable, ...]
    refused: tuple[str, ...]


def leaderboard(verified: Iterable[Verified]) -> Leaderboard:
    """Rank the accepted submissions, each task by itself; the first reason why others were refused is kept."""
    found, refused = defaultdict(list), []
    for one in verified:
        if one.submission is None or not one.accepted:
            refused.append(one.problems[0])
            continue
        for result in one.results:
            found[result.dataset.name, result.dataset.fingerprint].append((one.submission, result))
    tables = [_table(of_task) for _, of_task in sorted(found.items(), key=lambda item: item[0])]
    return Leaderboard(tables=tuple(tables), refused=tuple(refused))


def _table(entries: Sequence[tuple[Submission, Result]]) -> LeaderboardTable:
    facts, columns = entries[0][1].dataset, _columns([result for _, result in entries])
    groups = defaultdict(list)
    for submission, result in entries:
        groups[id(submission), label(result), result.scale, result.origin].append((submission, result))
    ranks = [_rank(some[0][0], [result for _, result in some], columns) for some in groups.values()]
    ranks.sort(key=lambda one: [-(score or 0.0) for score in one.scores])
    title = f"{facts.name} · {facts.protocol} · crop {facts.crop} · data {facts.fingerprint[:8]}"
    return LeaderboardTable(title=title, columns=columns, ranks=tuple(ranks))


def _columns(results: Sequence[Result]) -> tuple[str, ...]:
    """Return the metrics that any result has of the shown families, at their largest K and of some the smallest."""
    scored = {name for result in results for name, one in result.metrics.items() if one.mean is not None}
    columns: list[str] = []
    for family in _SHOWN:
        ks = sorted(parse(name).k for name in scored if name.partition("@")[0] == family)
        wanted = ks[:1] * (family in _AT_FIRST) + ks[-1:]
        columns += [f"{family}@{k}" for k in dict.fromkeys(wanted)]
    return tuple(columns)


def _rank(submission: Submission, results: Sequence[Result], columns: Sequence[str]) -> Rank:
    times = [time for result in results if result.cost.query_ms and (time := result.cost.query_ms.total_p50)]
    trained = [result.cost.train_s for result in results if result.cost.train_s is not None]
    return Rank(
        submission=submission,
        label=label(results[0]),
        scale=results[0].scale,
        seeds=len({tuple((name, one.mean) for name, one in result.metrics.items()) for result in results}),
        scores=tuple(_mean(results, name) for name in columns),
        single_ms=median(times) if times else None,
        train_s=median(trained) if trained else None,
        machine=machine_of(results[0]),
    )


def _mean(results: Sequence[Result], name: str) -> float | None:
    stated = [result.metrics.get(name) for result in results]
    values = [one.mean for one in stated if one is not None and one.mean is not None]
    return 100 * fmean(values) if values else None
