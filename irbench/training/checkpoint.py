"""A training that was stopped goes on from here: module, optimiser and history in one safetensors file."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from irbench.store import flush


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the module's parameters and buffers, each in memory of its own, on the CPU."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}


@dataclass
class Progress:
    """How far a training has come."""

    losses: list[float] = field(default_factory=list)  # mean loss of each finished epoch
    seconds: float = 0.0  # spent on these epochs, also by processes that were stopped


@dataclass(frozen=True)
class Checkpoint:
    """The last state of a training, in a file that is replaced as a whole."""

    path: Path

    def save(self, module: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Write the state after `len(progress.losses)` epochs."""
        state = {f"module/{name}": value for name, value in tensors(module).items()}
        for index, moments in optimizer.state_dict()["state"].items():
            state |= {f"optimizer/{index}/{name}": value.cpu().contiguous() for name, value in moments.items()}
        temporary = self.path.with_suffix(".new")
        save_file(state, temporary, metadata={"progress": json.dumps(asdict(progress))})
        flush(temporary)
        temporary.replace(self.path)

    def load(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
        """Put module and optimiser where they stopped and return how far that was; nowhere, if nothing was saved."""
        if not self.path.is_file():
            return Progress()
        state = load_file(self.path)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            if name.startswith("optimizer/"):
                _, index, what = name.split("/")
                moments.setdefault(int(index), {})[what] = tensor
        module.load_state_dict({n.removeprefix("module/"): t for n, t in state.items() if n.startswith("module/")})
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        with safe_open(self.path, framework="pt") as file:
            return Progress(**json.loads(file.metadata()["progress"]))
