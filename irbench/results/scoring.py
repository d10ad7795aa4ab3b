"""From a ranking to the metrics of a result: scored once, here, whoever asks."""

from irbench.core.benchmark import Benchmark
from irbench.core.ranking import Ranking
from irbench.metrics import retrieval
from irbench.metrics.significance import intervals
from irbench.results.schema import Estimate


def estimates(ranking: Ranking, benchmark: Benchmark) -> dict[str, Estimate]:
    """Return every metric of a ranking, with its interval or the reason why there is none."""
    names = retrieval.names(benchmark)
    scores = retrieval.score(ranking, benchmark, names)
    means = scores.means
    bounds: dict[str, tuple[float, float]] = {}
    for asked in {len(values) for values in scores.values.values()}:  # metrics of a part may have fewer queries
        bounds |= intervals({name: values for name, values in scores.values.items() if len(values) == asked})
    return {
        name: Estimate(mean=float(means[name]), ci95=bounds[name])
        if name in means
        else Estimate(mean=None, reason=scores.unscored[name])
        for name in names
    }
