"""A training that was stopped goes on from here: module, optimiser and history in one safetensors file."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from irbench.store import flush


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the module's parameters and buffers, each in memory of its own, on the CPU."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}


@dataclass(frozen=True)
class Checkpoint:
    """The last state of a training, in a file that is replaced as a whole."""

    path: Path

    def save(self, module: nn.Module, optimizer: torch.optim.Optimizer, history: list[float]) -> None:
        """Write the state after `len(history)` epochs."""
        state = {f"module/{name}": value for name, value in tensors(module).items()}
        for index, moments in optimizer.state_dict()["state"].items():
            state |= {f"optimizer/{index}/{name}": value.cpu().contiguous() for name, value in moments.items()}
        temporary = self.path.with_suffix(".new")
        save_file(state, temporary, metadata={"history": json.dumps(history)})
        flush(temporary)
        temporary.replace(self.path)

    def load(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> list[float]:
        """Put module and optimiser where they stopped and return the history; empty where nothing was saved."""
        if not self.path.is_file():
            return []
        state = load_file(self.path)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            if name.startswith("optimizer/"):
                _, index, what = name.split("/")
                moments.setdefault(int(index), {})[what] = tensor
        module.load_state_dict({n.removeprefix("module/"): t for n, t in state.items() if n.startswith("module/")})
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        with safe_open(self.path, framework="pt") as file:
            history: list[float] = json.loads(file.metadata()["history"])
        return history
