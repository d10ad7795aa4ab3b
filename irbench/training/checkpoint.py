"""Checkpoints: the whole state of a training, in one safetensors file."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from irbench.runtime.cache import flush

_NUMBER = re.compile(r"(?:os error|code:) ([0-9]+)")  # that of the system's error in a message of safetensors

Parts = Mapping[str, Mapping[str, Tensor]]  # "module", "optimizer" …: their tensors by name


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of the module's parameters and buffers, on the CPU."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state of each parameter, named "index.name"."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value.cpu().contiguous() for index, values in state.items() for name, value in values.items()
    }


def load_moments(optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    """Restore the state that `moments` returned, in the memory layout of the parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in saved.items():
        index, name = key.split(".")
        parameter = parameters[int(index)]
        state.setdefault(int(index), {})[name] = (
            torch.empty_like(parameter, device="cpu").copy_(value) if value.shape == parameter.shape else value
        )
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def write_tensors(values: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to a file of their own, never through a link; raises `OSError`, as for any other file."""
    path.unlink(missing_ok=True)
    try:
        save_file(dict(values), path, metadata=dict(metadata or {}) or None)
    except SafetensorError as error:
        if number := _NUMBER.search(str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        raise


@dataclass
class Progress:
    """The progress of a training."""

    losses: list[float] = field(default_factory=list)  # mean loss of each finished epoch
    validation: list[float] = field(default_factory=list)  # each validation loss
    frozen: list[float] = field(default_factory=list)  # mean loss of each epoch before these, with a frozen backbone
    step: int = 0  # finished batches of the current epoch
    seconds: float = 0.0  # so far, those of earlier processes included
    processes: list[int] = field(default_factory=list)  # how many trained together, one after the other

    @property
    def stale(self) -> int:
        """Number of validations since the best one."""
        return len(self.validation) - 1 - self.validation.index(min(self.validation)) if self.validation else 0


@dataclass(frozen=True)
class Checkpoint:
    """The latest state of a training, in a file that is replaced atomically."""

    path: Path

    def save(self, parts: Parts, progress: Progress) -> None:
        """Write the state; a crash at any time leaves either the old file or the new one."""
        flat = {f"{part}/{name}": value for part, named in parts.items() for name, value in named.items()}
        temporary = self.path.with_suffix(".new")
        write_tensors(flat, temporary, metadata={"progress": json.dumps(asdict(progress))})
        flush(temporary)
        temporary.replace(self.path)

    def load(self) -> tuple[Parts, Progress] | None:
        """Return the saved state; None if there is none, or the file is damaged: training then starts anew."""
        if not self.path.is_file():
            return None
        parts: dict[str, dict[str, Tensor]] = {}
        try:
            for key, value in load_file(self.path).items():
                part, _, name = key.partition("/")
                parts.setdefault(part, {})[name] = value
            with safe_open(self.path, framework="pt") as file:
                return parts, Progress(**json.loads(file.metadata()["progress"]))
        except (SafetensorError, ValueError, LookupError, TypeError):
            return None
