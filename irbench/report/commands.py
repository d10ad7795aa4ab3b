"""The command that makes a stored result again."""

from irbench.config.recipes import SCALES, names
from irbench.results.schema import Result

_OF_RUN = {
    "decode": "--decode",
    "rerank": "--rerank",
    "epochs": "--epochs",
    "queries": "--max-queries",
    "crop": "--crop",
}
_ABLATIONS = {"num_codebooks": "length", "beam_size": "beam"}  # keys that an ablation sets, and its name


def command_of(result: Result) -> str:
    """Return the shortest command line that makes this result, without the folders that are a machine's own.

    A setting that only an ablation makes is made by the whole ablation of that method. Of a data set of one's own the
    path is not known: PATH stands for it, as RUN stands for the file of an imported ranking.
    """
    dataset = result.dataset.name if result.dataset.name in names("datasets") else "PATH"
    name = f"{result.method}+{result.search}" if result.search else result.method
    parts = [part for part in (result.variant or "").split(",") if part]
    if "imported" in parts:
        return f"irbench import RUN --method {result.method} --dataset {dataset}"
    ablation = _ablation(result, parts)
    options = ["ablate", ablation, "--method", name] if ablation else ["run", "--method", name]
    for part in parts:
        options += _option(part, result, ablated=bool(ablation))
    where = ["--dataset", dataset, "--seed", str(result.seed)]
    return " ".join(["irbench", *options, *where])


def _ablation(result: Result, parts: list[str]) -> str:
    """The ablation that makes the variant; none where `run` has an option for all of it."""
    keys = [part.partition("-")[0] for part in parts]
    if "incremental" in parts:
        return "fresh"
    named = [_ABLATIONS[key] for key in keys if key in _ABLATIONS]
    usual = {*_OF_RUN, *SCALES, "metric", result.identifier}
    set_otherwise = [part for part, key in zip(parts, keys, strict=True) if not {part, key} & usual]
    return named[0] if named else "index" if result.search and set_otherwise else ""


def _option(part: str, result: Result, *, ablated: bool) -> list[str]:
    """The words of the command line that set a part of the variant; none for what the ablation sets by itself."""
    key, _, value = part.partition("-")
    if part == result.identifier:
        return ["--identifier", part]
    if part in SCALES:
        return ["--scale", part]
    if part == "metric-learning":
        return ["--protocol", part]
    if key in _OF_RUN and value and not (ablated and key in ("decode", "rerank")):
        return [_OF_RUN[key], value]
    return []
