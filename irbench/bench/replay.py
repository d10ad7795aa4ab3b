"""CUDA graphs: a function's operations are recorded once and replayed without launching each from the host."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

T = TypeVar("T")  # a tensor, or a tuple of them


class Replayed(Generic[T]):
    """A function, replayed as one CUDA graph for each shape of its tensors and each value of its other arguments.

    The function has to launch the same operations every time and to copy no value to the host. Without a GPU it is
    called directly. Call it without gradients.
    """

    def __init__(self, function: Callable[..., T]) -> None:
        self._function = function
        self._graphs: dict[Hashable, Callable[..., T]] = {}

    def __call__(self, *arguments: object) -> T:
        """Return what the function returns."""
        tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
        if not all(tensor.is_cuda for tensor in tensors):
            return self._function(*arguments)
        key = (
            *((a.shape, a.dtype) if isinstance(a, Tensor) else a for a in arguments),
            torch.is_autocast_enabled("cuda"),
        )
        if key not in self._graphs:
            self._graphs[key] = self._captured(arguments)
        return self._graphs[key](*tensors)

    def _captured(self, arguments: tuple[object, ...]) -> Callable[..., T]:
        copies = [argument.clone() if isinstance(argument, Tensor) else argument for argument in arguments]
        inputs = [argument for argument in copies if isinstance(argument, Tensor)]
        warm_up = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        warm_up.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warm_up):  # libraries load and choose their kernels before the recording
            for _ in range(2):
                self._function(*copies)
        torch.cuda.current_stream().wait_stream(warm_up)
        torch.clear_autocast_cache()  # weights cast outside of the graph may be freed when it is replayed
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self._function(*copies)
        torch.clear_autocast_cache()

        def replay(*tensors: Tensor) -> T:
            for place, tensor in zip(inputs, tensors, strict=True):
                place.copy_(tensor)
            graph.replay()
            copied: T = tree_map(torch.clone, output)  # the next replay writes to the same place
            return copied

        return replay
