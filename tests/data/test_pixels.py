import io
import os
import shutil
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from raising import raises

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import DataError, StoreError
from irbench.data import pixels as module
from irbench.data.contents import contents
from irbench.data.decode import MAX_PIXELS, decode, fit
from irbench.data.pixels import View, drop_unreadable, pixels, unreadable
from irbench.runtime import cache, conditions
from irbench.runtime.cache import Key
from irbench.runtime.timer import Timer


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photograph(width: int = 90, height: int = 60) -> Image.Image:
    """Smooth, not symmetric in any way, so that no mistake in orientation or place goes unseen."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 255 / width, y * 255 / height, (x + y) % 256], -1).astype(np.uint8))


def png_of(width: int, height: int, body: bytes = b"") -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + body


def written(folder: Path, count: int, name: str = "gallery", **more) -> ImageSet:
    """`count` files, image i all of grey level i, label i: so a picture tells its label."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in range(count):
        (folder / f"{row}.png").write_bytes(encoded(Image.new("L", (5, 4), row)))
    ids = tuple(f"{row}.png" for row in range(count))
    return ImageSet(name=name, ids=ids, labels=np.arange(count), root=folder, **more)


# --- one picture: fixed rules


def shades(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours of the four corners, from the top left in reading order."""
    right, bottom = image.width - 1, image.height - 1
    return [image.getpixel(place) for place in ((0, 0), (right, 0), (0, bottom), (right, bottom))]


def grey16() -> bytes:
    return encoded(Image.fromarray(np.full((4, 4), 0x80FF, np.uint16)))


def palette() -> bytes:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    return encoded(image)


def animation() -> bytes:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        (encoded(Image.new("L", (4, 4), 77)), (77, 77, 77)),
        (encoded(Image.new("1", (4, 4), 1)), (255, 255, 255)),
        (encoded(Image.new("LA", (4, 4), (0, 51))), (204, 204, 204)),
        (encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 0))), (255, 255, 255)),
        (encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 102))), (255, 153, 153)),
        (encoded(Image.new("P", (4, 4), 0), transparency=0), (255, 255, 255)),
        (encoded(Image.new("RGB", (4, 4), (1, 2, 3)), transparency=(1, 2, 3)), (255, 255, 255)),
        (encoded(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "JPEG", quality=100), (255, 0, 0)),
        (grey16(), (128, 128, 128)),
        (palette(), (0, 0, 255)),
        (animation(), (255, 0, 0)),
        (encoded(Image.new("RGB", (4, 4), (9, 8, 7)), "WEBP", lossless=True), (9, 8, 7)),
        (encoded(Image.new("RGB", (4, 4), (9, 8, 7)), "BMP"), (9, 8, 7)),
    ],
    ids=[
        "grey",
        "bilevel",
        "grey+alpha",
        "clear",
        "half",
        "palette+clear",
        "rgb+key",
        "cmyk",
        "16bit",
        "palette",
        "animated",
        "webp",
        "bmp",
    ],
)
def test_each_kind_of_image_becomes_rgb_by_a_fixed_rule(data, colour):
    image = decode(data)
    assert image.mode == "RGB"
    assert np.abs(np.subtract(shades(image), colour)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    undo = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270}  # fmt: skip
    upright = photograph()
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(encoded(stored, "PNG", exif=exif))
    assert np.array_equal(np.asarray(image), np.asarray(upright))


@pytest.mark.parametrize("size", [(90, 60), (60, 90), (64, 64), (61, 60), (1, 1), (3, 200)])
def test_cover_is_the_central_square_resized(size):
    image = photograph(*size)
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    expected = image.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.BICUBIC)
    got = fit(image, View(32))
    if (size[0] - side) % 2 == 0 and (size[1] - side) % 2 == 0 and side != 1:  # the same square to the pixel
        inner = np.s_[2:-2, 2:-2]  # at its rim bicubic resizing also looks at what lies just outside
        assert np.abs(got[inner].astype(int) - np.asarray(expected)[inner]).max() <= 1
    assert got.shape == (32, 32, 3)
    assert got.dtype == np.uint8


def test_a_very_long_strip_costs_nothing():
    assert fit(Image.new("RGB", (1, 10_000), "red"), View(224)).tolist() == np.full((224, 224, 3), (255, 0, 0)).tolist()


def test_squash_shows_all_of_the_image():
    image = Image.new("RGB", (300, 100), "blue")
    image.paste("red", (0, 0, 90, 100))
    stretched, covered = fit(image, View(32, "squash")), fit(image, View(32))
    assert stretched[0, 0].tolist() == [255, 0, 0]
    assert covered[0, 0].tolist() == [0, 0, 255]


# --- damaged and hostile files

JPEG = encoded(photograph(), "JPEG", quality=95)


@pytest.mark.parametrize("tenth", range(1, 10))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_a_file_that_is_cut_short_is_an_error(kind, tenth):
    data = encoded(photograph(), kind)
    with pytest.raises(DataError):
        decode(data[: len(data) * tenth // 10])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"SIMPLE  =                    T",
        encoded(Image.new("RGB", (4, 4)), "PPM"),
        png_of(60_000, 60_000),
        png_of(MAX_PIXELS, 2, b"\0" * 99),
        png_of(0, 5),
    ],
    ids=["empty", "byte", "pdf", "eps", "svg", "fits", "ppm", "huge", "long", "zero"],
)
def test_what_is_no_image_is_refused(data):
    with pytest.raises(DataError):
        decode(data)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(10_000, MAX_PIXELS // 10_000 + 1), (60_000, 60_000)])
def test_more_pixels_than_allowed_are_refused_from_the_header(size):
    with raises(DataError, "image-too-large", MAX_PIXELS // 10**6):
        decode(png_of(*size, body=struct.pack(">I", 99) + b"IDAT"))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(JPEG) - 1), st.binary(min_size=1, max_size=8))
def test_bytes_changed_anywhere_give_an_image_or_a_clear_error(place, noise):
    try:
        assert decode(JPEG[:place] + noise + JPEG[place + len(noise) :]).mode == "RGB"
    except DataError as error:
        assert str(error)  # noqa: PT017 -- either outcome is right


def bad_files(folder: Path) -> ImageSet:
    folder.mkdir()
    (folder / "a-cut.jpg").write_bytes(JPEG[: len(JPEG) // 2])
    (folder / "b-good.jpg").write_bytes(JPEG)
    (folder / "c-empty.jpg").write_bytes(b"")
    (folder / "d-document.jpg").write_bytes(b"%PDF-1.7\n")
    os.mkfifo(folder / "e-pipe.jpg")
    (folder / "f-folder.jpg").mkdir()
    (folder / "g-loop.jpg").symlink_to("g-loop.jpg")
    ids = (*sorted(path.name for path in folder.iterdir()), "h-absent.jpg", "i" * 300 + ".jpg", "j.zip/k.jpg")
    return ImageSet(name="gallery", ids=ids, labels=np.zeros(len(ids), np.int64), root=folder)


@pytest.mark.timeout(20)
def test_unreadable_files_are_all_found_and_none_hangs(tmp_path, runtime):
    found = unreadable(bad_files(tmp_path / "bad"), runtime.store)
    assert sorted(found) == [0, 2, 3, 4, 5, 6, 7, 8, 9]
    reasons = dict(zip([0, 2, 3, 4, 7], ["truncated", "empty", "not a JPEG", "regular file", "missing"], strict=True))
    for row, reason in reasons.items():
        assert reason in found[row]
        assert "--on-bad-image skip" in found[row]


def test_a_bad_image_stops_the_decoding_with_its_name(tmp_path, runtime):
    images = written(tmp_path / "images", 300)
    (images.root / "271.png").write_bytes(b"")
    with raises(DataError, "unreadable-image", images.root / "271.png", "row 271 of gallery"):
        pixels(images, View(8), runtime)
    with raises(DataError, "unreadable-image", images.root / "271.png"):
        _ = pixels(images.take(slice(270, 273)), View(8), runtime)[:]


@settings(max_examples=20, deadline=None)
@given(bad=st.sets(st.integers(0, 9), max_size=9))
def test_skipping_keeps_images_and_labels_together(tmp_path_factory, bad):
    from irbench.runtime.cache import Store
    from irbench.runtime.machine import Runtime

    folder = tmp_path_factory.mktemp("skip")
    runtime = Runtime(store=Store(folder / "work"))
    good, spoilt = written(folder / "good", 10, "train"), written(folder / "spoilt", 10)
    for row in bad:
        (spoilt.root / f"{row}.png").write_bytes(b"nothing")
    train = replace(good, root=folder, ids=tuple(f"good/{id_}" for id_ in good.ids))
    queries = replace(train.take(slice(3)), name="queries")
    benchmark = Benchmark(name="x", protocol="closed-set", crop="none", train=train, gallery=spoilt, queries=queries,
                          ks=(1,), top_k=10, incremental=3)  # fmt: skip
    if bad >= set(range(7)):
        with raises(DataError, "bad-split", "gallery"):
            drop_unreadable(benchmark, runtime.store)
        return
    kept, left_out = drop_unreadable(benchmark, runtime.store)
    assert kept.incremental == 3 - len(bad & {7, 8, 9})
    assert left_out == {"train": [], "gallery": [f"{row}.png" for row in sorted(bad)], "queries": []}
    assert pixels(kept.gallery, View(4), runtime)[:][:, 0, 0, 0].tolist() == kept.gallery.labels.tolist()
    assert len(kept.gallery) == 10 - len(bad)


# --- boxes


def test_only_the_inside_of_the_box_is_seen(tmp_path, runtime):
    image = Image.new("RGB", (40, 40), "blue")
    image.paste("red", (10, 20, 20, 30))
    (tmp_path / "a.png").write_bytes(encoded(image))
    boxes = np.array([[10, 20, 20, 30]], np.int32)
    images = ImageSet(name="queries", ids=("a.png",), labels=np.zeros(1, np.int64), root=tmp_path, boxes=boxes)
    assert (pixels(images, View(16), runtime)[:] == [255, 0, 0]).all()


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (9, 9, 3, 3), (200, 0, 240, 40), (0, 0, 60, 40), (-20, 0, 40, 40)])
def test_a_box_that_does_not_fit_names_the_row(tmp_path, runtime, box):
    (tmp_path / "a.png").write_bytes(encoded(Image.new("RGB", (40, 40))))
    images = ImageSet(
        name="queries", ids=("a.png",), labels=np.zeros(1, np.int64), root=tmp_path, boxes=np.array([box])
    )
    with raises(DataError, "bad-box", "row 0 of queries", list(box), "40 x 40"):
        _ = pixels(images, View(16), runtime)[:]
    assert unreadable(images, runtime.store) == {}  # the picture is whole: it must not be left out in silence


def test_a_box_a_little_over_the_edge_is_cut_to_it(tmp_path, runtime):
    (tmp_path / "a.png").write_bytes(encoded(Image.new("RGB", (40, 40), "red")))
    boxes = np.array([[-1, -1, 42, 41]], np.int32)
    images = ImageSet(name="queries", ids=("a.png",), labels=np.zeros(1, np.int64), root=tmp_path, boxes=boxes)
    assert (pixels(images, View(16), runtime)[:] == [255, 0, 0]).all()


# --- sets: every way of decoding gives the same bytes


def by_a_plain_loop(images: ImageSet, view: View) -> np.ndarray:
    return np.stack([fit(decode((images.root / id_).read_bytes()), view) for id_ in images.ids])


@pytest.mark.parametrize("way", ["stored", "stored again", "in shards", "live", "on demand", "slice", "zip"])
def test_every_way_of_decoding_equals_a_plain_loop(tmp_path, runtime, monkeypatch, way):
    images, view = written(tmp_path / "images", 300), View(8)
    expected, rows = by_a_plain_loop(images, view), np.array([299, 0, 7, 7])
    if way == "stored again":
        pixels(images, view, runtime)
        monkeypatch.setattr(module, "_square", None)  # decoding again would call it
    if way == "in shards":
        monkeypatch.setattr(module, "_SHARD", 1)
    if way == "on demand":
        monkeypatch.setattr(module, "_free_disk", lambda folder: 1)
    if way == "slice":
        images, expected, rows = images.take(slice(20, 50)), expected[20:50], np.array([29, 0])
    if way == "zip":
        with zipfile.ZipFile(tmp_path / "pack.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for id_ in images.ids:
                archive.write(images.root / id_, f"inner/{id_}")
        ids = tuple(f"pack.zip/inner/{id_}" for id_ in images.ids)
        images = ImageSet(name="gallery", ids=ids, labels=images.labels, root=tmp_path)
    with Timer(bypass_cache=way == "live").run():
        got = pixels(images, view, runtime)
        assert len(got) == len(images)
        assert np.array_equal(got[rows], expected[rows])
        assert np.array_equal(got[:], expected)
        assert got.shape == expected.shape
    assert _entries(runtime) == {"stored": 1, "stored again": 1, "in shards": 2, "zip": 1}.get(way, 0)


def test_reading_a_large_set_holds_no_more_than_what_is_asked_for(tmp_path, runtime, monkeypatch):
    """What is mapped counts as memory of the process, until it is let go."""
    arrays = np.random.default_rng(0).integers(0, 256, (2560, 64, 64, 3), np.uint8)  # 31 MB
    ids = tuple(f"{row}.png" for row in range(len(arrays)))
    images = ImageSet(name="gallery", ids=ids, labels=np.zeros(len(ids), np.int64), arrays=arrays)
    monkeypatch.setattr(module, "_SHARD", 1)
    got, held = pixels(images, View(64), runtime), []
    before = psutil.Process().memory_info().rss
    for start in range(0, len(arrays), 128):
        assert np.array_equal(got[start : start + 128], arrays[start : start + 128])
        held.append(psutil.Process().memory_info().rss - before)
    rows = np.random.default_rng(1).permutation(len(arrays))[:300]
    assert np.array_equal(got[rows], arrays[rows])
    assert max(held) < 0.5 * arrays.nbytes


def _entries(runtime) -> int:
    """Return the number of sets, or shards of one, that are stored."""
    return len(list((runtime.store.root / "pixels").glob("*/entry.json")))


def test_shards_are_shared_and_decoding_goes_on_where_it_was_stopped(tmp_path, runtime, monkeypatch):
    images, view, decoded = written(tmp_path / "images", 600), View(8), []
    monkeypatch.setattr(module, "_SHARD", 1)  # 256 images each
    square = module._square

    def until(row_of_the_end):
        def counting(source, view, row):
            if len(decoded) == row_of_the_end:
                raise KeyboardInterrupt
            decoded.append(source.images.ids[row])
            return square(source, view, row)

        monkeypatch.setattr(module, "_workers", _InOrder)
        monkeypatch.setattr(module, "_square", counting)

    until(300)
    with pytest.raises(KeyboardInterrupt):
        pixels(images, view, runtime)
    assert _entries(runtime) == 1
    decoded.clear()
    until(-1)
    got = pixels(images, view, runtime)
    assert decoded == list(images.ids[256:])
    assert np.array_equal(got[:], by_a_plain_loop(images, view))
    decoded.clear()
    beginning = pixels(images.take(slice(0, 512)), view, runtime)
    assert not decoded
    assert np.array_equal(beginning[np.array([511, 0, 300])], got[np.array([511, 0, 300])])
    assert _entries(runtime) == 3


class _InOrder:
    """Stands in for a pool of threads: computes in this one."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def map(self, function, rows):
        return map(function, rows)


def test_a_limit_on_disk_counts_what_is_stored_and_has_no_influence_on_keys(tmp_path, runtime, capsys):
    images, view = written(tmp_path / "images", 300), View(8)
    bytes_ = 300 * 8 * 8 * 3
    conditions.forget_decoded_again()
    again = pixels(images, view, replace(runtime, pixel_bytes=bytes_ - 1))
    assert "--pixel-cache" in capsys.readouterr().err
    assert conditions.decoded_again() == (images.name,)
    assert _entries(runtime) == 0
    conditions.forget_decoded_again()
    stored = pixels(images, view, replace(runtime, pixel_bytes=bytes_ + 200))  # and a header of 128 bytes
    assert _entries(runtime) == 1
    assert again.content == stored.content
    assert np.array_equal(again[:], stored[:])
    pixels(images, view, replace(runtime, pixel_bytes=0))  # takes no more room than it has
    assert conditions.decoded_again() == ()
    pixels(images, View(9), replace(runtime, pixel_bytes=bytes_ + 300 * 9 * 9 * 3))
    assert _entries(runtime) == 1


def test_what_is_made_from_images_that_are_decoded_again_says_so_whoever_takes_it_up(tmp_path, runtime):
    images, limited = written(tmp_path / "images", 300), replace(runtime, pixel_bytes=0)
    key = Key("embeddings", {})

    def make(folder: Path) -> None:
        np.save(folder / "x.npy", pixels(images, View(8), limited)[:])

    conditions.forget_decoded_again()
    runtime.store.ensure(key, make, span="encode")
    conditions.forget_decoded_again()
    runtime.store.ensure(key, make, span="encode")
    assert conditions.decoded_again() == (images.name,)


@pytest.mark.parametrize("way", ["stored", "in memory", "on demand", "zip"])
def test_a_file_that_was_replaced_since_it_was_hashed_is_refused(tmp_path, runtime, way):
    images = written(tmp_path / "images", 300 if way in {"stored", "on demand"} else 20)
    if way == "zip":
        _pack(images, tmp_path / "pack.zip", darker=False)
        images = replace(images, ids=tuple(f"pack.zip/{id_}" for id_ in images.ids), root=tmp_path)
    images = replace(images, contents=contents(images))
    if way == "zip":
        _pack(images, tmp_path / "pack.zip", darker=True)
    else:
        (images.root / images.ids[7]).write_bytes(encoded(photograph()))
    limited = replace(runtime, pixel_bytes=0 if way == "on demand" else None)
    with raises(DataError, "changed-image", images.ids[0 if way == "zip" else 7]):
        _ = pixels(images, View(8), limited)[:]


def _pack(images: ImageSet, path: Path, *, darker: bool) -> None:
    path.unlink(missing_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for id_ in images.ids:
            name = id_.removeprefix("pack.zip/")
            archive.writestr(name, encoded(photograph(9, 9) if darker else photograph(8, 8)))


def test_one_shard_is_hashed_when_it_is_opened_and_several_are_measured(tmp_path, runtime, monkeypatch):
    images, view = written(tmp_path / "images", 300), View(8)
    expected = by_a_plain_loop(images, view)
    pixels(images, view, runtime)
    _change_a_byte(next((runtime.store.root / "pixels").glob("*/pixels.npy")))
    assert np.array_equal(pixels(images, view, runtime)[:], expected)  # damaged, and made again
    monkeypatch.setattr(module, "_SHARD", 1)
    pixels(images, view, runtime)
    hashed = []
    monkeypatch.setattr(cache, "sha256", lambda path: hashed.append(path) or "")
    assert np.array_equal(pixels(images, view, runtime)[:], expected)
    assert not hashed
    shortest = min((runtime.store.root / "pixels").glob("*/pixels.npy"), key=lambda path: path.stat().st_size)
    shortest.write_bytes(shortest.read_bytes()[:-1])
    monkeypatch.undo()
    monkeypatch.setattr(module, "_SHARD", 1)
    assert np.array_equal(pixels(images, view, runtime)[:], expected)


def _change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)


def test_content_follows_the_files_and_nothing_else(tmp_path, runtime):
    images = written(tmp_path / "images", 300)
    first = pixels(images, View(8), runtime).content
    relabelled = ImageSet(name="train", ids=images.ids, labels=images.labels // 2, root=images.root)
    shutil.copytree(images.root, tmp_path / "moved")
    moved = ImageSet(name="gallery", ids=images.ids, labels=images.labels, root=tmp_path / "moved")
    assert pixels(relabelled, View(8), runtime).content == first
    assert pixels(moved, View(8), runtime).content == first
    assert len([path for path in (runtime.store.root / "pixels").iterdir() if path.is_dir()]) == 1
    assert pixels(images, View(9), runtime).content != first
    (images.root / "5.png").write_bytes(encoded(Image.new("L", (5, 4), 200)))
    assert pixels(images, View(8), runtime).content != first


def test_a_full_disk_is_one_clear_error(tmp_path, runtime, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.np.lib.format, "write_array_header_1_0", full)
    with raises(StoreError, "disk-full", "No space left on device", "--work"):
        pixels(written(tmp_path / "images", 300), View(8), runtime)
    assert not [path for path in (runtime.store.root / "pixels").iterdir() if path.is_dir()]


def test_a_damaged_archive_is_reported_by_the_image_in_it(tmp_path, runtime):
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.writestr("a.png", encoded(photograph()))
    data = bytearray((tmp_path / "pack.zip").read_bytes())
    data[200] ^= 255
    (tmp_path / "pack.zip").write_bytes(data)
    images = ImageSet(name="gallery", ids=("pack.zip/a.png", "pack.zip/b.png"), labels=np.zeros(2, int), root=tmp_path)
    found = unreadable(images, runtime.store)
    assert sorted(found) == [0, 1]
    assert "archive" in found[0]


@pytest.mark.data
def test_real_photographs_decode_in_parallel_as_one_by_one(shared_data, runtime):
    from irbench.data import datasets

    benchmark = datasets.load("cars196-holdout", data=shared_data)
    some = benchmark.queries.take(slice(0, 300))
    assert np.array_equal(pixels(some, View(64), runtime)[:], by_a_plain_loop(some, View(64)))


def test_a_jpeg_of_hundreds_of_scans_is_refused():
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, format="JPEG", progressive=True)
    content = file.getvalue()
    assert decode(content).size == (8, 8)
    start = content.index(b"\xff\xda")
    scan = content[start : content.index(b"\xff\xc4", start)] if b"\xff\xc4" in content[start:] else content[start:-2]
    with raises(DataError, "image-too-large", "100"):
        decode(content[:start] + scan * 300 + content[start:])
