"""Images of one's own are known by what they show: in another folder the same, under the same names others."""

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irbench.experiments.images import read_datasets_again

RUN = ("run", "--method", "pixels+linear", "--scale", "tiny", "--dataset")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of six pictures, as a folder of folders."""
    rng = np.random.default_rng(0)
    for label, brightness in enumerate((0, 60, 150)):
        (tmp_path / f"photos/class{label}").mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(brightness, brightness + 90, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"photos/class{label}/{number}.png", compress_level=0)
    return tmp_path / "photos"


def exchanged(one: Path, other: Path) -> None:
    """Give two files of one size each other's content; size and time of modification stay."""
    times = [path.stat() for path in (one, other)]
    contents = one.read_bytes(), other.read_bytes()
    for path, content, facts in zip((other, one), contents, times[::-1], strict=True):
        path.write_bytes(content)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def facts_of(results: Path) -> dict[str, dict]:
    return {path.parts[-3]: json.loads(path.read_text())["dataset"] for path in results.glob("*/*/seed0.json")}


def test_pictures_that_are_replaced_under_their_names_are_another_data_set(irbench: Callable, photos: Path) -> None:
    assert irbench(*RUN, "./photos").returncode == 0
    before = facts_of(Path("runs/results"))["photos"]
    exchanged(photos / "class0/1.png", photos / "class2/1.png")
    again = irbench(*RUN, "photos")
    assert again.returncode == 0
    found = facts_of(Path("runs/results"))
    (other,) = found.keys() - {"photos"}
    (hint,) = re.findall("irbench (table .*)$", again.stderr, re.MULTILINE)
    assert re.findall("data ([0-9a-f]{8})", irbench(*shlex.split(hint)).stdout) == [found[other]["fingerprint"][:8]]
    assert other == f"photos-{found[other]['collection'][:6]}"
    assert found["photos"] == before
    assert found[other]["manifest"] == before["manifest"]
    assert found[other]["fingerprint"] != before["fingerprint"]
    assert len(re.findall("data [0-9a-f]{8}", irbench("table").stdout)) == 2
    new = found[other]["fingerprint"][:8]
    for path in ("photos", "./photos"):  # means the images that are there
        assert re.findall("data ([0-9a-f]{8})", irbench("table", "--dataset", path).stdout) == [new]
    exchanged(photos / "class0/2.png", photos / "class2/2.png")  # about which there is no result
    by_name, by_path = (irbench("table", "--dataset", path) for path in ("photos", "./photos"))
    assert (by_name.returncode, by_name.stderr.count("photos' in")) == (0, 1)
    assert (by_path.returncode, "[other-data]" in by_path.stderr) == (2, True)
    exchanged(photos / "class0/2.png", photos / "class2/2.png")
    exchanged(photos / "class0/1.png", photos / "class2/1.png")  # as it was: what is stored is found again
    again = irbench(*RUN, "./photos", "--dry-run")
    assert "stored already" in again.stderr
    assert "1. pixels" not in again.stderr


def test_the_same_images_elsewhere_are_the_same_data_set(irbench: Callable, photos: Path) -> None:
    assert irbench(*RUN, "./photos").returncode == 0
    shutil.copytree(photos, "elsewhere/photos", copy_function=shutil.copyfile)
    assert irbench(*RUN, "./elsewhere/photos", "--results", "new").returncode == 0
    one, other = (facts_of(Path(root))["photos"] for root in ("runs/results", "new"))
    assert one == other | {"path": one["path"]}
    assert one["path"] == "../../photos"
    assert other["path"] == "../elsewhere/photos"
    Path("elsewhere/photos").rename("elsewhere/pictures")  # and under another name
    again = irbench(*RUN, "./elsewhere/pictures", "--results", "new", "--seed", "1")
    assert again.returncode == 0
    assert "elsewhere/pictures is 'photos' in new" in again.stderr  # no name is guessed in silence
    assert irbench(*RUN, "./elsewhere/pictures", "--results", "newer").returncode == 0
    assert [path.name for path in Path("new").iterdir()] == ["photos"]
    checked = irbench("check", "--results", "newer", "--baseline", "runs/results", "--format", "json")
    assert [cell["dataset"] for cell in json.loads(checked.stdout)["cells"]] == ["photos"]
    assert checked.returncode == 0, checked.stderr


