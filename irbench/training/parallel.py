"""One model trained by several processes: what each computes of a batch, and what they exchange.

A step computes what one process would: random numbers are drawn for the whole batch, of which each process computes
its rows, and the mean of their gradients is that of the batch. Shape letters: B images of the whole batch, b of a part.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from irbench.core.errors import ContractError, IrbenchError, RecipeError, StoreError
from irbench.runtime.cache import Entry, Key, Store
from irbench.runtime.together import ALONE, OtherFailed, Together

if TYPE_CHECKING:
    from irbench.training.loop import Task

_PATIENCE = timedelta(minutes=10)  # with another process in the middle of a step
_GRACE_S = 10.0  # for the reason of a process that is gone
Rows = TypeVar("Rows", Tensor, NDArray[Any])

_current: ContextVar[Together] = ContextVar("together", default=ALONE)


def current() -> Together:
    """Return this process among those that train together now."""
    return _current.get()


@contextmanager
def taking_part(together: Together) -> Iterator[None]:
    """Train together with the other processes in the block; where one of them fails, all end.

    Raises `OtherFailed` with its reason where that was another one.
    """
    if together.alone:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    token = _current.set(together)
    try:
        yield
    except OtherFailed:
        raise
    except BaseException as error:
        _fail(together, error)
        raise
    finally:
        _current.reset(token)
        _disconnect()


def _fail(together: Together, error: BaseException) -> None:
    """Tell the others why this process ends; `OtherFailed` where it ends because another one did."""
    deadline = monotonic() + _GRACE_S
    while _is_lost(error) and together.failure is None and monotonic() < deadline:
        sleep(0.1)
    together.fail(f"{error}" if isinstance(error, IrbenchError) else f"{type(error).__name__}: {error}")
    rank, reason = together.failure or (together.rank, "")
    if rank != together.rank and not isinstance(error, IrbenchError):  # which all raise alike
        raise OtherFailed(together.told(rank, reason)) from error


def _is_lost(error: BaseException) -> bool:
    """Is it what the exchange with another process raises when that has gone?"""
    return isinstance(error, torch.distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def ensure(store: Store, key: Key, make: Callable[[Path], float], *, device: str) -> Entry:
    """Return the entry of a model, which all processes make together where it is not there; the first one stores it.

    Only that one holds the store's lock: the others wait for its word.
    """
    together = current()
    if together.first:

        def announced(folder: Path) -> float:
            together.say(f"make {key.digest}")
            _connect(together, device)
            return make(folder)

        entry = store.ensure(key, make if together.alone else announced, span="train")
        together.say(f"there {key.digest}")
        return entry
    word = together.hear()
    if word == f"make {key.digest}":
        _connect(together, device)
        with TemporaryDirectory() as folder:
            make(Path(folder))
        word = together.hear()
    if word != f"there {key.digest}":
        raise ContractError(
            "this process would train another network than the first one does: code, recipes, images and kind of "
            "device have to be the same everywhere",
            code="processes-differ",
        )
    found = store.find(key)
    if found is None:
        raise StoreError(f"{store.root} does not hold what the first process has stored in its own: name a folder that "
                         "all machines see (--work)", code="not-shared")  # fmt: skip
    return found


def _connect(together: Together, device: str) -> None:
    """Open what networks exchange tensors by, once for all trainings of a cell."""
    if not torch.distributed.is_initialized():
        together.meet()
        torch.distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
            store=together.store(),
            rank=together.rank,
            world_size=together.world,
            timeout=_PATIENCE,
        )


def _disconnect() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@dataclass(frozen=True)
class Part:
    """The rows of a batch that this process computes: `start` to `end` of `total`; of `ALL` every row."""

    start: int = 0
    end: int = 0
    total: int = 0
    world: int = 1

    @classmethod
    def of(cls, total: int) -> "Part":
        """Return this process's part of a batch; `RecipeError` where not every process gets a row."""
        together = current()
        if together.alone:
            return ALL
        if total < together.world:
            raise RecipeError(
                f"a batch of {total} images cannot be shared by {together.world} processes; start fewer",
                code="too-few-images",
            )
        start, end = (total * rank // together.world for rank in (together.rank, together.rank + 1))
        return cls(start, end, total, together.world)

    @property
    def rows(self) -> slice:
        """Its place in the batch."""
        return slice(None) if self.world == 1 else slice(self.start, self.end)

    @property
    def weight(self) -> float:
        """By which a mean over its rows is multiplied, so that the mean over the processes is that of the batch."""
        return 1.0 if self.world == 1 else (self.end - self.start) * self.world / self.total

    def size(self, images: Tensor) -> int:
        """Return how many images the whole batch has; `images` are those of the part."""
        return len(images) if self.world == 1 else self.total

    def gather(self, values: Tensor) -> Tensor:
        """Return the values [B,…] of the whole batch, given those [b,…] of the part.

        A loss of all of them has to be computed by every process. The gradient of a value is the sum of theirs.
        """
        if self.world == 1:
            return values
        return cast("Tensor", _Gathered.apply(values, self))


ALL = Part()


class _Gathered(torch.autograd.Function):
    """The sum over the processes of batches that are zero but for their own rows."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, part: Part) -> Tensor:
        ctx.part = part
        whole = values.new_zeros((part.total, *values.shape[1:]))
        whole[part.rows] = values
        torch.distributed.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        whole = gradients[0].contiguous().clone()
        torch.distributed.all_reduce(whole)
        return whole[ctx.part.rows], None


class Loss(nn.Module):
    """The loss of a task's batch, or what a part of it adds to the mean over the processes."""

    def __init__(self, task: "Task") -> None:
        super().__init__()
        self.task, self.module = task, task.module

    def forward(self, images: Tensor, rows: Tensor, part: Part) -> Tensor:
        """Return the loss of images [b,3,S,S], which are `rows` [b] of the training set."""
        self.task.part = part
        try:
            loss = self.task.loss(images, rows)
        finally:
            self.task.part = ALL
        return loss if self.task.gathers or part.world == 1 else part.weight * loss


def shared(loss: Loss) -> nn.Module:
    """Return the loss with gradients that are their mean over the processes, which start from the first one's state."""
    if current().alone:
        return loss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the argument's new name is not known to older versions
        return nn.parallel.DistributedDataParallel(loss, broadcast_buffers=False, find_unused_parameters=True)


def mean(value: Tensor) -> Tensor:
    """Return the mean of a number over the processes."""
    if current().alone:
        return value
    value = value / current().world
    torch.distributed.all_reduce(value)
    return value


def of_first(number: float, device: str) -> float:
    """Return the first process's number."""
    if current().alone:
        return number
    value = torch.tensor(number, dtype=torch.float64, device=device)
    torch.distributed.broadcast(value, src=0)
    return float(value)


def agree(place: Sequence[int], device: str) -> None:
    """Find out whether all processes go on from the same place of a training."""
    if current().alone:
        return
    first = torch.tensor(place, device=device)
    torch.distributed.broadcast(first, src=0)
    if first.tolist() != list(place):
        raise StoreError(f"this process reads another checkpoint ({place}) than the first one ({first.tolist()}): "
                         "name a folder that all machines see (--work)", code="not-shared")  # fmt: skip


def equalize(module: nn.Module) -> None:
    """Set all buffers to the first process's: statistics of batches, or what numerical noise could tell apart."""
    if not current().alone:
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, src=0)


