"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest

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
