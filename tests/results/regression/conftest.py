"""Fixtures for checks of made-up results."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toy_results import Folders

from irbench.metrics.retrieval import Judged


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


@pytest.fixture
def drop_best() -> Callable[[Judged, float], Judged]:
    """Take the best answer away from a share of the queries; those below it move up."""

    def drop(judged: Judged, share: float) -> Judged:
        spoilt = np.random.default_rng(7).permutation(len(judged.hits)) < share * len(judged.hits)
        moved = np.pad(judged.hits[:, 1:], ((0, 0), (0, 1)))
        return Judged(np.where(spoilt[:, None], moved, judged.hits), judged.positives)

    return drop
