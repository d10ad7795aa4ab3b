"""What a cell would cost, as far as it is known beforehand: what the same cell cost on this machine, with any seed.

Nothing is extrapolated. A stored result counts where its recipes, images, scale, processor, GPU and precision are those
of the cell; without one the cost is unknown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from irbench.experiments.plan import default_values
from irbench.experiments.run import Experiment
from irbench.results import files
from irbench.results.schema import Result
from irbench.runtime.environment import environment

_MACHINE = ("cpu", "gpu", "precision")  # of a result's environment: where they are equal, times are alike


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a cell cost before; all None where that is not known."""

    cell: str
    seed: int | None = None  # of the result that says so
    seconds: float | None = None  # of training, encoding the gallery and indexing
    peak_host_bytes: int | None = None  # of indexing and search
    peak_device_bytes: int | None = None
    result_bytes: int | None = None  # of the files that are stored of a result: its scores, hits and ranking
    missing_weights: tuple[str, ...] = ()  # pretrained networks whose weights are not on this machine


def estimate(experiment: Experiment) -> Estimate:
    """Return what is known of a cell's cost; nothing is computed, read from the hub or written."""
    found = _before(experiment)
    missing = tuple(_missing_weights(experiment))
    if found is None:
        return Estimate(cell=str(experiment.cell), missing_weights=missing)
    cost = found.cost
    parts = (cost.train_s, cost.encode_gallery_s, cost.build_s, cost.add_s)
    return Estimate(
        cell=str(experiment.cell),
        seed=found.seed,
        seconds=sum(part for part in parts if part is not None),
        peak_host_bytes=cost.peak_host_bytes,
        peak_device_bytes=cost.peak_device_bytes,
        result_bytes=_stored_bytes(found, experiment.settings.results, experiment.settings.work),
        missing_weights=missing,
    )


def _before(experiment: Experiment) -> Result | None:
    """Return the latest comparable result of the cell, with the same seed if there is one."""
    blank = experiment.unfinished("skipped", "only its facts are asked")
    here = environment(experiment.runtime)

    def comparable(result: Result | None) -> bool:
        return (
            result is not None
            and result.status == "ok"
            and (result.recipe_in_force, result.scale) == (blank.recipe_in_force, blank.scale)
            and result.dataset.fingerprint == blank.dataset.fingerprint
            and all(result.environment.get(name) == here[name] for name in _MACHINE)
        )

    folder = blank.path(experiment.settings.results).parent
    found = [one for path in folder.glob("seed*.json") if comparable(one := files.find(path)) and one is not None]
    return max(found, key=lambda one: (one.seed == blank.seed, one.created), default=None)


def _stored_bytes(result: Result, results: Path, work: Path) -> int | None:
    """Return the bytes of a result's files; None where one of them is gone."""
    place = result.path(results)
    paths = [place]
    if result.hits is not None:
        paths.append(place.parent / result.hits.file)
    if result.ranking is not None:
        paths.append(work / "rankings" / result.ranking.file)
    return sum(path.stat().st_size for path in paths) if all(path.is_file() for path in paths) else None


def _missing_weights(experiment: Experiment) -> Iterator[str]:
    """Yield the pretrained networks that the recipes of a cell name and whose weights are not on this machine."""
    if experiment.runs_code_of_the_user or not experiment.portable:
        return  # nothing of it is imported to find out
    values, asked = default_values(experiment.cell, experiment.objects), dict(experiment.cell.overrides)
    keys = [key for key in values if key.endswith(".backbone")]
    named = {str(asked.get(key, asked.get("backbone", values[key]))) for key in keys}
    pretrained = sorted(name for name in named if "." in name)
    if pretrained:
        from irbench.networks.weights import at_hand

        yield from (name for name in pretrained if not at_hand(name, experiment.settings.weight_files))


def missing_weights(estimates: Sequence[Estimate]) -> dict[str, list[str]]:
    """Return which cells need which weights that are not on this machine."""
    names = sorted({name for one in estimates for name in one.missing_weights})
    return {name: [one.cell for one in estimates if name in one.missing_weights] for name in names}
