"""Encoders for one's own networks."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import UsageError
from irbench.core.names import checked_name
from irbench.runtime.progress import track

if TYPE_CHECKING:
    from PIL import Image


class TorchEncoder:
    """A PyTorch module as an encoder: [B,3,H,W] to one vector [B,D] for each image.

    Args:
        module: the network; it runs in evaluation mode, on the device and in the precision of its parameters.
        transform: from an RGB PIL image to a tensor [3,H,W], such as a pipeline of torchvision.transforms.v2.
        name: what it is called in results; by default the module's class.
        batch_size: images that run through the network at once.
    """

    def __init__(
        self, module: Any, transform: Callable[[Any], Any], *, name: str | None = None, batch_size: int = 64
    ) -> None:
        if not callable(transform):
            raise UsageError("transform: a function from a PIL image to a tensor is needed", code="bad-value")
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UsageError(f"batch_size={batch_size!r}: a whole number from 1 is needed", code="bad-value")
        if not (callable(module) and hasattr(module, "parameters")):
            raise UsageError(f"module: a torch.nn.Module is needed, not a {type(module).__name__}", code="bad-value")
        self.module, self.transform, self.batch_size = module, transform, batch_size
        self.name = type(module).__name__ if name is None else checked_name(name, "an encoder")

    def encode(self, images: "Sequence[Image.Image]") -> NDArray[np.float32]:
        """Return the vectors [N,D] of N images, flattened where the module returns more dimensions, as float32."""
        import torch

        weight = next(iter(self.module.parameters()), torch.empty(0))
        found, training = [], self.module.training
        self.module.eval()
        try:
            with torch.inference_mode():
                for start in track(range(0, len(images), self.batch_size), f"encode with {self.name}"):
                    batch = torch.stack([self.transform(image) for image in images[start : start + self.batch_size]])
                    vectors = self.module(batch.to(weight.device, weight.dtype))
                    found.append(vectors.float().flatten(1).cpu().numpy())
        finally:
            self.module.train(training)
        return np.concatenate(found)
