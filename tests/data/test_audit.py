"""Near-duplicates: altered copies are found and others are not, and the fast search finds what a slow one does."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from raising import raises

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import DataError
from irbench.data import audit, datasets


def scene(seed: int, side: int = 96) -> Image.Image:
    """Return an image with large shapes and some texture."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3)).astype(np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    noise = rng.normal(0, 6, (side, side, 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8))


ALTERED = {
    "saved.jpg": lambda image: image,
    "half.png": lambda image: image.resize((48, 48)),
    "bright.png": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "grey.png": lambda image: image.convert("L").convert("RGB"),
    "cropped.png": lambda image: image.crop((1, 1, 95, 95)),
    "mirrored.png": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


@pytest.fixture
def photographs(tmp_path: Path) -> Benchmark:
    """Queries 0 to 5 of class a, each altered in the gallery, one of them with another label; and other images."""
    for split, names in {"query": range(6), "gallery": range(20, 30), "train": range(40, 46)}.items():
        for number in names:
            path = tmp_path / "photos" / split / "a" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            scene(number).save(path)
    for number, (name, alter) in enumerate(ALTERED.items()):
        label = "b" if name == "grey.png" else "a"
        path = tmp_path / "photos" / ("train" if name == "half.png" else "gallery") / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        alter(scene(number)).save(path, quality=60)
    return datasets.load(tmp_path / "photos")


def test_altered_copies_are_found_in_and_between_splits(photographs: Benchmark) -> None:
    found = audit.audit(photographs)
    pairs = {Path(pair.second.id).name: pair for pair in found.pairs}
    assert set(pairs) == set(ALTERED)
    assert [Path(pairs[name].first.id).name for name in ALTERED] == [f"{number}.png" for number in range(6)]
    assert {name for name, pair in pairs.items() if pair.mirrored} == {"mirrored.png"}
    assert {name for name, pair in pairs.items() if pair.conflicts} == {"grey.png"}
    assert {kind: len(some) for kind, some in found.by_kind.items()} == {
        "queries and gallery": 5, "queries and train": 1
    }  # fmt: skip
    assert found.queries.tolist() == list(range(6))
    assert (found.images, found.alone, found.cut) == (len(ALTERED) + 22, 1, False)


def test_an_image_of_several_splits_is_compared_once_and_unreadable_ones_are_named(tmp_path: Path) -> None:
    for number in range(6):
        path = tmp_path / "photos" / "abc"[number // 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(number).save(path)
    scene(0).save(tmp_path / "photos" / "a" / "again.png")
    (tmp_path / "photos" / "b" / "broken.png").write_bytes(b"\x89PNG")
    found = audit.audit(datasets.load(tmp_path / "photos", protocol="metric-learning"))
    assert found.images == 7  # of class a in training; of b and c in both queries and gallery, one of them broken
    whole = audit.audit(datasets.load(tmp_path / "photos"))
    assert whole.images == 7
    assert [Path(id_).name for id_ in whole.unreadable] == ["broken.png"]
    (pair,) = whole.pairs
    assert {Path(place.id).name for place in (pair.first, pair.second)} == {"0.png", "again.png"}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(0, 20), correlation=st.sampled_from([0.5, 0.9, 0.98]))
def test_the_search_finds_what_comparing_all_pairs_does(seed: int, bits: int, correlation: float) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 4, 4))[rng.integers(0, 6, 14)]
    images = np.kron(coarse, np.ones((8, 8), int)) + rng.integers(-60, 60, (14, 32, 32))
    images[::3] = images[::3, :, ::-1]
    arrays = np.repeat(np.clip(images, 0, 255).astype(np.uint8)[..., None], 3, axis=3)
    parts = {"queries": arrays[:4], "gallery": arrays[4:9], "train": arrays[9:]}
    sets = {
        name: ImageSet(
            name=name, ids=tuple(f"{name}{i}" for i in range(len(part))), labels=np.zeros(len(part), int), arrays=part
        )
        for name, part in parts.items()
    }
    bench = Benchmark(name="toy", protocol="closed-set", crop="none", **sets, ks=(1,), top_k=1)
    found = audit.audit(bench, bits=bits, alike=correlation)
    expected = {}
    for one in range(14):
        for other in range(one + 1, 14):
            for mirrored in (False, True):
                asked = arrays[one, :, ::-1, 0] if mirrored else arrays[one, ..., 0]
                apart = np.unpackbits(audit.hashes(asked[None]) ^ audit.hashes(arrays[other : other + 1, ..., 0])).sum()
                alike = np.corrcoef(asked.ravel(), arrays[other, ..., 0].ravel())[0, 1]
                if apart <= bits and alike >= correlation:
                    expected.setdefault((one, other), (int(apart), mirrored))
    rows = {f"{name}{i}": start + i for name, start in (("queries", 0), ("gallery", 4), ("train", 9)) for i in range(5)}
    assert {(rows[pair.first.id], rows[pair.second.id]): (pair.bits, pair.mirrored) for pair in found.pairs} == expected


def test_features_decide_where_they_are_given(photographs: Benchmark) -> None:
    sizes = {name: len(getattr(photographs, name)) for name in audit.SPLITS}
    own = np.split(np.eye(sum(sizes.values()), dtype=np.float32), np.cumsum(list(sizes.values()))[:-1])
    features = dict(zip(audit.SPLITS, own, strict=True))  # each image is like itself alone, but for one
    grey = next(row for row, id_ in enumerate(photographs.gallery.ids) if id_.endswith("grey.png"))
    features["gallery"][grey] = 2 * features["queries"][3]
    (pair,) = audit.audit(photographs, features=features).pairs
    assert (Path(pair.first.id).name, Path(pair.second.id).name, pair.alike) == ("3.png", "grey.png", 1)
    everything = {name: np.ones((len(getattr(photographs, name)), 2), np.float32) for name in audit.SPLITS}
    assert {pair.second.id for pair in audit.audit(photographs, features=everything).pairs} >= {
        pair.second.id for pair in audit.audit(photographs).pairs
    }


def test_vectors_cannot_be_looked_at() -> None:
    vectors = {name: ImageSet(name=name, ids=("0", "1"), labels=np.zeros(2, int), vectors=np.eye(2, dtype=np.float32))
               for name in ("train", "gallery", "queries")}  # fmt: skip
    bench = Benchmark(name="toy", protocol="closed-set", crop="none", **vectors, ks=(1,), top_k=1)
    with raises(DataError, "needs-images", "toy"):
        audit.audit(bench)
