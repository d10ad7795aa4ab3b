"""Generated images: the same ones on every machine and in any batch, and queries by other drawers than the gallery."""

import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raising import raises

from irbench.core.errors import DataError
from irbench.data import datasets
from irbench.data.contents import contents, digest
from irbench.data.loaders.warped import Config, WarpedLoader
from irbench.data.sources import Source

CHARACTERS, DRAWERS = 3, 20
RECIPE = """
loader = "warped"
folders = ["omniglot"]
scale = "tiny"
ks = [1, 10]
top_k = 30
mirror = false
[params]
archives = ["drawings.zip"]
gallery = {gallery}
queries = 48
train = 96
forms = 4
"""


def png(ink: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.where(ink, 0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def drawing(character: int, drawer: int) -> np.ndarray:
    """A stroke and a dot that belong to the character, and a dot that belongs to the drawer."""
    ink = np.zeros((105, 105), bool)
    ink[20:85, 30 + 20 * character : 34 + 20 * character] = True
    ink[80:84, 20 : 40 + 15 * character] = True
    ink[10:14, 4 * drawer : 4 * drawer + 4] = True
    return ink


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "omniglot").mkdir()
    with zipfile.ZipFile(tmp_path / "omniglot" / "drawings.zip", "w") as archive:
        for character in range(CHARACTERS):
            for drawer in range(1, DRAWERS + 1):
                name = f"drawings/Greek/character0{character}/{character:04d}_{drawer:02d}.png"
                archive.writestr(name, png(drawing(character, drawer)))
    return tmp_path


def read(data: Path, **changed: int):
    config = Config(archives=("drawings.zip",), **({"gallery": 600, "queries": 48, "train": 96, "forms": 4} | changed))
    return WarpedLoader(config).read(data / "omniglot")


def images(collection, rows) -> np.ndarray:
    return np.stack([collection.generated.image(row) for row in rows])


def test_every_machine_draws_the_same_pixels(data):
    """Where this fails, pixels have changed: raise VERSION in irbench/data/warps.py, and store the new digest."""
    drawn = images(read(data), range(648))
    assert (drawn.shape, drawn.dtype) == ((648, 64, 64, 3), np.uint8)
    assert (
        hashlib.sha256(drawn.tobytes()).hexdigest()
        == "2951d4955ef0b88999245f42ed6d8fa05e55eded2b0fc106a2939cbdaa7558ac"
    )


def test_an_image_depends_on_its_number_alone(data):
    collection = read(data)
    generator, numbers = collection.generated.generator, np.arange(1296)
    whole = generator.draw(numbers)
    mixed = np.random.default_rng(0).permutation(1296)
    assert (generator.draw(mixed) == whole[mixed]).all()
    assert all((generator.draw(numbers[row : row + 1])[0] == whole[row]).all() for row in (0, 63, 64, 255, 256, 1295))
    one_by_one = images(collection, range(600))  # in blocks
    assert (one_by_one == whole[:1200:2, ..., None]).all()
    assert (images(collection, reversed(range(600)))[::-1] == one_by_one).all()
    assert len({image.tobytes() for image in whole}) == 1296  # every warp is another
    assert (images(read(data, seed=1), range(8)) != one_by_one[:8]).any(axis=(1, 2, 3)).all()
    larger, other_queries = read(data, gallery=900), read(data, queries=60)
    assert (images(larger, range(600)) == one_by_one).all()
    assert list(larger.ids[:600]) == list(collection.ids[:600])
    assert (larger.labels[:600] == collection.labels[:600]).all()
    assert (images(other_queries, range(600, 648)) == images(collection, range(600, 648))).all()


def test_queries_are_by_other_drawers_and_classes_are_full(data):
    collection = read(data)
    generator, split = collection.generated.generator, collection.split
    of_gallery, of_queries = ({*rows.ravel().tolist()} for rows in generator._drawings)
    assert (len(of_gallery), len(of_queries)) == (12 * CHARACTERS, 8 * CHARACTERS)
    assert not of_gallery & of_queries
    # without the drawings of the gallery's drawers, queries are as they were, and the gallery is blank
    fields = generator._fields.copy()
    fields[sorted(of_gallery)] = 0
    generator.__dict__["_fields"] = fields
    assert (images(collection, split.gallery) == 255).all()
    assert (images(collection, split.queries) < 255).any(axis=(1, 2, 3)).all()
    assert np.bincount(collection.labels[split.gallery]).tolist() == [50] * 12
    assert np.bincount(collection.labels[split.queries]).tolist() == [4] * 12
    assert np.bincount(collection.labels[split.train]).tolist() == [8] * 12
    assert split.train.tolist() == split.gallery[:96].tolist()


def test_an_image_is_known_by_what_it_is_made_from(data):
    benchmark = recipe_of(data, "one", gallery=600)
    gallery = benchmark.gallery
    assert len(np.unique(contents(gallery), axis=0)) == 600
    assert (contents(benchmark.train) == contents(gallery)[:96]).all()
    assert digest(gallery.take(np.arange(96))) == digest(benchmark.train)
    assert gallery.ids[599] == "gallery/0000599"
    assert benchmark.queries.ids[3] == "queries/0000003"
    assert len(pickle.dumps(benchmark.gallery)) < 30_000  # numbers and labels; no pixels, no ids
    thawed = pickle.loads(pickle.dumps(gallery))
    assert (thawed.fingerprint, np.asarray(Source(thawed).image(7)).tobytes()) == (
        gallery.fingerprint,
        gallery.generated.image(7).tobytes(),
    )
    before = gallery.fingerprint
    with zipfile.ZipFile(data / "omniglot" / "drawings.zip", "a") as archive:
        for drawer in range(1, DRAWERS + 1):
            archive.writestr(f"drawings/Greek/character09/0009_{drawer:02d}.png", png(drawing(0, drawer)))
    assert recipe_of(data, "one", gallery=600).gallery.fingerprint != before


def recipe_of(data: Path, name: str, *, gallery: int):
    (data / "datasets").mkdir(exist_ok=True)
    (data / "datasets" / f"{name}.toml").write_text(RECIPE.format(gallery=gallery))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IRBENCH_RECIPES", str(data))
        return datasets.load(name, data=data)


def test_what_cannot_be_drawn_is_an_error(data):
    with raises(DataError, "bad-split", "train"):
        read(data, gallery=90)
    with zipfile.ZipFile(data / "omniglot" / "drawings.zip", "a") as archive:
        archive.writestr("drawings/Greek/character00/0000_01b_12.png", png(drawing(0, 1)))
    with raises(DataError, "damaged-file", "drawers"):
        read(data)


def test_commands_take_generated_images(irbench, data):
    (data / "datasets").mkdir()
    (data / "datasets" / "warped.toml").write_text(RECIPE.format(gallery=2000))
    ran = irbench("run", "--dataset", "warped", "--method", "pixels", "--search", "linear", "--data", ".", "--json")
    assert ran.returncode == 0, ran.stderr
    result = json.loads((data / "runs/results/warped/pixels+linear/seed0.json").read_text())
    assert result["status"] == "ok"
    assert (result["dataset"]["gallery"], result["dataset"]["classes"]) == (2000, 12)
    assert result["metrics"]["precision@1"]["mean"] > 2 / 12  # chance is 1 / 12
    verified = irbench("data", "verify", "warped", "--data", ".")
    assert verified.returncode == 0, verified.stdout
    exported = irbench("export", "--format", "trec", "--out", "trec", "--data", ".")
    assert exported.returncode == 0, exported.stderr
    assert any("gallery/0000" in path.read_text() for path in Path("trec").rglob("*") if path.is_file())
    Path("query.png").write_bytes(png(drawing(0, 15)))
    asked = irbench(
        "query",
        "--method",
        "pixels",
        "--search",
        "linear",
        "--dataset",
        "warped",
        "--data",
        ".",
        "-k",
        "3",
        "query.png",
    )
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.count("gallery/") == 3
