"""Every published layout read from a small tree made here after the official one, and from trees that are broken."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raising import raises
from scipy.io import savemat

from irbench.core.errors import DataError, IrbenchError
from irbench.data import datasets


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def table(**columns) -> np.ndarray:
    """A Matlab struct array."""
    out = np.empty(len(next(iter(columns.values()))), dtype=[(name, "O") for name in columns])
    for name, values in columns.items():
        out[name] = values
    return out


def ids_by_split(benchmark) -> dict[str, list[str]]:
    return {s.name: list(s.ids) for s in (benchmark.train, benchmark.gallery, benchmark.queries)}


# --- CUB-200-2011

CUB = {
    "images.txt": "1 001.A/a1.jpg\n2 001.A/a2.jpg\n3 002.B/b1.jpg\n4 002.B/b2.jpg\n",
    "image_class_labels.txt": "1 1\n2 1\n3 2\n4 2\n",
    "train_test_split.txt": "1 0\n2 1\n3 1\n4 0\n",
    "classes.txt": "1 001.A\n2 002.B\n",
    "bounding_boxes.txt": "1 60.0 27.0 325.0 304.0\n2 0.0 1.0 2.0 3.0\n3 1 1 1 1\n4 4 4 4 4\n",
    **{f"images/{path}": "" for path in ("001.A/a1.jpg", "001.A/a2.jpg", "002.B/b1.jpg", "002.B/b2.jpg")},
}


def test_cub200(tmp_path):
    benchmark = datasets.load("cub200", data=tree(tmp_path / "cub200" / "CUB_200_2011", CUB).parents[1], crop="bbox")
    assert ids_by_split(benchmark) == {
        "train": ["images/001.A/a2.jpg", "images/002.B/b1.jpg"],
        "gallery": ["images/001.A/a2.jpg", "images/002.B/b1.jpg"],
        "queries": ["images/001.A/a1.jpg", "images/002.B/b2.jpg"],
    }
    assert benchmark.queries.labels.tolist() == [0, 1]
    assert benchmark.queries.boxes.tolist() == [[60, 27, 385, 331], [4, 4, 8, 8]]
    apart = datasets.load("cub200", data=tmp_path, protocol="metric-learning")
    assert ids_by_split(apart)["train"] == ["images/001.A/a1.jpg", "images/001.A/a2.jpg"]
    assert (
        ids_by_split(apart)["gallery"]
        == ids_by_split(apart)["queries"]
        == [
            "images/002.B/b1.jpg",
            "images/002.B/b2.jpg",
        ]
    )


@pytest.mark.parametrize(
    ("file", "text", "code", "named"),
    [
        ("images.txt", "1 001.A/a1.jpg\n2\n", "bad-annotation", ["images.txt, line 2: ", "'2'"]),
        ("images.txt", "1 001.A/a1.jpg\n1 001.A/a2.jpg\n", "duplicate-image", ["images.txt: ", "image 1 "]),
        ("images.txt", "1 001.A/a1.jpg\n2 001.A/a1.jpg\n3 002.B/b1.jpg\n4 002.B/b2.jpg\n", None, []),
        ("images.txt", "", "no-images", ["train"]),
        (
            "image_class_labels.txt",
            "1 1\n2 1\n3 2\n4 3\n",
            "bad-label",
            ["image_class_labels.txt", "row 3", "label 3", "1 and 2"],
        ),
        (
            "image_class_labels.txt",
            "1 1\n2 99999999999999999999\n",
            "bad-annotation",
            ["image_class_labels.txt, line 2", "99999999999999999999"],
        ),
        ("image_class_labels.txt", "1 1\n2 one\n", "bad-annotation", ["image_class_labels.txt, line 2", "2 one"]),
        ("image_class_labels.txt", "1 1\n2 1\n3 2\n", "truncated-annotation", ["image_class_labels.txt", "image 4 "]),
        ("train_test_split.txt", "1 1\n2 1\n3 1\n4 1\n", "no-images", ["queries"]),
        ("train_test_split.txt", "1 0\n2 0\n3 0\n4 0\n", "no-images", ["train"]),
    ],
)
def test_cub200_broken(tmp_path, file, text, code, named):
    tree(tmp_path, CUB | {file: text})
    if code is None:  # the same photograph under two numbers, one in each split: only its own row is left out
        assert datasets.load("cub200", data=tmp_path).own_rows.tolist() == [0, -1]
        return
    with raises(DataError, code, *named):
        datasets.load("cub200", data=tmp_path)


@pytest.mark.parametrize("file", ["image_class_labels.txt", "train_test_split.txt", "classes.txt"])
def test_a_missing_list_is_reported_by_name(tmp_path, file):
    tree(tmp_path, CUB)
    (tmp_path / file).unlink()
    with raises(DataError, "missing-file", tmp_path / file, "https://"):
        datasets.load("cub200", data=tmp_path)


def test_a_missing_box_list_matters_only_with_crop(tmp_path):
    tree(tmp_path, CUB)
    (tmp_path / "bounding_boxes.txt").unlink()
    datasets.load("cub200", data=tmp_path)
    with raises(DataError, "missing-file", "--crop bbox", tmp_path / "bounding_boxes.txt"):
        datasets.load("cub200", data=tmp_path, crop="bbox")


# --- Stanford Cars


def cars(root: Path, *, test: str | None = "cars_test_annos_withlabels.mat", classes=(14, 3, 91, 3)) -> Path:
    count = len(classes)
    names = [f"{row + 1:05d}.jpg" for row in range(count)]
    facts = {f"bbox_{corner}": np.arange(count) + place for place, corner in enumerate(("x1", "y1", "x2", "y2"), 5)}
    every = {**facts, "class": list(classes), "fname": names}
    (root / "devkit").mkdir(parents=True)
    savemat(root / "devkit" / "cars_train_annos.mat", {"annotations": table(**every)})
    if test:
        savemat(root / test, {"annotations": table(**every)})
    return tree(root, {f"{folder}/{name}": "" for folder in ("cars_train", "cars_test") for name in names})


def test_cars196_names_its_classes_where_the_names_are_there(tmp_path):
    root = cars(tmp_path, classes=(14, 3, 196, 3))
    assert datasets.load("cars196", data=tmp_path).class_names == ()
    names = np.array([f"Car {label}" for label in range(1, 197)], object)
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": names})
    for protocol in ("closed-set", "metric-learning"):
        found = datasets.load("cars196", data=tmp_path, protocol=protocol)
        named = {found.class_names[label] for label in found.gallery.labels.tolist()}
        assert named <= {"Car 3", "Car 14", "Car 196"}
    assert found.class_names[found.train.labels[0]] == "Car 3"
    for code, wrong in (("truncated-annotation", {"class_names": names[:-1]}), ("missing-column", {"other": names})):
        savemat(root / "devkit" / "cars_meta.mat", wrong)
        with raises(DataError, code, "cars_meta.mat"):
            datasets.load("cars196", data=tmp_path)


@pytest.mark.parametrize("place", ["cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat"])
def test_cars196(tmp_path, place):
    benchmark = datasets.load("cars196", data=cars(tmp_path / "cars196", test=place).parent, crop="bbox")
    assert benchmark.train.ids[0] == "cars_train/00001.jpg"
    assert benchmark.queries.ids[0] == "cars_test/00001.jpg"
    assert benchmark.own_rows.tolist() == [-1] * 4
    assert benchmark.queries.labels.tolist() == [1, 0, 2, 0]
    assert benchmark.queries.boxes[1].tolist() == [5, 6, 8, 9]  # Matlab counts from 1 and includes the last pixel
    apart = datasets.load("cars196", data=tmp_path, protocol="metric-learning")
    assert sorted(ids_by_split(apart)["train"]) == [
        f"cars_{part}/0000{n}.jpg" for part in ("test", "train") for n in (2, 4)
    ]


def test_cars196_holdout(tmp_path):
    benchmark = datasets.load("cars196-holdout", data=cars(tmp_path, test=None, classes=[1, 1, 1, 2, 2, 2, 2]))
    assert ids_by_split(benchmark)["queries"] == [f"cars_train/0000{n}.jpg" for n in (1, 4, 7)]
    assert ids_by_split(benchmark)["gallery"] == [f"cars_train/0000{n}.jpg" for n in (2, 3, 5, 6)]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_matlab_file_that_is_cut_short(tmp_path, share):
    path = cars(tmp_path) / "devkit" / "cars_train_annos.mat"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with raises(DataError, "damaged-file", path):
        datasets.load("cars196-holdout", data=tmp_path)


def test_matlab_files_with_other_content(tmp_path):
    path = cars(tmp_path) / "devkit" / "cars_train_annos.mat"
    for content, code, *named in (
        ({"x": 1}, "missing-column", "'annotations'"),
        ({"annotations": 3}, "missing-column", "'annotations'"),
        ({"annotations": table(fname=["1.jpg", "2.jpg"])}, "missing-column", "field 'class'"),
        ({"annotations": table(**{"class": ["car", "bus"]})}, "bad-annotation", "field 'class'"),
        ({"annotations": table(**{"class": [1, 197]})}, "bad-label", "row 1", "label 197", "1 and 196"),
    ):
        savemat(path, content)
        with raises(DataError, code, path, *named):
            datasets.load("cars196-holdout", data=tmp_path)


# --- In-shop

INSHOP = [
    ("img/WOMEN/Dresses/id_00000002/02_1_front.jpg", "id_00000002", "train"),
    ("img/WOMEN/Dresses/id_00000001/01_1_front.jpg", "id_00000001", "gallery"),
    ("img/WOMEN/Dresses/id_00000001/01_2_side.jpg", "id_00000001", "query"),
    ("img/MEN/Denim/id_00000007/01_1_front.jpg", "id_00000007", "train"),
]


def inshop(root: Path, rows=INSHOP, count: int | None = None) -> Path:
    head = f"{len(rows) if count is None else count}\nimage_name item_id evaluation_status\n"
    text = head + "".join(f"{name:<70}{item:<15}{role}\n" for name, item, role in rows)
    boxes = "4\nimage_name clothes_type pose_type x_1 y_1 x_2 y_2\n"
    boxes += "".join(f"{name}   1   1  00{row}   10   110   210\n" for row, (name, _, _) in enumerate(rows))
    files = {f"Img/{name}": "" for name, _, _ in rows}
    return tree(root, files | {"Eval/list_eval_partition.txt": text, "Anno/list_bbox_inshop.txt": boxes})


def test_inshop(tmp_path):
    inshop(tmp_path / "In-shop Clothes Retrieval Benchmark")
    benchmark = datasets.load("inshop", data=tmp_path, crop="bbox")
    names = [f"Img/{name}" for name, _, _ in INSHOP]
    assert ids_by_split(benchmark) == {"train": [names[0], names[3], names[1]], "gallery": [names[1]],
                                       "queries": [names[2]]}  # fmt: skip
    assert benchmark.positives.tolist() == [1]
    assert benchmark.queries.boxes.tolist() == [[2, 10, 110, 210]]
    apart = datasets.load("inshop", data=tmp_path, protocol="metric-learning")
    assert ids_by_split(apart)["train"] == [names[0], names[3]]
    assert apart.train.labels.tolist() == [0, 1]
    assert set(apart.gallery.labels) == {2}


def test_inshop_broken(tmp_path):
    inshop(tmp_path / "a", count=52712)
    with raises(DataError, "truncated-annotation", "list_eval_partition.txt", "52,712", "lists 4"):
        datasets.load("inshop", data=tmp_path / "a")
    inshop(tmp_path / "b", rows=[*INSHOP[:3], (*INSHOP[3][:2], "test")])
    with raises(DataError, "unknown-choice", "list_eval_partition.txt", "image 4", "'test'"):
        datasets.load("inshop", data=tmp_path / "b")
    inshop(tmp_path / "c", rows=[*INSHOP, INSHOP[0]])
    with raises(DataError, "duplicate-image", "train", INSHOP[0][0]):
        datasets.load("inshop", data=tmp_path / "c")
    (tmp_path / "c" / "Eval" / "list_eval_partition.txt").write_text("")
    with raises(DataError, "no-images", "train"):
        datasets.load("inshop", data=tmp_path / "c")


# --- ImageNet


def imagenet(root: Path, *, flat: bool) -> Path:
    wnids = ["n02", "n01"]  # by ILSVRC number; sorted they stand the other way round
    files = {f"train/{wnid}/{wnid}_{n}.JPEG": "" for wnid in wnids for n in (1, 2)}
    names = [f"ILSVRC2012_val_{n:08d}.JPEG" for n in range(1, 41)]
    truth = [1 + n % 2 for n in range(40)]
    for name, number in zip(names, truth, strict=True):
        files[f"val/{name}" if flat else f"val/{wnids[number - 1]}/{name}"] = ""
    if flat:
        devkit = "ILSVRC2012_devkit_t12/data"
        files[f"{devkit}/ILSVRC2012_validation_ground_truth.txt"] = "".join(f"{number}\n" for number in truth)
        (root / devkit).mkdir(parents=True)
        savemat(root / devkit / "meta.mat", {"synsets": table(ILSVRC2012_ID=[1, 2], WNID=wnids)})
    return tree(root, files)


@pytest.mark.parametrize("flat", [True, False])
def test_imagenet(tmp_path, flat):
    benchmark = datasets.load("imagenet", data=imagenet(tmp_path / "imagenet", flat=flat).parent)
    assert ids_by_split(benchmark)["gallery"] == [f"train/{w}/{w}_{n}.JPEG" for w in ("n01", "n02") for n in (1, 2)]
    assert benchmark.gallery.labels.tolist() == [0, 0, 1, 1]
    # by class, then by name: n01 holds the even numbers, n02 the odd ones; every tenth of that list
    assert [id_[-7:-5] for id_ in benchmark.queries.ids] == ["02", "22", "01", "21"]
    assert benchmark.queries.labels.tolist() == [0, 0, 1, 1]


def test_imagenet_broken(tmp_path):
    root = imagenet(tmp_path, flat=True)
    truth = root / "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
    whole = truth.read_text()
    for text, code, *named in (
        (whole[:20], "truncated-annotation", "10 labels", "40 images"),
        (whole.replace("2", "3", 1), "bad-label", "line 2: 3 ", "meta.mat"),
    ):
        truth.write_text(text)
        with raises(DataError, code, truth, *named):
            datasets.load("imagenet", data=root)
    truth.unlink()
    with raises(DataError, "missing-file", truth, "train/n01440764"):
        datasets.load("imagenet", data=root)


# --- Places365

PLACES = {
    "places365_train_standard.txt": "/a/airfield/00000001.jpg 0\n/b/bar/00000001.jpg 32\n/a/airfield/00000002.jpg 0\n",
    "places365_val.txt": "Places365_val_00000001.jpg 32\nPlaces365_val_00000002.jpg 0\n",
    **{f"data_256/{name}": "" for name in ("a/airfield/00000001.jpg", "a/airfield/00000002.jpg", "b/bar/00000001.jpg")},
    **{f"val_256/Places365_val_0000000{n}.jpg": "" for n in (1, 2)},
}


def test_places365(tmp_path):
    benchmark = datasets.load("places365", data=tree(tmp_path, PLACES))
    assert benchmark.gallery.ids[1] == "data_256/b/bar/00000001.jpg"
    assert benchmark.gallery.labels.tolist() == [0, 1, 0]
    assert benchmark.queries.ids == ("val_256/Places365_val_00000001.jpg", "val_256/Places365_val_00000002.jpg")
    assert benchmark.queries.labels.tolist() == [1, 0]
    tree(tmp_path, {"places365_val.txt": "Places365_val_00000001.jpg 365\n"})
    with raises(DataError, "bad-label", "places365_val.txt", "row 0", "label 365"):
        datasets.load("places365", data=tmp_path)


# --- Omniglot


def archive(path: Path, *members: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for member in members:
            file.writestr(f"{path.stem}/{member}", b"")


def test_omniglot_counts_what_stands_in_both_archives_once(tmp_path):
    drawings = [
        f"{a}/character0{c}/{c:04d}_{d:02d}.png" for a in ("Latin", "Greek") for c in (1, 2) for d in (1, 12, 13)
    ]
    archive(tmp_path / "images_background_small1.zip", *drawings[:9], "notes.txt")
    archive(tmp_path / "images_background_small2.zip", *drawings[3:])
    benchmark = datasets.load("omniglot-small", data=tmp_path)
    assert (len(benchmark.gallery), len(benchmark.queries), benchmark.classes) == (8, 4, 4)
    assert benchmark.positives.tolist() == [2] * 4
    by_archive = [id_.split("/")[0] for id_ in benchmark.queries.ids]
    assert sorted(by_archive) == ["images_background_small1.zip"] * 3 + ["images_background_small2.zip"]
    (tmp_path / "images_background_small2.zip").write_bytes(b"PK\3\4 half of it")
    with raises(DataError, "damaged-file", "images_background_small2.zip"):
        datasets.load("omniglot-small", data=tmp_path)
    archive(tmp_path / "images_background_small2.zip", "Latin/character01/picture.png")
    with raises(DataError, "bad-annotation", "Latin/character01/picture.png"):
        datasets.load("omniglot-small", data=tmp_path)


# --- damage of any kind

FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_read_or_refused(tmp_path, data):
    tree(tmp_path, CUB | {f"{name}.keep": "" for name in ("x",)})
    for file in ("mine.csv", "images.txt"):
        (tmp_path / file).write_bytes(data)
    for name in (tmp_path / "mine.csv", "cub200"):
        with pytest.raises(IrbenchError):
            datasets.load(name, data=tmp_path)
