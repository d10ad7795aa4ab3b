"""The pairs that IRGen is trained on: an image, and the identifier of an image of its class."""

import numpy as np
import torch

from irbench.core.identifiers import Identifiers
from irbench.retrievers.irgen.autoregression import Targets


def test_targets_are_drawn_evenly_from_the_whole_class_and_from_no_other() -> None:
    labels = np.array([5, 2, 5, 9, 2, 5])
    codes = np.arange(6)[:, None].repeat(2, axis=1)  # an image's codes are its row
    targets = Targets(Identifiers(codes, 6), labels, "cpu")
    torch.manual_seed(0)
    rows = torch.tensor([0, 1, 3])
    drawn = targets.draw(rows, 3000)[:, 0].view(3, 3000).numpy()
    for row, found in zip(rows.tolist(), drawn, strict=True):
        classmates = np.flatnonzero(labels == labels[row])
        values, counts = np.unique(found, return_counts=True)
        assert values.tolist() == classmates.tolist()
        assert counts.min() > 0.85 * 3000 / len(classmates)
