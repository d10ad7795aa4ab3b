"""Every layout read from a small tree made here after the official one, and from trees that are broken."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from irbench import datasets
from irbench.errors import DataError, IrbenchError, UsageError


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


def label_of(benchmark) -> dict[str, int]:
    splits = (benchmark.train, benchmark.gallery, benchmark.queries)
    return {id_: int(label) for split in splits for id_, label in zip(split.ids, split.labels, strict=True)}


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
    ("file", "text", "message"),
    [
        ("images.txt", "1 001.A/a1.jpg\n2\n", r"images\.txt, line 2: expected a number, text, found '2'"),
        ("images.txt", "1 001.A/a1.jpg\n1 001.A/a2.jpg\n", r"images\.txt: image 1 is listed twice"),
        ("images.txt", "1 001.A/a1.jpg\n2 001.A/a1.jpg\n3 002.B/b1.jpg\n4 002.B/b2.jpg\n", None),
        ("images.txt", "", "no images"),
        ("image_class_labels.txt", "1 1\n2 1\n3 2\n4 3\n", "row 3: label 3 is not between 1 and 2"),
        ("image_class_labels.txt", "1 1\n2 99999999999999999999\n", "line 2: expected a number, a number"),
        ("image_class_labels.txt", "1 1\n2 one\n", "line 2: expected a number, a number"),
        ("image_class_labels.txt", "1 1\n2 1\n3 2\n", "image 4 of images.txt is not in it"),
        ("train_test_split.txt", "1 1\n2 1\n3 1\n4 1\n", "queries split has no images"),
        ("train_test_split.txt", "1 0\n2 0\n3 0\n4 0\n", "train split has no images"),
    ],
)
def test_cub200_broken(tmp_path, file, text, message):
    tree(tmp_path, CUB | {file: text})
    if message is None:  # the same photograph under two numbers, one in each split: only its own row is left out
        assert datasets.load("cub200", data=tmp_path).own_rows.tolist() == [0, -1]
        return
    with pytest.raises(DataError, match=message):
        datasets.load("cub200", data=tmp_path)


@pytest.mark.parametrize("file", ["image_class_labels.txt", "train_test_split.txt", "classes.txt"])
def test_a_missing_list_is_told_by_name(tmp_path, file):
    tree(tmp_path, CUB)
    (tmp_path / file).unlink()
    with pytest.raises(DataError, match=f"{file} is missing. What is needed: .*https://"):
        datasets.load("cub200", data=tmp_path)


def test_a_missing_box_list_matters_only_with_crop(tmp_path):
    tree(tmp_path, CUB)
    (tmp_path / "bounding_boxes.txt").unlink()
    datasets.load("cub200", data=tmp_path)
    with pytest.raises(DataError, match=r"--crop bbox needs .*bounding_boxes\.txt"):
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
    with pytest.raises(DataError, match=r"cars_train_annos\.mat: not a whole Matlab file"):
        datasets.load("cars196-holdout", data=tmp_path)


def test_matlab_files_with_other_content(tmp_path):
    path = cars(tmp_path) / "devkit" / "cars_train_annos.mat"
    for content, message in (
        ({"x": 1}, "no variable 'annotations'"),
        ({"annotations": 3}, "no field 'class' in it; is it the file without labels"),
        ({"annotations": table(fname=["1.jpg", "2.jpg"])}, "no field 'class'"),
        ({"annotations": table(**{"class": ["car", "bus"]})}, "field 'class' holds something that is not a number"),
        ({"annotations": table(**{"class": [1, 197]})}, "row 1: label 197 is not between 1 and 196"),
    ):
        savemat(path, content)
        with pytest.raises(DataError, match=message):
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
    with pytest.raises(DataError, match="says 52,712 images, and it lists 4"):
        datasets.load("inshop", data=tmp_path / "a")
    inshop(tmp_path / "b", rows=[*INSHOP[:3], (*INSHOP[3][:2], "test")])
    with pytest.raises(DataError, match="image 4: evaluation status 'test'"):
        datasets.load("inshop", data=tmp_path / "b")
    inshop(tmp_path / "c", rows=[*INSHOP, INSHOP[0]])
    with pytest.raises(DataError, match="listed twice in the train split"):
        datasets.load("inshop", data=tmp_path / "c")
    (tmp_path / "c" / "Eval" / "list_eval_partition.txt").write_text("")
    with pytest.raises(DataError, match="no images"):
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
    for text, message in (
        (whole[:20], "10 labels for the 40 images in val"),
        (whole.replace("2", "3", 1), "line 2: 3 is no class of meta.mat"),
    ):
        truth.write_text(text)
        with pytest.raises(DataError, match=message):
            datasets.load("imagenet", data=root)
    truth.unlink()
    with pytest.raises(DataError, match=r"ground_truth\.txt is missing\. What is needed: train/n01440764"):
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
    with pytest.raises(DataError, match=r"places365_val\.txt, row 0: label 365"):
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
    with pytest.raises(DataError, match=r"small2\.zip: not a whole zip archive"):
        datasets.load("omniglot-small", data=tmp_path)
    archive(tmp_path / "images_background_small2.zip", "Latin/character01/picture.png")
    with pytest.raises(DataError, match=r"picture\.png in an archive does not end in _<drawer>\.png"):
        datasets.load("omniglot-small", data=tmp_path)


# --- anyone's own folder


def test_own_folder_holds_out_every_third_of_a_class(tmp_path):
    root = tree(
        tmp_path / "own", {f"{c}/{n}.jpg": "" for c, many in (("a", 7), ("b", 2), ("c", 3)) for n in range(many)}
    )
    benchmark = datasets.load(root)
    assert benchmark.name == "own"
    assert ids_by_split(benchmark)["queries"] == ["a/2.jpg", "a/5.jpg", "c/2.jpg"]
    assert len(benchmark.gallery) == 9
    assert label_of(benchmark)["c/2.jpg"] == 2


@pytest.mark.parametrize("parts", [("train", "gallery", "query"), ("gallery", "query"), ("train", "query")])
def test_own_folder_already_divided(tmp_path, parts):
    root = tree(tmp_path, {f"{part}/{c}/{part}-{c}.png": "" for part in parts for c in "ab"})
    split = ids_by_split(datasets.load(root))
    assert split["queries"] == ["query/a/query-a.png", "query/b/query-b.png"]
    searched = "gallery" if "gallery" in parts else "train"
    assert split["gallery"] == [f"{searched}/{c}/{searched}-{c}.png" for c in "ab"]
    assert split["train"] == [f"{parts[0]}/{c}/{parts[0]}-{c}.png" for c in "ab"]


@pytest.mark.timeout(20)
def test_own_folder_with_loops_pipes_and_strange_names(tmp_path):
    root = tree(
        tmp_path / "own", {f"a/{n}.JPG": "" for n in range(3)} | {"a/notes.txt": "", "b/-x\n😀.png": "", "top.jpg": ""}
    )
    (root / "a" / "loop").symlink_to("..")
    (root / "loop").symlink_to(".")
    (root / "self").symlink_to("self")
    (root / "a" / "self.jpg").symlink_to("self.jpg")
    (root / "a" / "folder.jpg").mkdir()
    (root / ".hidden").mkdir()
    (root / ".hidden" / "x.jpg").write_bytes(b"")
    (root / "a" / "._0.JPG").write_bytes(b"")
    os.mkfifo(root / "a" / "pipe.jpg")
    (root / "b" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    benchmark = datasets.load(root)
    assert set(label_of(benchmark)) == {
        "a/0.JPG",
        "a/1.JPG",
        "a/2.JPG",
        "a/self.jpg",
        "b/-x\n😀.png",
        "b/caf\udce9.png",
    }
    assert len(benchmark.fingerprint) == 64


def test_own_folder_without_images(tmp_path):
    with pytest.raises(DataError, match=r"no images in it\. What is needed: a folder <class>/<image>"):
        datasets.load(tree(tmp_path / "own", {"a/b/c.jpg": "", "d.jpg": ""}))
    with pytest.raises(DataError, match=r"nowhere not found"):
        datasets.load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="queries split has no images"):
        datasets.load(tree(tmp_path / "few", {"a/1.jpg": "", "b/1.jpg": ""}))


# --- anyone's own list


def listed(path: Path, text: str, **options):
    path.write_text(text, encoding="utf-8")
    return datasets.load(path, files_must_exist=False, **options)


def test_own_list(tmp_path):
    text = '\ufeffpath, label, split\n"a,1.jpg", cat, gallery\n\nb.jpg,dog ,gallery\n'
    text += "/abs/c.jpg,dog,query\nb.jpg,dog,query\n"
    benchmark = listed(tmp_path / "mine.csv", text)
    assert ids_by_split(benchmark) == {"train": ["a,1.jpg", "b.jpg"], "gallery": ["a,1.jpg", "b.jpg"],
                                       "queries": ["/abs/c.jpg", "b.jpg"]}  # fmt: skip
    assert benchmark.own_rows.tolist() == [-1, 1]
    assert benchmark.positives.tolist() == [1, 0]
    assert benchmark.queries.root / benchmark.queries.ids[0] == Path("/abs/c.jpg")
    with pytest.raises(UsageError, match="mine has no boxes"):
        listed(tmp_path / "mine.csv", text, crop="bbox")


def test_own_list_with_boxes(tmp_path):
    text = "path,label,split,x1,y1,x2,y2\na.jpg,x,gallery,1,2,3.6,4\nb.jpg,x,query,5,6,7,8\n"
    assert listed(tmp_path / "m.csv", text, crop="bbox").gallery.boxes.tolist() == [[1, 2, 4, 4]]
    for wrong in ("left", "nan", "1e99", ""):
        with pytest.raises(DataError, match=r"m\.csv, line 3: x1,y1,x2,y2 are four numbers"):
            listed(tmp_path / "m.csv", text.replace("5,6,7,8", f"5,6,7,{wrong}"), crop="bbox")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'path'"),
        ("path,lable,split\n", "no column 'label'; did you mean 'lable'"),
        ("path,label,split\n", "no images"),
        ("path,label,split\na.jpg,x\n", "line 2: more or fewer columns"),
        ("path,label,split\na.jpg,x,gallery,y\n", "line 2: more or fewer columns"),
        ("path,label,split\na.jpg,x,gallery\nb.jpg,,query\n", "line 3: column 'label' is empty"),
        ("path,label,split\na.jpg,x,test\n", "line 2: split 'test' is not train, gallery or query"),
        ("path,label,split\na.jpg,x,gallery\na.jpg,y,gallery\nb.jpg,x,query\n", "listed twice in the .* split: a.jpg"),
        ("path,label,split\na.jpg,x,gallery\n", "queries split has no images"),
        ("path,label,split\na\0.jpg,x,gallery\n", "zero byte"),
        ('path,label,split\n"a.jpg,x,gallery\n', "not a .csv file"),
    ],
)
def test_own_list_broken(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        listed(tmp_path / "mine.csv", text)


def test_own_list_in_another_encoding(tmp_path):
    (tmp_path / "mine.csv").write_bytes("path,label,split\ncafé.jpg,x,query\n".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        datasets.load(tmp_path / "mine.csv")


FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@FUZZ
@given(st.lists(st.tuples(TEXT, TEXT, st.sampled_from(["train", "gallery", "query"])), min_size=1, max_size=12))
def test_any_list_that_is_well_formed_is_read_back_or_refused_by_name(tmp_path, rows):
    import csv

    with (tmp_path / "fuzz.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("path", "label", "split"), *rows])
    try:
        benchmark = datasets.load(tmp_path / "fuzz.csv", files_must_exist=False)
    except IrbenchError as error:
        assert any(text in str(error) for text in ("no images", "listed twice", "is empty"))  # noqa: PT017
        return
    by_split = {part: [(path, label.strip()) for path, label, where in rows if where == part] for part in
                ("train", "gallery", "query")}  # fmt: skip
    assert benchmark.gallery.ids == tuple(path for path, _ in by_split["gallery"])
    assert benchmark.queries.ids == tuple(path for path, _ in by_split["query"])
    given_labels = [label for _, label in by_split["gallery"] + by_split["query"]]
    got = [*benchmark.gallery.labels, *benchmark.queries.labels]
    assert len(set(zip(given_labels, got, strict=True))) == len(set(given_labels)) == len(set(got))


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_read_or_refused(tmp_path, data):
    tree(tmp_path, CUB | {f"{name}.keep": "" for name in ("x",)})
    for file in ("mine.csv", "images.txt"):
        (tmp_path / file).write_bytes(data)
    for name in (tmp_path / "mine.csv", "cub200"):
        with pytest.raises(IrbenchError):
            datasets.load(name, data=tmp_path)
