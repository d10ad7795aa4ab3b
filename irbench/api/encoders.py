"""Encoders for one's own networks."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from irbench.runtime.progress import track

if TYPE_CHECKING:
    from PIL import Image


class TorchEncoder:
    """A PyTorch module as an encoder: [B,3,H,W] to one vector [B,D] for each image.

    Args:
        module: the network; it is put into evaluation mode, and runs on the device that its parameters are on.
        transform: from an RGB PIL image to a tensor [3,H,W], such as a pipeline of torchvision.transforms.v2.
        name: what it is called in results; by default the module's class.
        batch_size: images that run through the network at once.
    """

    def __init__(
        self, module: Any, transform: Callable[[Any], Any], *, name: str | None = None, batch_size: int = 64
    ) -> None:
        self.module, self.transform, self.batch_size = module, transform, batch_size
        self.name = name or type(module).__name__

    def encode(self, images: "Sequence[Image.Image]") -> NDArray[np.float32]:
        """Return the vectors [N,D] of N images, flattened where the module returns more dimensions, as float32."""
        import torch

        self.module.eval()
        device = next((p.device for p in self.module.parameters()), torch.device("cpu"))
        found = []
        with torch.inference_mode():
            for start in track(range(0, len(images), self.batch_size), f"encode with {self.name}"):
                batch = torch.stack([self.transform(image) for image in images[start : start + self.batch_size]])
                found.append(self.module(batch.to(device)).float().flatten(1).cpu().numpy())
        return np.concatenate(found)
