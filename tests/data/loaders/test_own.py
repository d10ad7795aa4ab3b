"""Anyone's own images, as a folder or as a list: read from small ones made here, and from those that are broken."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from raising import raises

from irbench.core.errors import DataError, IrbenchError, UsageError
from irbench.data import datasets
from irbench.data.verify import verify


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def ids_by_split(benchmark) -> dict[str, list[str]]:
    return {s.name: list(s.ids) for s in (benchmark.train, benchmark.gallery, benchmark.queries)}


def label_of(benchmark) -> dict[str, int]:
    splits = (benchmark.train, benchmark.gallery, benchmark.queries)
    return {id_: int(label) for split in splits for id_, label in zip(split.ids, split.labels, strict=True)}


# --- anyone's own folder


def test_own_folder_holds_out_every_third_of_a_class(tmp_path):
    root = tree(
        tmp_path / "own", {f"{c}/{n}.jpg": "" for c, many in (("a", 7), ("b", 2), ("c", 3)) for n in range(many)}
    )
    benchmark = datasets.load(root)
    assert benchmark.name == "own"
    (unasked,) = [remark for remark in benchmark.remarks if "query" in remark and "fewer" in remark]
    assert unasked.endswith(": 1 of 3")
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
    with raises(DataError, "no-images", tmp_path / "own", "<class>/<image>"):
        datasets.load(tree(tmp_path / "own", {"a/b/c/d.jpg": "", "d.jpg": ""}))
    with raises(DataError, "no-images", "train, val", "query"):
        datasets.load(tree(tmp_path / "other", {"train/cat/1.jpg": "", "val/cat/2.jpg": "", "d.jpg": ""}))
    with raises(DataError, "not-found", tmp_path / "nowhere"):
        datasets.load(tmp_path / "nowhere")


# --- anyone's own list


def listed(path: Path, text: str, **options):
    path.write_text(text, encoding="utf-8")
    return datasets.load(path, files_must_exist=False, **options)


def test_own_list(tmp_path):
    text = '\ufeffpath, label, split\n"a,1.jpg", cat, gallery\n\nb.jpg,dog ,gallery\n'
    text += "/abs/c.jpg,dog,query\nb.jpg,dog,query\n"
    benchmark = listed(tmp_path / "mine.csv", text)
    assert ids_by_split(benchmark) == {"train": ["a,1.jpg", "b.jpg"], "gallery": ["a,1.jpg", "b.jpg"],
                                       "queries": [os.path.relpath("/abs/c.jpg", tmp_path), "b.jpg"]}  # fmt: skip
    assert benchmark.own_rows.tolist() == [-1, 1]
    assert benchmark.positives.tolist() == [1, 0]
    assert (benchmark.queries.root / benchmark.queries.ids[0]).resolve() == Path("/abs/c.jpg")
    with raises(UsageError, "no-boxes", benchmark.name):
        listed(tmp_path / "mine.csv", text, crop="bbox")


def test_own_list_names_a_photograph_in_several_ways(tmp_path):
    text = 'path,label,split\n"b.jpg ",x,gallery\n./c/../a.jpg,x,gallery\n'
    benchmark = listed(tmp_path / "mine.csv", text + "./b.jpg,x,query\n../d.jpg,x,query\nc//e.jpg,x,query\n")
    assert benchmark.gallery.ids == ("b.jpg", "a.jpg")
    assert benchmark.queries.ids == ("b.jpg", "../d.jpg", "c/e.jpg")
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    text = f"path,label,split\nb.jpg,x,gallery\na.jpg,x,gallery\n{tmp_path}/b.jpg,x,query\n"
    assert listed(tmp_path / "mine.csv", text).queries.ids == ("b.jpg",)
    assert listed(tmp_path / "mine.csv", text.replace(str(tmp_path), "link")).queries.ids == ("b.jpg",)
    assert benchmark.own_rows.tolist() == [0, -1, -1]
    with raises(DataError, "duplicate-image", "b.jpg"):
        listed(tmp_path / "mine.csv", text + "./b.jpg,x,gallery\nc.jpg,x,query\n")


def test_own_list_with_boxes(tmp_path):
    text = "path,label,split,x1,y1,x2,y2\na.jpg,x,gallery,1,2,3.6,4\nb.jpg,x,query,5,6,7,8\n"
    assert listed(tmp_path / "m.csv", text, crop="bbox").gallery.boxes.tolist() == [[1, 2, 4, 4]]
    for wrong in ("left", "nan", "1e99", ""):
        with raises(DataError, "bad-box", "m.csv, line 3", "x1,y1,x2,y2"):
            listed(tmp_path / "m.csv", text.replace("5,6,7,8", f"5,6,7,{wrong}"), crop="bbox")

    shares = text.replace("1,2,3.6,4", "0.1,0.1,0.9,1.0").replace("5,6,7,8", "0,0,1,1")
    with raises(DataError, "bad-box", "m.csv", "pixels"):
        listed(tmp_path / "m.csv", shares, crop="bbox")


def test_a_list_names_its_separator_and_columns(tmp_path):
    rows = "path,label,split\na.jpg,x,gallery\nb.jpg,x,query\n"
    for suffix, separator in (("tsv", "\t"), ("TSV", ","), ("csv", "\t")):
        found = listed(tmp_path / f"own.{suffix}", rows.replace(",", separator))
        assert (found.name, found.gallery.ids, found.queries.ids) == ("own", ("a.jpg",), ("b.jpg",))
    for separator, named in (("|", "not by |"), (" ", "not by spaces"), (" : ", "not by :")):
        with raises(DataError, "missing-column", "own.tsv", named):
            listed(tmp_path / "own.tsv", rows.replace(",", separator))
    for kept, named in ((",", "commas"), ("\t", "tabs"), (";", "semicolons")):
        head, _, rest = rows.partition("\n")
        with raises(DataError, "bad-csv", "own.tsv, line 2", named):
            listed(tmp_path / "own.tsv", head.replace(",", kept) + "\n" + rest.replace(",", "|"))
    with raises(DataError, "bad-csv", "columns 2 and 3", "'label'"):
        listed(tmp_path / "own.tsv", rows.replace(",x,", ",x,y,").replace("label", "label,Label"))


def test_what_is_named_like_an_image_and_is_none_is_counted(tmp_path):
    tree(tmp_path, {f"own/{c}/{i}.png": f"{c}{i}" for c in "ab" for i in range(3)})
    whole = datasets.load(tmp_path / "own")
    os.mkfifo(tmp_path / "own/a/pipe.jpg")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(tmp_path / "own/a/socket.png"))
    (tmp_path / "own/b/folder.jpg").mkdir()
    (tmp_path / "own/b/notes").mkdir()
    (tmp_path / "own/empty").mkdir()
    tree(tmp_path, {"own/texts/a.txt": ""})
    found = datasets.load(tmp_path / "own")
    assert whole.remarks == ()
    assert ids_by_split(found) == ids_by_split(whole)
    odd, emptied = [one for one in found.remarks if one.endswith((": 3", "(empty, texts)"))]
    assert ("pipes" in odd, ": 2 (" in emptied) == (True, True)


def ending(remarks, *ends: str) -> bool:
    """Has each end one remark, in this order, and is there no other?"""
    return len(remarks) == len(ends) and all(one.endswith(end) for one, end in zip(remarks, ends, strict=True))


def test_images_that_are_not_read_are_counted_wherever_they_lie(tmp_path):
    root = tree(tmp_path / "own", {f"{c}/{n}.png": f"{c}{n}" for c in "ab" for n in range(3)})
    whole = datasets.load(root)
    deeper = {"a/more/x.png": "", "a/more/deep/y.JPG": "", "b/.hidden/z.png": "", "b/notes/z.txt": "", "b/_/z.png": ""}
    tree(root, deeper | {"top.jpg": "", "._top.jpg": "", "read.me": ""})
    (root / "b/linked").symlink_to("../a")
    found = datasets.load(root)
    assert ids_by_split(found) == ids_by_split(whole)
    assert ending(found.remarks, ": 8, first a/more/x.png", ": 1, first top.jpg", ": 1, first ._top.jpg")
    notes = verify(datasets.find(root), tmp_path).notes
    assert [note for note in notes if "first" in note] == list(found.remarks)


def test_images_that_are_not_read_are_counted_in_a_divided_folder(tmp_path):
    root = tree(
        tmp_path / "own", {f"{p}/{c}/{n}.png": p + c + n for p in ("gallery", "query") for c in "ab" for n in "01"}
    )
    whole = datasets.load(root)
    assert whole.remarks == ()
    tree(root, {"val/a/0.png": "", "val/a/1.png": "", "val/readme.txt": "", "docs/x.txt": "", "top.png": ""})
    tree(root, {"gallery/0.png": "", "query/1.png": "", "query/2.png": "", "query/a/cropped/0.png": ""})
    for empty in ("query/c", "gallery/c", "query/d"):
        (root / empty).mkdir()
    found = datasets.load(root)
    assert ids_by_split(found) == ids_by_split(whole)
    assert ending(
        found.remarks,
        ": 3 (gallery/c, query/c, query/d)",
        ": 1, first query/a/cropped/0.png",
        ": 4, first top.png",
        ": 2, first val/a/0.png",
    )


def test_boxes_that_are_cut_at_the_edge_are_counted(tmp_path):
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg")
    Image.new("RGB", (20, 40)).save(tmp_path / "turned.jpg", exif=turned)  # 40 x 20, as it is decoded
    (tmp_path / "broken.jpg").write_text("no image")

    def remarks(box, **more):
        rows = [f"{name}.jpg,x,{split},{box}" for name in ("a", "turned", "broken") for split in ("gallery", "query")]
        (tmp_path / "m.csv").write_text("\n".join(["path,label,split,x1,y1,x2,y2", *rows]) + "\n")
        return [one for one in datasets.load(tmp_path / "m.csv", **more).remarks if "beyond" in one]

    for box, count in {"0,0,40,20": 0, "0,0,41,20": 2, "-1,0,40,20": 2, "0,0,40,22": 2, "0,0,90,20": 0}.items():
        found = remarks(box, crop="bbox")  # the last box is refused once an image is decoded
        assert [one.rpartition(": ")[2] for one in found] == ([f"{count} of 3"] if count else [])
    assert remarks("0,0,41,20") == []  # nothing is cropped


def test_a_few_boxes_of_shares_among_those_of_pixels_are_counted(tmp_path):
    boxes = ["0,0,40,20", "0.1,0.1,0.9,1.0", "0,0,1,1", "-9,-9,30,30", "0,0,7,20", "-9,0,7,20"]
    rows = [f"{n}.jpg,x,{split},{box}" for n, box in enumerate(boxes) for split in ("gallery", "query")]
    text = "\n".join(["path,label,split,x1,y1,x2,y2", *rows])
    remarks = listed(tmp_path / "m.csv", text, crop="bbox").remarks
    assert ending([one for one in remarks if "boxes" in one], ": 2 of 6, first 1.jpg", ": 2 of 6")


SAME = "path,label,split\na.jpg,x,train\nb.jpg,x,gallery\nc.jpg,x,query\nd.jpg,y,gallery\n"
OML = (
    "label,path,split,is_query,is_gallery,x_1,y_1,x_2,y_2\nx,a.jpg,train,,,1,1,9,9\n"
    "x,b.jpg,validation,False,True,1,1,9,9\nx,c.jpg,validation,True,False,1,1,9,9\ny,d.jpg,validation,0.0,1.0,1,1,9,9\n"
)


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"{i},{line}\n" if i else f",{line}\n" for i, line in enumerate(SAME.splitlines())),  # pandas
        SAME.replace(",", ";"),
        SAME.replace(",", "\t"),
        SAME.replace("path,label,split", " Path ,LABEL, Split"),
        SAME.replace("path,label,split", '"path","label","split"').replace(",", ";"),
        OML,
    ],
    ids=["index", "semicolons", "tabs", "case", "quoted", "oml"],
)
def test_own_list_as_other_programs_write_it(tmp_path, text):
    benchmark, expected = (listed(tmp_path / f"{n}.CSV", one) for n, one in enumerate((text, SAME)))
    assert ids_by_split(benchmark) == ids_by_split(expected)
    assert label_of(benchmark) == label_of(expected)


def test_own_list_written_on_windows(tmp_path):
    tree(tmp_path, {"in/a.jpg": "", "in/b.jpg": "", "in\\c.jpg": ""})
    text = "path,label,split\nin\\a.jpg,x,gallery\nin\\b.jpg,x,query\nin\\c.jpg,y,gallery\n"
    benchmark = listed(tmp_path / "m.csv", text)
    assert ids_by_split(benchmark) == {
        "train": ["in/a.jpg", "in\\c.jpg"], "gallery": ["in/a.jpg", "in\\c.jpg"], "queries": ["in/b.jpg"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("", "missing-column", ["'path'"]),
        ("path,lable,split\n", "missing-column", ["'label'", "'lable'"]),
        ("path,label,split\n", "no-images", ["own", "gallery"]),
        ("path,label,split\na.jpg,x,query\n", "no-images", ["own", "only queries (1)"]),
        ("path,label,split,Path\na.jpg,x,gallery,b.jpg\n", "bad-csv", ["'path'"]),
        ("path|label|split\na.jpg|x|gallery\n", "missing-column", ["'path'", "tabs"]),
        ("path,label,split,is_query,is_gallery\na.jpg,x,validation,0,0\n", "unknown-choice", ["line 2", "is_query"]),
        ("path,label,split\na.jpg,x\n", "bad-csv", ["line 2"]),
        ("path,label,split\na.jpg,x,gallery,y\n", "bad-csv", ["line 2"]),
        ("path,label,split\na.jpg,x,gallery\nb.jpg,,query\n", "empty-value", ["line 3", "'label'"]),
        ("path,label,split\na.jpg,x,test\n", "unknown-choice", ["line 2", "'test'"]),
        (
            "path,label,split\na.jpg,x,gallery\n./a.jpg,y,gallery\nb.jpg,x,query\n",
            "duplicate-image",
            ["a.jpg", "line 2", "line 3", "'x'", "'y'"],
        ),
        ("path,label,split,x1,y1,x2\na.jpg,x,gallery,1,1,9\nb.jpg,x,query,1,1,9\n", "missing-column", ["y2"]),
        ('path,label,split\na.jpg,x,gallery\n"b.jpg,x,query\n', "bad-csv", ["not closed"]),
        (
            "path,label,split,is_query,is_gallery\na.jpg,x,train,,\nb.jpg,x,validation,yes,true\n",
            "unknown-choice",
            ["line 3", "is_query", "yes"],
        ),
        ("path,label,split\na.jpg,x,gallery\n", "no-images", ["queries"]),
        ("path,label,split\na\0.jpg,x,gallery\n", "empty-value", ["line 2", "'path'"]),
        ('path,label,split\n"a.jpg,x,gallery\n', "bad-csv", ["mine.csv"]),
    ],
)
def test_own_list_broken(tmp_path, text, code, named):
    with raises(DataError, code, *named):
        listed(tmp_path / "mine.csv", text)


def test_own_list_in_another_encoding(tmp_path):
    (tmp_path / "mine.csv").write_bytes("path,label,split\ncafé.jpg,x,query\n".encode("latin-1"))
    with raises(DataError, "bad-csv", tmp_path / "mine.csv", "UTF-8"):
        datasets.load(tmp_path / "mine.csv")


@pytest.mark.parametrize(
    ("held", "asked", "named"),
    [
        ("1", "1.0", ["number", "'1'", "'1.0'"]),
        ("Cat", "cat", ["capital"]),
        ("a cat", "a  cat", ["white space"]),
        ("caf\u00e9", "cafe\u0301", ["Unicode", "caf\\xe9"]),
        ("cat", "dog", ["'dog'", "'cat'"]),
        ("1000005", "1000001", ["a class of queries is '1000001'"]),
    ],
)
def test_classes_that_queries_and_gallery_do_not_share_are_explained(tmp_path, held, asked, named):
    with raises(DataError, "no-positives", "1 queries", *named):
        listed(tmp_path / "m.csv", f"path,label,split\na.jpg,{held},gallery\nb.jpg,{asked},query\n")
    with raises(DataError, "no-positives", *named):
        datasets.load(tree(tmp_path / "own", {f"gallery/{held}/a.png": "", f"query/{asked}/b.png": ""}))


@pytest.mark.parametrize(
    ("held", "asked", "named"),
    [
        ("1", "1.0", "number"),
        ("7", "007", "number"),
        ("cat_7", "cat_07", "zeros"),
        ("Cat", "cat", "capital"),
        ("a cat", "a  cat", "white space"),
        ("caf\u00e9", "cafe\u0301", "Unicode"),
        ("cat", "\uff43\uff41\uff54", "variants"),
        ("Caf\u00e9 1", "cafe\u0301  01", "several"),
        ("1" * 40, "1" * 39 + "2", None),
        ("10", "1_0", None),
        ("0.5", "5", None),
    ],
)
def test_queries_of_a_class_that_the_gallery_has_in_another_form_are_counted(tmp_path, held, asked, named):
    rows = [("a", "x", "gallery"), ("b", held, "gallery"), ("c", "x", "query"), ("d", asked, "query")]
    rows += [("e", asked, "query"), ("f", "else", "query")]
    text = "".join(f"{name}.jpg,{label},{split}\n" for name, label, split in rows)
    found = listed(tmp_path / "m.csv", f"path,label,split\n{text}").remarks
    if named is None:
        assert found == ()
    else:
        assert ending(found, f": 2 of 4, as {asked!a} and {held!a}")
        assert named in found[0]


@pytest.mark.parametrize(
    "others", [("Cat ", "cat"), ("cat", "CAT"), ("cafe\u0301", "caf\u00e9")], ids=["space", "case", "Unicode"]
)
def test_classes_that_are_probably_the_same_are_named(tmp_path, others):
    names = (*others, "other")
    root = tree(
        tmp_path / "own", {f"{p}/{c}/{n}.png": p + c + n for p in ("gallery", "query") for c in names for n in "01"}
    )
    first, second = sorted(others)
    assert ending(datasets.load(root).remarks, f": 2, as {first!a} and {second!a}")
    assert datasets.load(root).remarks[0] in verify(datasets.find(root), tmp_path).notes


def test_a_gallery_in_which_every_image_is_relevant_is_told(tmp_path):
    root = tree(tmp_path / "own", {f"one/{n}.png": str(n) for n in range(6)})
    (told,) = datasets.load(root).remarks
    assert "relevant" in told
    assert told in verify(datasets.find(root), tmp_path).notes
    (told,) = datasets.load(root, protocol="closed-set", max_queries=1).remarks
    tree(root, {f"two/{n}.png": f"two{n}" for n in range(3)})
    assert datasets.load(root).remarks == ()


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
        assert error.code in {"no-images", "duplicate-image", "empty-value", "two-labels", "no-positives"}  # noqa: PT017
        return
    by_split = {part: [] for part in ("train", "gallery", "query")}
    for path, label, part in rows:
        by_split[part].append((os.path.relpath(tmp_path / path.strip(), tmp_path), label.strip()))
    assert benchmark.gallery.ids == tuple(path for path, _ in by_split["gallery"])
    assert benchmark.queries.ids == tuple(path for path, _ in by_split["query"])
    given_labels = [label for _, label in by_split["gallery"] + by_split["query"]]
    got = [*benchmark.gallery.labels, *benchmark.queries.labels]
    assert len(set(zip(given_labels, got, strict=True))) == len(set(given_labels)) == len(set(got))


@pytest.mark.parametrize("images", [1, 2])
def test_classes_that_are_too_small_for_a_query_are_named(tmp_path, images):
    root = tree(tmp_path / "own", {f"{c}/{n}.jpg": "" for c in "ab" for n in range(images)})
    with raises(DataError, "too-few-images", root, "'a'", f"{images} image", "3rd", "at least 3"):
        datasets.load(root)