def test_lists_that_differ_in_boxes_are_two_data_sets(irbench: Callable, photos: Path) -> None:
    ids = sorted(f"photos/{path.relative_to(photos)}" for path in photos.rglob("*.png"))
    for folder, corner in (("one", 12), ("two", 20)):
        Path(folder).mkdir()
        rows = [f"../{id_},{Path(id_).parent.name},{split},0,0,{corner},{corner}" for id_ in ids
                for split in (("query",) if "/5." in id_ else ("train", "gallery"))]  # fmt: skip
        Path(folder, "list.csv").write_text("\n".join(["path,label,split,x1,y1,x2,y2", *rows]) + "\n")
        assert irbench(*RUN, f"{folder}/list.csv", "--crop", "bbox").returncode == 0
    assert irbench(*RUN, "one/list.csv").returncode == 0  # without boxes it is the same data set
    found = sorted(path.parts[-3] for path in Path("runs/results").glob("*/*/seed0.json"))
    assert found[:2] == ["list", "list"]
    assert found[2].startswith("list-")


def test_a_name_is_of_one_collection(irbench: Callable, photos: Path) -> None:
    assert irbench(*RUN, "./photos", "--name", "mine").returncode == 0
    assert irbench(*RUN, "./photos").returncode == 0
    assert list(facts_of(Path("runs/results"))) == ["mine"]
    shutil.copytree(photos / "class0", photos / "class3")
    for name in ("mine", "digits", "a/b"):
        refused = irbench(*RUN, "./photos", "--name", name)
        assert refused.returncode == 2
        assert f"[{'bad-file-name' if name == 'a/b' else 'name-taken'}]" in refused.stderr
    assert "[unused-option]" in irbench(*RUN, "digits", "--name", "figures").stderr
    photos.rename("digits")
    assert irbench(*RUN, "./digits").returncode == 0
    assert sum(name.startswith("digits-") for name in facts_of(Path("runs/results"))) == 1


def test_every_command_that_a_run_prints_can_be_carried_out(irbench: Callable, photos: Path) -> None:
    words = ("--work", "w", "--results", "r", "--set", "image_size=8", "--on-bad-image", "skip", "--name", "mine")
    done = irbench(*RUN, "./photos", *words)
    commands = [shlex.split(words) for words in re.findall("^.*: irbench (.*)$", done.stderr, re.MULTILINE)]
    assert [words[0] for words in commands] == ["table", "report", "run", "query"]
    for words in commands:
        assert irbench(*words).returncode == 0, words
    assert sorted(path.name for path in Path("r/mine").glob("*/seed*.json")) == [
        "seed0.json",
        "seed1.json",
        "seed2.json",
    ]
    assert not Path("runs/work").exists()
    assert not Path("runs/results").exists()


def test_a_command_about_a_class_whose_name_begins_like_an_option(
    irbench: Callable, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "class0").rename(photos / "-class")
    monkeypatch.chdir(photos)
    done = irbench(*RUN, ".", "--work", "../w", "--results", "../r")
    (asked,) = re.findall("^one image: irbench (.*)$", done.stderr, re.MULTILINE)
    assert "-class/" in asked
    assert irbench(*shlex.split(asked)).returncode == 0


@pytest.mark.parametrize(
    "words",
    ["report --out site", "plot retrieved --out found.png", "export --out trec", "data info photos",
     "query --method pixels+linear --scale tiny --dataset photos photos/class0/2.png", "table --dataset photos",
     "run --method pixels+linear --scale tiny --dataset photos", "time --dataset photos"],
)  # fmt: skip
def test_a_data_set_of_ones_own_is_found_by_its_name(irbench: Callable, photos: Path, words: str) -> None:
    assert irbench(*RUN, "./photos").returncode == 0
    done = irbench(*words.split())
    assert done.returncode == 0, done.stderr
    if words.startswith("run"):
        assert "stored already" in done.stderr
    shutil.rmtree(photos)
    if words.startswith("export"):  # without the images it cannot be told whose names the rows have
        gone = irbench(*words.split())
        assert gone.returncode == 1
        assert "not at hand" in gone.stderr