def depends_on_processes(task: "Task", device: str) -> bool:
    """Would this task train another network in another number of processes? Its module is set to training mode.

    So it is with dropout, which is drawn for each part, and on a CPU with batch norms, whose statistics are a part's.
    """
    task.module.train()
    return is_noisy(task.module) or (device == "cpu" and bool(_batch_norms(task)))


def is_noisy(module: nn.Module) -> bool:
    """Does a network in training mode draw random numbers, as dropout does?"""
    return any(
        bool(getattr(one, "drop_prob", 0.0)) or (isinstance(one, _DropoutNd) and one.p > 0)
        for one in module.modules()
        if one.training
    )


def _batch_norms(task: "Task") -> list[tuple[nn.Module, str, nn.Module]]:
    """Return the batch norms that learn from a part of a batch, each with its owner and its name there."""
    return [
        (owner, name, child)
        for owner in task.on_parts.modules()
        for name, child in owner.named_children()
        if isinstance(child, _BatchNorm) and child.training
    ]


def synchronize_statistics(task: "Task", device: str) -> None:
    """Let batch norms on GPUs use the statistics of the whole batch."""
    if current().alone or device == "cpu":
        return
    from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]

    task.module.train()
    for owner, name, child in _batch_norms(task):
        setattr(owner, name, convert_sync_batchnorm(child))  # type: ignore[no-untyped-call]
