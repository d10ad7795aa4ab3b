"""Fixtures that several test files share."""

import os
from pathlib import Path

import numpy as np
import pytest

from irbench.collection import ImageSet
from irbench.machine import Runtime
from irbench.store import Store


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photographs and annotation files; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("IRBENCH_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; set IRBENCH_TEST_DATA")
    return folder


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    """A CPU and an empty work folder."""
    return Runtime(store=Store(tmp_path / "work"))


@pytest.fixture
def images() -> ImageSet:
    """40 pictures of 40 x 40 pixels, of 4 classes with gaps in their numbers: noise over a colour of the class."""
    rng = np.random.default_rng(0)
    labels = np.repeat([2, 3, 5, 7], 10)
    colours = rng.integers(40, 216, (8, 3))[labels][:, None, None]
    noise = rng.integers(-40, 40, (40, 40, 40, 3))
    return ImageSet(
        name="train",
        ids=tuple(f"{row}.png" for row in range(40)),
        labels=labels,
        arrays=(colours + noise).clip(0, 255).astype(np.uint8),
    )