def test_images_that_were_moved_are_not_an_unknown_data_set(irbench: Callable, photos: Path) -> None:
    assert irbench(*RUN, "./photos").returncode == 0
    query = shutil.copy(photos / "class0/2.png", "query.png")
    photos.rename("moved")
    asked = ("query", "--method", "pixels+linear", "--scale", "tiny", query, "--dataset")
    for words in ((*RUN,), asked, ("data", "info"), ("data", "verify"), ("time", "--dataset")):
        gone = irbench(*words, "photos")
        assert gone.returncode == 2, words
        assert "[not-found]" in gone.stderr
        assert "../../photos" in gone.stderr  # where they were, as seen from the results
        assert irbench(*words, "./moved").returncode == 0, words
    assert "[unknown-" in irbench(*RUN, "photo").stderr  # of which there is no result


def test_a_query_by_name_tells_that_images_were_replaced(irbench: Callable, photos: Path) -> None:
    assert irbench(*RUN, "./photos").returncode == 0
    stored = facts_of(Path("runs/results"))["photos"]["collection"]
    query = ("query", "--method", "pixels+linear", "--scale", "tiny", "photos/class0/2.png", "--json", "--dataset")
    assert stored[:8] not in irbench(*query, "photos").stderr
    read_datasets_again()  # as the next process does
    exchanged(photos / "class0/1.png", photos / "class2/1.png")
    told = irbench(*query, "photos")
    assert told.returncode == 0
    assert stored[:8] in told.stderr
    assert json.loads(told.stdout)[0]["results"]  # of the images that are there
    assert stored[:8] not in irbench(*query, "./photos").stderr  # a path means what is there now


