"""The choice of a learning rate by short trials on the training set, never on the queries.

At the recipe's `lr`, and at that divided and multiplied by `lr_factor`, the network is trained for `lr_epochs` epochs
after those with a frozen backbone, in one cycle of the schedule, without a share of the training images. The rate with
the least loss on those images is then used on all of them.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from irbench.core.errors import RecipeError
from irbench.runtime.cache import write_atomically
from irbench.training.checkpoint import tensors
from irbench.training.config import TrainingConfig
from irbench.training.parallel import current

if TYPE_CHECKING:
    from irbench.training.loop import Task


@dataclass(frozen=True)
class Trial:
    """A short training at one rate."""

    lr: float
    loss: float | None  # on the held-out images; None: it diverged
    seconds: float  # those of earlier processes included


def choose_rate(
    task: "Task", config: TrainingConfig, folder: Path, train: Callable[[TrainingConfig, str], tuple[float, float]]
) -> tuple[TrainingConfig, list[Trial], float]:
    """Return the config with the best of its rates, a trial for each, and the seconds that earlier processes took.

    `train` trains the task, under a name of its own, and returns its loss on the held-out images and the seconds that
    earlier processes took. The task is left as it was before. Finished trials are kept in `folder`, for a training that
    was killed. Raises `RecipeError` where training diverges at every rate.
    """
    if config.lr_factor == 1:
        return config, [], 0.0
    rates = (config.lr / config.lr_factor, config.lr, config.lr * config.lr_factor)
    known = folder / "rates.json"
    trials = [Trial(**one) for one in json.loads(known.read_text())] if known.is_file() else []
    earlier = sum(trial.seconds for trial in trials)
    module, state = tensors(task.module), {name: value.clone() for name, value in task.state().items()}
    short = replace(
        config,
        lr_factor=1.0,
        epochs=config.lr_epochs,
        cycle_epochs=0,
        cycles=1,
        validation_share=config.lr_share,
        patience=0,
    )
    for lr in rates[len(trials) :]:
        start = perf_counter()
        loss, before = _loss(replace(short, lr=lr, validate_every=config.lr_epochs), f"lr {lr:g}", train)
        earlier += before
        trials.append(Trial(lr, loss, before + perf_counter() - start))
        if current().first:
            write_atomically(known, json.dumps([asdict(trial) for trial in trials]))
        task.module.load_state_dict(module)
        task.load_state(state)
    losses = {trial.loss: trial.lr for trial in trials if trial.loss is not None}
    if not losses:
        raise RecipeError(
            f"training of {task.name} diverged at each rate that was tried; lower lr in its recipe", code="diverged"
        )
    return replace(config, lr_factor=1.0, lr=losses[min(losses)]), trials, earlier


def _loss(
    config: TrainingConfig, name: str, train: Callable[[TrainingConfig, str], tuple[float, float]]
) -> tuple[float | None, float]:
    try:
        return train(config, name)
    except RecipeError as error:
        if error.code != "diverged":
            raise
        return None, 0.0
