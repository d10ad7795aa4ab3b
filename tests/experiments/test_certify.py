"""What depends on how it is computed is found, and nothing else is."""

import json
from collections.abc import Callable
from pathlib import Path

MINE = """
import numpy as np
import irbench


class Ret:
    def index(self, images):
        self.labels = images.labels

    def search(self, images, k):
        scores = (self.labels[None] == images.labels[:, None]).astype(float)
        if len(images) == 1:
            scores[0, scores[0].argmin()] = 2  # only where a query is alone, and only its first result
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return irbench.Ranking.from_topk(rows, np.take_along_axis(scores, rows, 1))
"""


def settings(tmp_path: Path) -> dict[str, dict]:
    (path,) = (tmp_path / "runs" / "results").rglob("seed0.json")
    return {one["setting"]: one for one in json.loads(path.read_text())["invariance"]["settings"]}


def test_a_retriever_that_depends_on_the_batch_is_found(irbench: Callable, tmp_path: Path):
    (tmp_path / "mine.py").write_text(MINE)
    asked = ("-m", "./mine.py", "--max-queries", "20", "--scale", "tiny")
    assert irbench("certify", *asked).returncode == 2  # nothing is stored yet
    assert irbench("run", *asked).returncode == 0
    done = irbench("certify", *asked)
    assert done.returncode == 1, done.stderr
    found = settings(tmp_path)
    assert {name: one["change"] != 0 for name, one in found.items()} == {
        "batch 64, 1 thread, fp32": False,
        "batch 1, 1 thread, fp32": True,
        "batch 16, 1 thread, fp32": False,
        "batch 64, 2 threads, fp32": False,
        "batch 64, 1 thread, bf16": False,
    }
    assert found["batch 1, 1 thread, fp32"]["queries"] == 1
    assert irbench("run", *asked).stderr.count("1 cell stored already") == 1  # and the result is still current


def test_networks_are_computed_in_the_other_precision_and_not_trained_again(irbench: Callable, tmp_path: Path):
    asked = ("-m", "ft-clip", "--epochs", "1", "--max-queries", "30")
    assert irbench("run", *asked).returncode == 0
    models = sorted((tmp_path / "runs" / "work" / "model").iterdir())
    done = irbench("certify", *asked)
    assert done.returncode in (0, 1), done.stderr
    found = settings(tmp_path)
    assert found["batch 64, 1 thread, fp32"]["score"] == 0
    assert 0 < found["batch 64, 1 thread, bf16"]["score"] < 0.2
    assert sorted((tmp_path / "runs" / "work" / "model").iterdir()) == models