def test_info_by_name_counts_what_is_missing(irbench: Callable, photos: Path) -> None:
    ids = [f"photos/{path.relative_to(photos)}" for path in sorted(photos.rglob("*.png"))]
    rows = [f"{id_},{Path(id_).parent.name},{'query' if '/5.' in id_ else 'gallery'}" for id_ in ids]
    Path("mine.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    for path, name in (("./mine.csv", "mine"), ("./photos", "photos")):
        assert irbench(*RUN, path, "--results", "elsewhere/results").returncode == 0
        whole = irbench("data", "info", name, "--results", "elsewhere/results", "--json")
        assert (json.loads(whole.stdout)["files"], whole.stderr) == ({"listed": 18, "missing": 0}, "")
    (photos / "class0/0.png").unlink()
    listed = irbench("data", "info", "mine", "--results", "elsewhere/results")
    assert "listed 18, missing 1" in listed.stdout
    folder = irbench("data", "info", "photos", "--results", "elsewhere/results", "--json")  # which lists nothing
    assert json.loads(folder.stdout)["files"] == {"listed": 17, "missing": 0}
    for told, before, now in ((listed, "15 gallery", "15 gallery"), (folder, "12 gallery", "12 gallery")):
        assert told.returncode == 0
        assert f"of {before}" in told.stderr
        assert f"of {now}" in told.stderr.partition("; now")[2]


def test_a_path_means_the_images_that_are_there(irbench: Callable, photos: Path) -> None:
    assert irbench(*RUN, "./photos").returncode == 0
    assert irbench("run", "--method", "pixels+linear", "--dataset", "digits", "--max-queries", "50").returncode == 0
    photos.rename("digits")  # as a data set of irbench that has results too
    assert "digits" in irbench("table", "--shortened", "--dataset", "digits").stdout
    for reader in ("table", "report --out site", "export --out trec"):
        done = irbench(*reader.split(), "--dataset", "./digits")
        assert done.returncode == 0, done.stderr
    shown = json.loads(irbench("table", "--dataset", "./digits", "--format", "json").stdout)
    assert {panel["dataset"] for panel in shown["panels"]} == {"photos"}
    (Path("digits") / "class0/0.png").unlink()  # other images, of which there is no result
    assert "photos" not in irbench("table", "--dataset", "./digits").stdout


def test_what_was_left_out_is_left_out_of_what_is_exported_and_imported(irbench: Callable, photos: Path) -> None:
    for broken in ("class0/2.png", "class1/0.png"):  # a query, and an image of the gallery
        (photos / broken).write_bytes((photos / broken).read_bytes()[:200])
    skip = ("--on-bad-image", "skip")
    assert irbench(*RUN, "./photos", *skip).returncode == 0
    assert "class0/2.png, class1/0.png" in " ".join(irbench("table").stdout.split())
    assert irbench("export", "--out", "trec").returncode == 0
    (run,) = Path("trec").glob("*/pixels*.txt")
    assert irbench("import", str(run), "--method", "theirs", "--dataset", "photos", *skip).returncode == 0
    found = facts_of(Path("runs/results"))
    assert list(found) == ["photos"]
    means = {
        path.parts[-2]: json.loads(path.read_text())["metrics"]["precision@1"]["mean"]
        for path in Path("runs/results/photos").glob("*/seed0.json")
    }
    assert len(means) == 2
    assert len(set(means.values())) == 1


def test_another_run_file_does_not_replace_the_result_of_one(irbench: Callable, photos: Path) -> None:
    assert irbench(*RUN, "./photos").returncode == 0
    assert irbench("export", "--out", "trec").returncode == 0
    (run,) = Path("trec").glob("*/pixels*.txt")
    theirs = ("import", str(run), "--method", "theirs", "--dataset", "photos")
    assert irbench(*theirs).returncode == irbench(*theirs).returncode == 0
    run.write_text("".join(run.read_text().splitlines(keepends=True)[:-1]))
    assert "[name-taken]" in irbench(*theirs).stderr
    assert irbench(*theirs, "--force").returncode == 0


def test_hits_of_which_a_bit_was_turned_are_named(irbench: Callable, photos: Path) -> None:
    assert irbench(*RUN, "./photos").returncode == 0
    shutil.copytree("runs/results", "baseline")
    (hits,) = Path("runs/results").rglob("*.safetensors")
    content = bytearray(hits.read_bytes())
    content[-5] ^= 1
    hits.write_bytes(content)
    for command in ("table", "check --baseline baseline", "check --results baseline --baseline runs/results"):
        done = irbench(*command.split())
        assert done.returncode == 1
        assert hits.name in done.stderr
    hits.unlink()
    done = irbench("table")
    assert (done.returncode, hits.name in done.stderr) == (1, True)
    assert "the hits of 1 restored" in irbench("rescore").stdout  # from the ranking
    assert hits.read_bytes() == Path("baseline", *hits.parts[2:]).read_bytes()
    assert irbench("table").returncode == 0
    shutil.rmtree("runs/work")
    hits.unlink()
    done = irbench("rescore")
    assert (done.returncode, hits.name in done.stderr) == (1, True)


def test_metrics_at_any_k(irbench: Callable, photos: Path) -> None:
    done = irbench(*RUN, "./photos", "--k", "3", "--k", "1", "--k", "150", "--json")
    (result,) = json.loads(done.stdout)["results"]
    assert [name for name in result["metrics"] if name.startswith("precision@")] == [
        "precision@1", "precision@3", "precision@150"
    ]  # fmt: skip
    assert result["metrics"]["precision@150"]["mean"] == pytest.approx(4 / 150)  # 4 of the 12 gallery images
    assert "@3" in irbench("table").stdout
    assert irbench("rescore", "--force").returncode == 0
    assert irbench("report", "--out", "site").returncode == 0
    assert "[unused-option]" in irbench("run", "-m", "pixels", "--k", "3").stderr
