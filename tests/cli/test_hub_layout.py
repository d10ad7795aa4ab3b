"""The same images as Parquet files and as a folder: the same data set, and the same numbers."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

import irbench
from irbench.cli.main import app


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six hundred of scikit-learn's digits, in folders of classes and in two shards of a split."""
    monkeypatch.chdir(tmp_path)
    known = irbench.load_dataset("digits").gallery.take(slice(600))
    found = sorted(zip(known.labels.tolist(), known.ids, known.arrays, strict=True), key=lambda one: one[:2])
    contents = []
    for label, name, pixels in found:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        (tmp_path / f"folder/{label}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"folder/{label}/{name}.png").write_bytes(buffer.getvalue())
        contents.append({"bytes": buffer.getvalue(), "path": None})
    (tmp_path / "parquet/data").mkdir(parents=True)
    images = pa.array(contents, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    table = pa.table({"image": images, "label": [label for label, *_ in found]})
    for number, part in enumerate((table.slice(0, 350), table.slice(350))):
        pq.write_table(part, tmp_path / f"parquet/data/train-{number:05}-of-00002.parquet", row_group_size=100)
    return tmp_path


def carried_out(*command: str) -> str:
    done = CliRunner().invoke(app, list(command))
    assert done.exit_code == 0, done.output
    return done.stdout


def test_parquet_files_score_as_a_folder_does(digits: Path) -> None:
    stored = {}
    for name in ("folder", "parquet"):
        carried_out("run", "--dataset", f"./{name}", "--method", "pixels+linear", "--results", f"of-{name}")
        stored[name] = json.loads((digits / f"of-{name}/{name}/pixels+linear/seed0.json").read_text())
    assert stored["folder"]["metrics"] == stored["parquet"]["metrics"]
    for fact in ("fingerprint", "collection", "train", "gallery", "queries", "classes"):
        assert stored["folder"]["dataset"][fact] == stored["parquet"]["dataset"][fact]
    for named in ("./parquet", "parquet"):  # by the path of the Parquet files, and by the name of the results
        assert "pixels+linear" in carried_out("table", "--dataset", named, "--results", "of-parquet")
    facts = json.loads(carried_out("data", "info", "./parquet", "--json"))
    assert facts["files"] == {"listed": 600, "missing": 0}
    assert facts["fingerprint"] == stored["parquet"]["dataset"]["fingerprint"]
    assert irbench.load_dataset("./parquet").fingerprint == facts["fingerprint"]
    assert "no problems" in carried_out("data", "verify", "./parquet")
