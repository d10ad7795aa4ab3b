"""Images of one's own against a retriever, on real digits."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits


@pytest.fixture
def digits(tmp_path: Path) -> list[Path]:
    """Two scans as a user's files, enlarged."""
    data = load_digits()
    paths = [tmp_path / f"scan of a {data.target[row]}.png" for row in (3, 100)]
    for path, row in zip(paths, (3, 100), strict=True):
        Image.fromarray((data.images[row] * 255 / 16).astype(np.uint8)).resize((64, 64)).save(path)
    return paths


def test_answers_name_the_gallery_image_its_class_and_score(irbench, digits: list[Path]) -> None:
    done = irbench("query", "--method", "pixels", "-k", "3", "--json", *map(str, digits), str(digits[0]))
    assert done.returncode == 0, done.stderr
    answered = json.loads(done.stdout)
    assert [Path(one["image"]).name for one in answered] == ["scan of a 3.png", "scan of a 4.png"]
    for one, label in zip(answered, (3, 4), strict=True):
        assert [hit["rank"] for hit in one["results"]] == [1, 2, 3]
        assert one["results"][0]["label"] == label
        assert sorted(hit["score"] for hit in one["results"])[::-1] == [a["score"] for a in one["results"]]
    said = irbench("query", "--method", "pixels", str(digits[0])).stdout
    assert answered[0]["results"][0]["image"] in said


def test_classes_of_own_images_have_their_names_and_too_few_answers_are_told(irbench, digits, tmp_path: Path) -> None:
    data = load_digits()
    for row in range(40):
        path = tmp_path / "own" / f"the {'abcdefghij'[data.target[row]]}s" / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((data.images[row] * 255 / 16).astype(np.uint8)).resize((64, 64)).save(path)
    asked = ("query", "--method", "pixels", "--dataset", str(tmp_path / "own"), "-k", "100", str(digits[0]))
    (one,) = json.loads(irbench(*asked, "--json").stdout)
    first = one["results"][0]
    assert first["class_name"] == Path(first["image"]).parent.name == "the ds"
    assert {hit["class_name"] for hit in one["results"]} == {f"the {letter}s" for letter in "abcdefghij"}
    assert (one["asked"], len(one["results"])) == (100, 28)  # of 3 to 6 images, every third is a query
    said = irbench(*asked).stdout
    assert "class the ds" in said
    assert "28 of the 100" in said


def test_files_that_cannot_be_read_are_skipped_on_request_and_named(irbench, digits, tmp_path: Path) -> None:
    (bad := tmp_path / "bad.png").write_bytes(b"no image")
    asked = ("query", "--method", "pixels", "-k", "2", "--on-bad-image", "skip", "--json")
    first, second = json.loads(irbench(*asked, str(bad), str(digits[0])).stdout)
    assert (first["results"], bool(first["skipped"])) == ([], True)
    assert (len(second["results"]), second["skipped"]) == (2, "")
    assert irbench(*asked, str(bad)).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["gone.png"], "no-such-file", "gone.png"),
        (["-m", "ft-clip", "--search", "linaer", __file__], "unknown-name", "'linear'"),
        (["-m", "pixels", __file__], "unreadable-image", __file__),
    ],
)
def test_what_cannot_be_asked_is_one_message(irbench, arguments: list[str], code: str, named: str) -> None:
    done = irbench("query", *arguments)
    assert done.returncode == 2
    assert f"[{code}]" in done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr
