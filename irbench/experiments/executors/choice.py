"""Which executor carries out a grid."""

from irbench.core.errors import UsageError, check_choice
from irbench.experiments.executors import Executor
from irbench.experiments.executors.cluster import Ray
from irbench.experiments.executors.local import Local

NAMES = ("local", "ray")


def choose(name: str, *, jobs: int = 1, address: str | None = None) -> Executor | None:
    """Return the executor of this name; None for one cell after the other, each from its beginning to its end."""
    check_choice("--executor", name, NAMES)
    if name == "ray":
        if jobs > 1:
            raise UsageError("--jobs: how many run at once is the Ray cluster's to decide", code="unused-option")
        return Ray(address)
    if address is not None:
        raise UsageError(f"--address {address}: this is for --executor ray", code="unused-option")
    if jobs == 1:
        return None
    return Local(jobs)
