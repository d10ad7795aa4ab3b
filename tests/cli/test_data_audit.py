"""`irbench data audit` on the user's folder, and what its results score without the queries that have a copy."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import irbench
from irbench.cli.main import app


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes; the first query of each is in the gallery, saved again."""
    monkeypatch.chdir(tmp_path)
    for label in range(2):
        for number in range(12):
            rng = np.random.default_rng(100 * label + number)
            image = Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)).resize((64, 64))
            split = "query" if number < 4 else "gallery"
            path = tmp_path / "photos" / split / f"class{label}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
        Image.open(tmp_path / "photos" / "query" / f"class{label}" / "0.png").save(
            tmp_path / "photos" / "gallery" / f"class{label}" / "again.jpg", quality=70
        )
    return tmp_path


def carried_out(*command: str) -> str:
    done = CliRunner().invoke(app, list(command))
    assert done.exit_code == 0, done.output
    return done.stdout


def test_what_is_found_and_what_results_score_without_it(photos: Path) -> None:
    carried_out("run", "--dataset", "photos", "--method", "pixels+linear")
    found = json.loads(carried_out("data", "audit", "photos", "--json", "--out", "audit"))
    assert found["queries"] == [0, 4]
    assert {tuple(pair["images"]) for pair in found["pairs"]} == {
        (f"query/class{label}/0.png", f"gallery/class{label}/again.jpg") for label in range(2)
    }
    benchmark = irbench.load_dataset("photos")
    result = irbench.evaluate("pixels+linear", benchmark, progress=False)
    effects = {one["metric"]: one for one in found["effects"]}
    assert effects["precision@1"]["before"] == pytest.approx(result.metrics["precision@1"].mean)
    rest = irbench.evaluate("pixels+linear", benchmark.take(np.array([1, 2, 3, 5, 6, 7]), name="rest"), progress=False)
    for name in ("precision@1", "precision@8", "mrr@8", "ndcg@4"):
        assert effects[name]["after"] == pytest.approx(rest.metrics[name].mean), name
        assert effects[name]["left_out"] == 2
    by_features = json.loads(carried_out("data", "audit", "photos", "--json", "--method", "pixels"))
    assert {0, 4} <= set(by_features["queries"])
    page = (photos / "audit" / "index.html").read_text()
    assert page.count("data:image/jpeg") == 4
    carried_out("data", "audit", "photos", "--out", "audit")  # its own page is replaced
    assert "again.jpg" in page
    assert "precision@1" in carried_out("data", "audit", "photos")


def test_a_page_of_somebody_else_is_not_replaced(photos: Path) -> None:
    (photos / "mine").mkdir()
    (photos / "mine" / "index.html").write_text("<h1>My thesis</h1>")
    (photos / "other" / "index.html").mkdir(parents=True)
    for out in ("mine", "other"):
        failed = CliRunner().invoke(app, ["data", "audit", "photos", "--out", out])
        assert (failed.exception.code, failed.stdout) == ("not-empty", "")
    assert (photos / "mine" / "index.html").read_text() == "<h1>My thesis</h1>"
