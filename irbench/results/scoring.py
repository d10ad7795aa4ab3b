"""From the judged results of a ranking to the metrics of a result."""

from collections.abc import Mapping

from irbench.metrics import retrieval
from irbench.metrics.retrieval import Judged, Scope, Values, parse
from irbench.metrics.uncertainty import interval
from irbench.results.schema import Estimate


def estimates(judged: Mapping[str, Judged], scope: Scope) -> dict[str, Estimate]:
    """Return every metric that is known, with its interval or the reason why there is none."""
    names = retrieval.names(scope)
    values, unscored = retrieval.score_judged(judged, names, scope)
    return {
        name: _estimate(name, values[name], judged) if name in values else Estimate(mean=None, reason=unscored[name])
        for name in names
    }


def _estimate(name: str, values: Values, judged: Mapping[str, Judged]) -> Estimate:
    measure = parse(name)
    part = measure.of(judged)
    return Estimate(mean=float(values.mean()), ci95=interval(values, part.classes), short=part.short(measure.k))
