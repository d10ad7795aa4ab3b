"""What a cell would cost, as far as it is known beforehand.

Best is what the same cell cost on this machine, with any seed: a stored result counts where its recipes, images, scale,
processor, GPU and precision are those of the cell. Else the cost of the same method at the same scale on another data
set is scaled: seconds of training with training images and epochs, those of encoding and indexing with the gallery,
memory by the bytes that each image takes in vectors and index. Without either, the cost is unknown. The bytes of
decoded images are counted.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from irbench.data.pixels import room
from irbench.experiments.experiment import Experiment
from irbench.experiments.plan import default_values
from irbench.results import files
from irbench.results.schema import Result
from irbench.runtime.environment import environment

_MACHINE = ("cpu", "gpu", "precision")  # of a result's environment: where they are equal, times are alike
_COPIES = 3  # of a gallery's vectors in memory while an index is built, beside the index, at most: ScaNN's
_BUFFERS = 200_000_000  # most bytes that k-means takes for itself, in Faiss's IVF-PQ
_FLOAT = 4  # bytes
_SIZES = {"backbone", "start", "image_size", "resize_size", "train_size", "num_layers", "width", "num_heads", "encoder"}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a cell would cost; None where that is not known."""

    cell: str
    seed: int | None = None  # of the result that says so
    scaled_from: str | None = None  # the cell of another data set whose cost was scaled
    but_for: tuple[str, ...] = ()  # keys of its recipes that are others there, and for which nothing is scaled
    seconds: float | None = None  # of training, encoding the gallery and indexing
    peak_host_bytes: int | None = None  # of indexing and search
    peak_device_bytes: int | None = None
    result_bytes: int | None = None  # of the files that are stored of a result: its scores, hits and ranking
    pixel_bytes: int | None = None  # of decoded images, which cells share
    pixels_fit: bool | None = None  # is there room for them on disk? Else they are decoded whenever they are needed
    missing_weights: tuple[str, ...] = ()  # pretrained networks whose weights are not on this machine


def estimate(experiment: Experiment) -> Estimate:
    """Return what is known of a cell's cost; nothing is computed, read from the hub or written."""
    blank = experiment.unfinished("skipped", "only its facts are asked")
    pixel_bytes = _pixel_bytes(experiment)
    runtime = experiment.runtime
    known = Estimate(
        cell=str(experiment.cell),
        missing_weights=tuple(_missing_weights(experiment)),
        pixel_bytes=pixel_bytes,
        pixels_fit=pixel_bytes <= room(runtime.store, runtime.pixel_bytes) if pixel_bytes else None,
    )
    if (found := _before(experiment, blank)) is not None:
        return replace(
            known,
            seed=found.seed,
            seconds=_seconds(found),
            peak_host_bytes=found.cost.peak_host_bytes,
            peak_device_bytes=found.cost.peak_device_bytes,
            result_bytes=_stored_bytes(found, experiment.settings.results, experiment.settings.work),
        )
    if (found := _elsewhere(experiment, blank)) is not None:
        return replace(
            known,
            seed=found.seed,
            scaled_from=f"{found.cell} on {found.dataset.name}",
            but_for=tuple(_differing(found, blank)),
            seconds=_scaled_seconds(found, blank),
            peak_host_bytes=_scaled_memory(found, blank),
        )
    return known


def _before(experiment: Experiment, blank: Result) -> Result | None:
    """Return the latest comparable result of the cell, with the same seed if there is one."""

    def comparable(result: Result) -> bool:
        same_recipes = (result.recipe_in_force, result.scale) == (blank.recipe_in_force, blank.scale)
        return same_recipes and result.dataset.fingerprint == blank.dataset.fingerprint

    folder = blank.path(experiment.settings.results).parent
    found = [one for one in _of_this_machine(experiment, folder.glob("seed*.json")) if comparable(one)]
    return max(found, key=lambda one: (one.seed == blank.seed, one.created), default=None)


def _elsewhere(experiment: Experiment, blank: Result) -> Result | None:
    """Return the result of the same method at the same scale on the largest other gallery."""

    def comparable(result: Result) -> bool:
        names = ("method", "search", "identifier", "scale", "overrides", "origin")
        alike = all(getattr(result, name) == getattr(blank, name) for name in names) and not _of_other_size(
            result, blank
        )
        mine, its = blank.dataset, result.dataset
        same_task = (its.protocol, its.incremental > 0) == (mine.protocol, mine.incremental > 0)
        return alike and same_task and not result.shortened

    places = experiment.settings.results.glob(f"*/{blank.method}*/seed*.json")
    found = [one for one in _of_this_machine(experiment, places) if comparable(one)]
    return max(found, key=lambda one: (one.dataset.gallery, one.created), default=None)


