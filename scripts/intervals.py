"""How often intervals cover known truths, and tests call equal methods different.

Scores of queries are drawn from a model with known chances: whether a query is answered depends on its class, on the
seed of the network, on both together and on the query itself, each with a normal effect on a latent scale (probit). Of
two equal methods, both have the effects of class and query, and each its own effects of the seed. One seed can say
nothing of others: there the truth is that of this network, without an effect of its seed.

    python scripts/intervals.py                 # the table of docs/metrics.md
    python scripts/intervals.py --draws 200     # a quick look
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.stats import norm

from irbench.metrics.significance import randomised
from irbench.metrics.uncertainty import interval, p_value

LAYOUTS = ((10, 90), (20, 30), (50, 8), (242, 8))  # classes, and queries of each
MEANS = (0.5, 0.8, 0.9, 0.98, 0.998)
SEEDS = (1, 2, 3, 5)
OF_CLASS, OF_SEED, OF_BOTH, OF_QUERY = 0.3, 0.02, 0.1, 0.5  # variances of the effects; that of chance is 1
HEADING = (
    "| Classes x queries | Seeds | Truth | Covered | by resampled queries | by resampled classes | Called different | "
    "by signs of queries |"
)

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """What is drawn."""

    classes: int
    queries: int  # of each class
    seeds: int
    mean: float

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class of each query."""
        return np.repeat(np.arange(self.classes), self.queries)

    def draw(self, rng: np.random.Generator, methods: int) -> Scores:
        """Return scores [methods,seeds,Q] of equal methods, 0 or 1."""
        shape = (methods, self.seeds, self.classes, self.queries)
        of_seed = OF_SEED if self.seeds > 1 else 0.0
        effects = (
            rng.normal(0, OF_CLASS**0.5, (1, 1, self.classes, 1))
            + rng.normal(0, OF_QUERY**0.5, (1, 1, self.classes, self.queries))
            + rng.normal(0, of_seed**0.5, (methods, self.seeds, 1, 1))
            + rng.normal(0, OF_BOTH**0.5, (methods, self.seeds, self.classes, 1))
        )
        spread = (1 + OF_CLASS + of_seed + OF_BOTH + OF_QUERY) ** 0.5
        chance = norm.cdf(norm.ppf(self.mean) * spread + effects)
        return (rng.random(shape) < chance).astype(float).reshape(methods, self.seeds, -1)


@dataclass(frozen=True)
class Found:
    """Shares of the draws."""

    covered: float  # by irbench's interval
    by_queries: float  # by the percentiles of resampled queries
    by_classes: float  # by the percentiles of resampled classes
    called: float  # different, by irbench's test
    called_by_queries: float  # by random signs of queries


def simulate(setting: Setting, draws: int, rng: np.random.Generator) -> Found:
    """Draw two equal methods so many times."""
    found = []
    for _ in range(draws):
        first, second = setting.draw(rng, 2)
        labels = setting.labels
        bounds = interval(first, labels)
        scores = first.mean(axis=0)
        difference = scores - second.mean(axis=0)
        by_class = scores.reshape(setting.classes, setting.queries).mean(axis=1)
        resampled = percentiles(scores, rng), percentiles(by_class, rng)
        held = [one is not None and one[0] <= setting.mean <= one[1] for one in (bounds, *resampled)]
        found.append(
            [*held, float(p_value(first - second, labels)) < 0.05, randomised(difference, resamples=999) <= 0.05]
        )
    return Found(*np.mean(found, axis=0).tolist())


def percentiles(scores: Scores, rng: np.random.Generator, resamples: int = 400) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of scores [N]."""
    drawn = scores[rng.integers(0, len(scores), (resamples, len(scores)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return low, high


def settings() -> Iterator[Setting]:
    """Yield the settings of the table."""
    for (classes, queries), seeds, mean in product(LAYOUTS, SEEDS, MEANS):
        yield Setting(classes, queries, seeds, mean)


def main(draws: Annotated[int, typer.Option(min=1)] = 1000) -> None:
    """Print the table, in Markdown and percent."""
    typer.echo(HEADING)
    typer.echo("|" + (HEADING.count("|") - 1) * "---|")
    rng = np.random.default_rng(0)
    for setting in settings():
        found = simulate(setting, draws, rng)
        shares = (found.covered, found.by_queries, found.by_classes, found.called, found.called_by_queries)
        layout = f"{setting.classes} x {setting.queries} | {setting.seeds} | {100 * setting.mean:g}"
        typer.echo(f"| {layout} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |")


if __name__ == "__main__":
    typer.run(main)
