"""Metrics of one's own: a Python file `metrics/NAME.py` beside the recipes, with `METRIC = Metric(...)` in it.

The function of such a metric takes `Judged` and K, and returns a number for each query, as those in `retrieval` do.
A file in a folder `metrics` that assigns no METRIC is somebody else's and is not imported.
"""

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from irbench.core import pyfile
from irbench.core.errors import RecipeError
from irbench.metrics.retrieval import METRICS, PARTS, Metric

COSTS = (
    "cost",
    "latency",
    "search",
    "components",
    "setup",
    "training",
    "footprint",
)  # other tables, whose names no metric can have
BUILT_IN = dict(METRICS)  # with values between 0 and 1
_NAME = "METRIC"  # what a file of a metric assigns


def load(folders: Iterable[Path]) -> list[ModuleType]:
    """Add the metrics in `metrics` below these folders to METRICS, in place of those of an earlier call.

    Returns the modules that define them. A name that is taken, or a METRIC that is no `Metric`, is a `RecipeError`.
    """
    paths = {path.resolve(): path for folder in folders for path in sorted((folder / "metrics").glob("*.py"))}
    modules = [pyfile.load(path) for path in paths if _assigns_metric(path)]
    known = dict(BUILT_IN)
    for module in modules:
        metric = module.METRIC
        if not isinstance(metric, Metric):
            raise RecipeError(
                f"{module.__file__}: METRIC is a {type(metric).__name__}, not an irbench Metric", code="bad-metric"
            )
        _check(metric, str(module.__file__))
        if metric.name in known:
            raise RecipeError(
                f"{module.__file__}: there is a metric named '{metric.name}' already; choose another name",
                code="name-taken",
            )
        known[metric.name] = metric
    METRICS.clear()
    METRICS.update(known)
    return modules


def _check(metric: Metric, file: str) -> None:
    """Refuse a metric that could not be computed, stored or asked for."""
    wrong, name = "", str(metric.name)
    if name != metric.name or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        wrong = f"name {metric.name!r}: letters, digits and _ are needed, a letter first"
    elif metric.name in COSTS:
        wrong = f"'{metric.name}' is the name of a table of costs"
    elif not callable(getattr(metric, "function", None)):
        wrong = "its function cannot be called"
    elif metric.part not in {"", *PARTS}:
        wrong = f"part {metric.part!r} is none of {('', *PARTS)}"
    if wrong:
        raise RecipeError(f"{file}: METRIC: {wrong}", code="bad-metric")


def _assigns_metric(path: Path) -> bool:
    try:
        body = pyfile.parse(path).body
    except RecipeError:
        if _NAME.encode() in path.read_bytes():  # else it is somebody else's
            raise
        return False
    assigned = (node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)] for node in body)
    return any(isinstance(name, ast.Name) and name.id == _NAME for names in assigned for name in names)
