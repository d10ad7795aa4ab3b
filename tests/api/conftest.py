"""An empty folder to work in, little to time, and digits."""

from pathlib import Path

import pytest

import irbench
from irbench.experiments import latency


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, and time little."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(latency, "SINGLES", 2)
    monkeypatch.setattr(latency, "BATCHED", 64)


@pytest.fixture(scope="module")
def digits() -> irbench.Benchmark:
    return irbench.load_dataset("digits")
