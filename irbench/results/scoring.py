"""From the judged results of a ranking to the metrics of a result."""

from collections.abc import Mapping

from irbench.metrics import retrieval
from irbench.metrics.retrieval import Judged, Scope
from irbench.metrics.significance import intervals
from irbench.results.schema import Estimate


def estimates(judged: Mapping[str, Judged], scope: Scope) -> dict[str, Estimate]:
    """Return every metric that is known, with its interval or the reason why there is none."""
    names = retrieval.names(scope)
    values, unscored = retrieval.score_judged(judged, names, scope)
    bounds: dict[str, tuple[float, float]] = {}
    for size in {len(scores) for scores in values.values()}:  # metrics of a part may have fewer queries
        bounds |= intervals({name: scores for name, scores in values.items() if len(scores) == size})
    return {
        name: Estimate(mean=float(values[name].mean()), ci95=bounds[name])
        if name in values
        else Estimate(mean=None, reason=unscored[name])
        for name in names
    }
