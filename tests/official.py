"""Small data sets in the archives and folders that the makers of the large ones publish."""

import hashlib
import io
import json
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from irbench.config import recipes

Tree = Mapping[str, bytes]


def picture(seed: int, kind: str = "JPEG") -> bytes:
    """A picture of 12 x 10 pixels, another for each seed."""
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def mat(**variables: object) -> bytes:
    out = io.BytesIO()
    savemat(out, variables)
    return out.getvalue()


def table(**columns: list) -> np.ndarray:
    """A Matlab struct array."""
    out = np.empty(len(next(iter(columns.values()))), dtype=[(name, "O") for name in columns])
    for name, values in columns.items():
        out[name] = values
    return out


def tar(tree: Tree, mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as file:
        for name, content in tree.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_(tree: Tree) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in tree.items():
            file.writestr(name, content)
    return out.getvalue()


def cub200() -> Tree:
    paths = [f"00{c}.Bird_{c}/Bird_{c}_000{n}.jpg" for c in (1, 2) for n in (1, 2, 3)]
    lists = {
        "images.txt": "".join(f"{n} {path}\n" for n, path in enumerate(paths, 1)),
        "image_class_labels.txt": "1 1\n2 1\n3 1\n4 2\n5 2\n6 2\n",
        "train_test_split.txt": "1 1\n2 1\n3 0\n4 1\n5 0\n6 1\n",
        "classes.txt": "1 001.Bird_1\n2 002.Bird_2\n",
        "bounding_boxes.txt": "".join(f"{n} 1.0 1.0 8.0 8.0\n" for n in range(1, 7)),
    }
    tree = {f"CUB_200_2011/{name}": text.encode() for name, text in lists.items()}
    tree |= {f"CUB_200_2011/images/{path}": picture(n) for n, path in enumerate(paths)}
    return {"CUB_200_2011.tgz": tar({"attributes.txt": b"1 has_bill_shape::curved", **tree}, "w:gz")}


def cars196() -> Tree:
    boxes = {f"bbox_{corner}": [1, 2] for corner in ("x1", "y1")} | {
        f"bbox_{corner}": [9, 10] for corner in ("x2", "y2")
    }
    names = ["00001.jpg", "00002.jpg"]
    annotations = mat(annotations=table(**boxes, **{"class": [1, 2]}, fname=names))
    return {
        "cars_train.tgz": tar({f"cars_train/{name}": picture(n) for n, name in enumerate(names)}, "w:gz"),
        "cars_test.tgz": tar({f"cars_test/{name}": picture(9 - n) for n, name in enumerate(names)}, "w:gz"),
        "cars_test_annos_withlabels.mat": annotations,
        "car_devkit.tgz": tar({"devkit/cars_train_annos.mat": annotations, "devkit/README.txt": b""}, "w:gz"),
    }


def imagenet() -> Tree:
    data = "ILSVRC2012_devkit_t12/data"
    devkit = {
        f"{data}/meta.mat": mat(synsets=table(ILSVRC2012_ID=[1, 2], WNID=["n02", "n01"])),
        f"{data}/ILSVRC2012_validation_ground_truth.txt": b"1\n2\n" * 10,
    }
    train = {f"n0{c}.tar": tar({f"n0{c}_{n}.JPEG": picture(10 * c + n) for n in (1, 2, 3)}) for c in (1, 2)}
    return {
        "ILSVRC2012_devkit_t12.tar.gz": tar(devkit, "w:gz"),
        "ILSVRC2012_img_val.tar": tar({f"ILSVRC2012_val_{n:08d}.JPEG": picture(100 + n) for n in range(1, 21)}),
        "ILSVRC2012_img_train.tar": tar(train),
    }


def inshop() -> Tree:
    names = [f"img/WOMEN/Dresses/id_0000000{c}/0{n}_1_front.jpg" for c in (1, 2) for n in (1, 2)] + ["img/MEN/x.jpg"]
    items, roles = ["id_1", "id_1", "id_2", "id_2", "id_3"], ["gallery", "query", "query", "gallery", "train"]
    rows = "".join(f"{name:<70}{item:<15}{role}\n" for name, item, role in zip(names, items, roles, strict=True))
    boxes = "".join(f"{name}   1   1  001   001   009   009\n" for name in names)
    return {
        "img.zip": zip_({name: picture(n) for n, name in enumerate(names)}),
        "list_bbox_inshop.txt": f"5\nimage_name clothes_type pose_type x_1 y_1 x_2 y_2\n{boxes}".encode(),
        "list_eval_partition.txt": f"5\nimage_name item_id evaluation_status\n{rows}".encode(),
    }


def places365() -> Tree:
    train = ["/a/airfield/00000001.jpg 0", "/b/bar/00000001.jpg 32", "/a/airfield/00000002.jpg 0"]
    val = ["Places365_val_00000001.jpg 32", "Places365_val_00000002.jpg 0"]
    lists = {
        "places365_train_standard.txt": train,
        "places365_val.txt": val,
        "categories_places365.txt": ["/a/airfield 0"],
    }
    return {
        "val_256.tar": tar({f"val_256/{line.split()[0]}": picture(n) for n, line in enumerate(val)}),
        "train_256_places365standard.tar": tar(
            {f"data_256{line.split()[0]}": picture(9 - n) for n, line in enumerate(train)}
        ),
        "filelist_places365-standard.tar": tar({name: "\n".join(rows).encode() for name, rows in lists.items()}),
    }


def sop() -> Tree:
    """Three training images of two products, and four test images of two others."""
    folder, head = "Stanford_Online_Products", "image_id class_id super_class_id path\n"
    rows = [f"{n} {c} 1 bicycle_final/{c}_{n}.JPG" for n, c in enumerate((1, 1, 2, 11319, 11319, 11320, 11320), 1)]
    tree = {f"{folder}/{row.split()[-1]}": picture(n) for n, row in enumerate(rows)}
    for name, some in (("train", rows[:3]), ("test", rows[3:])):
        tree[f"{folder}/Ebay_{name}.txt"] = (head + "\n".join(some)).encode()
    return {f"{folder}.zip": zip_(tree)}


def omniglot() -> Tree:
    def archive(stem: str, alphabets: str) -> bytes:
        names = [f"{a}/character0{c}/0{c}_{d:02d}.png" for a in alphabets for c in (1, 2) for d in (1, 12, 13)]
        return zip_({f"{stem}/{name}": picture(hash_of(name), "PNG") for name in names})

    stem = "images_background_small"
    return {f"{stem}1.zip": archive(f"{stem}1", "LG"), f"{stem}2.zip": archive(f"{stem}2", "GA")}


def hash_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


PUBLISHED = {  # archives, and the images of train, gallery and queries, and the classes
    "cub200": (cub200, (4, 4, 2, 2)),
    "cars196": (cars196, (2, 2, 2, 2)),
    "imagenet": (imagenet, (6, 6, 2, 2)),
    "inshop": (inshop, (3, 2, 2, 3)),
    "places365": (places365, (3, 3, 2, 2)),
    "sop": (sop, (3, 4, 4, 4)),
    "omniglot-small": (omniglot, (12, 12, 6, 6)),
}


def recipe(name: str, archives: Tree, counts: tuple[int, int, int, int], address: str) -> str:
    """Return the shipped recipe `name`, with the facts of these archives in the place of the real ones'."""
    head = tomllib.loads(recipes.find("datasets", name).text)
    head["expected"] = dict(zip(("train", "gallery", "queries", "classes"), counts, strict=True))
    for file in head["files"]:
        file_name = file.get("name") or file["url"].rpartition("/")[2]
        content = archives[file_name]
        if file.keys() & {"sha256", "md5"}:
            file.pop("md5", None)
            file |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        if "url" in file:
            file["url"] = f"{address}/{file_name}"
    return "# class: irbench/data/loaders/x.py\n# made small\n" + "".join(lines(head))


def lines(head: dict[str, object]) -> Iterator[str]:
    """Write what recipes consist of as TOML."""
    tables = {key: value for key, value in head.items() if isinstance(value, dict)}
    yield from (f"{key} = {json.dumps(value)}\n" for key, value in head.items() if key not in {*tables, "files"})
    for name, values in tables.items():
        yield f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    for file in head["files"]:
        yield "[[files]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in file.items())


def unpacked(tree: Tree, root: Path) -> Path:
    for name, content in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root