def _differing(result: Result, blank: Result) -> list[str]:
    """Return the keys for which the recipes of two results say different things; epochs are scaled."""
    then, now = dict(result.recipe_in_force), dict(blank.recipe_in_force)
    keys = [key for key in then | now if then.get(key) != now.get(key)]
    return [key for key in keys if key.rpartition(".")[2] != "epochs"]


def _of_other_size(result: Result, blank: Result) -> bool:
    """Do networks or images have another size there? Then neither time nor memory says anything of the cell."""
    return any(key.rpartition(".")[2] in _SIZES for key in _differing(result, blank))


def _of_this_machine(experiment: Experiment, paths: Iterator[Path]) -> Iterator[Result]:
    here = environment(experiment.runtime)
    for path in paths:
        result = files.find(path)
        if (
            result is not None
            and result.status == "ok"
            and all(result.environment.get(name) == here[name] for name in _MACHINE)
        ):
            yield result


def _seconds(result: Result) -> float:
    cost = result.cost
    return sum(part or 0 for part in (cost.train_s, cost.encode_gallery_s, cost.build_s, cost.add_s))


def _scaled_seconds(result: Result, blank: Result) -> float:
    """Return seconds in proportion to training images and epochs, and to gallery images."""
    cost, then, now = result.cost, result.dataset, blank.dataset
    of_tasks = [(seconds, _more_epochs(task, result, blank)) for task, seconds in _trained(result).items()]
    other = max(0.0, (cost.train_s or 0) - sum(seconds for seconds, _ in of_tasks))
    training = other + sum(seconds * ratio for seconds, ratio in of_tasks)
    indexing = sum(part or 0 for part in (cost.encode_gallery_s, cost.build_s, cost.add_s))
    return training * now.train / max(1, then.train) + indexing * now.gallery / max(1, then.gallery)


def _trained(result: Result) -> Mapping[str, float]:
    """Return the seconds of each task that was trained."""
    training = result.retriever.get("training")
    facts = training if isinstance(training, dict) else {}
    known = {task: one.get("seconds") for task, one in facts.items() if isinstance(one, dict)}
    return {task: float(seconds) for task, seconds in known.items() if isinstance(seconds, int | float)}


def _more_epochs(task: str, result: Result, blank: Result) -> float:
    """Return how many times as many epochs a task has here; an identifier's tokenizer has those of its recipe."""
    then, now = (_epochs(task, one) for one in (result, blank))
    return now / then if then and now else 1.0


def _epochs(task: str, result: Result) -> float | None:
    said = dict(result.recipe_in_force)
    keys = [f"{task}.epochs", *([f"{result.identifier}.epochs"] if task in {"tokenizer", "rqvae"} else [])]
    return next((float(json.loads(said[key])) for key in keys if key in said), None)


def _scaled_memory(result: Result, blank: Result) -> int | None:
    """Return the peak of memory with more vectors and a larger index; None where their dimensions are not known.

    It is a bound from above: libraries differ in what they copy (`irbench bench scale`).
    """
    dimensions, index = result.retriever.get("dimensions"), result.cost.index_bytes
    if not isinstance(dimensions, int) or index is None or result.cost.peak_host_bytes is None:
        return None
    each = _COPIES * _FLOAT * dimensions + index / max(1, result.dataset.gallery)  # bytes
    more = max(0, round(each * (blank.dataset.gallery - result.dataset.gallery)))
    return result.cost.peak_host_bytes + more + min(_BUFFERS, more)


def _pixel_bytes(experiment: Experiment) -> int | None:
    """Return the bytes of all images at the sizes that the cell's recipes decode them to; None where these are unknown.

    Sets that are equal are decoded once; those that merely begin alike are counted as if they shared nothing.
    """
    if experiment.runs_code_of_the_user or not experiment.portable or experiment.cell.origin != "recipe":
        return None
    benchmark = experiment.benchmark
    sets = {one.fingerprint: len(one) for one in (benchmark.train, benchmark.gallery, benchmark.queries)}
    if benchmark.gallery.vectors is not None:
        return None
    return sum(3 * side**2 for side in _sides(experiment)) * sum(sets.values())


def _sides(experiment: Experiment) -> set[int]:
    """Return the sides of squares, in pixels, to which the recipes of a cell have images decoded."""
    values = default_values(experiment.cell, experiment.objects)
    values |= {key: value for key, value in experiment.cell.overrides if key in values}
    recipes = {key.rpartition(".")[0] for key in values if key.rpartition(".")[2] == "image_size" and "." in key}
    sides = [values.get(f"{name}.resize_size") or values[f"{name}.image_size"] for name in recipes]
    return {side for side in sides if isinstance(side, int)}


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
