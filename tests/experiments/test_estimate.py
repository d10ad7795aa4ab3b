"""A dry run says what a cell cost before, on this machine and with the same recipes; else that it is unknown."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from safetensors.numpy import save_file

from irbench.bench import scale
from irbench.experiments import estimate
from irbench.networks import weights
from irbench.results import files
from irbench.results.schema import Cost, Dataset, RecipeUsed, Result
from irbench.runtime.cache import Store
from irbench.runtime.machine import Runtime

PIXELS = ("run", "--method", "pixels+linear")


@pytest.fixture
def planned(irbench: Callable) -> Callable:
    """Return the estimate of the one cell that a dry run plans."""

    def dry(*arguments: str) -> dict:
        done = irbench(*arguments, "--dry-run", "--json")
        assert done.returncode == 0, done.stderr
        (estimate,) = json.loads(done.stdout)["planned"]
        return estimate

    return dry


def test_a_cell_costs_what_it_cost_with_another_seed(
    irbench: Callable, planned: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = {"seconds": None, "seed": None, "peak_host_bytes": None, "result_bytes": None}
    assert planned(*PIXELS).items() >= unknown.items()
    assert irbench(*PIXELS).returncode == 0
    (path,) = Path("runs/results").glob("*/*/seed0.json")
    stored = json.loads(path.read_text())
    cost, files = (
        stored["cost"],
        [path, path.parent / stored["hits"]["file"], Path("runs/work/rankings") / stored["ranking"]["file"]],
    )
    found = planned(*PIXELS, "--seed", "7")
    assert found["seed"] == 0
    assert found["seconds"] == pytest.approx(cost["train_s"] + cost["encode_gallery_s"] + cost["build_s"])
    assert found["peak_host_bytes"] == cost["peak_host_bytes"]
    assert found["result_bytes"] == sum(file.stat().st_size for file in files)
    assert planned(*PIXELS, "--force")["seed"] == 0
    for other in (("--set", "image_size=4"), ("--precision", "bf16"), ("--scale", "small")):
        assert planned(*PIXELS, *other).items() >= unknown.items(), other
    files[-1].unlink()
    assert planned(*PIXELS, "--seed", "7")["result_bytes"] is None
    monkeypatch.setattr("irbench.runtime.environment.processor_and_steering", lambda: "another processor")
    assert planned(*PIXELS, "--seed", "7").items() >= unknown.items()
    assert not list(Path("runs/results").glob("*/*/seed7*"))


def test_a_dry_run_names_the_weights_that_are_missing(
    planned: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(weights, "_cached_file", lambda name: None)
    backbone = "vit_base_patch16_clip_quickgelu_224.openai"
    clip = ("run", "--method", "clip", "--scale", "paper")
    assert planned(*clip)["missing_weights"] == [backbone]
    assert planned("run", "--method", "ft-clip", "--scale", "tiny")["missing_weights"] == []  # from scratch
    save_file({}, tmp_path / f"{backbone}.safetensors")
    save_file({}, tmp_path / "resnet101.tv_in1k.safetensors")
    assert planned(*clip, "--weights", str(tmp_path))["missing_weights"] == []
    (tmp_path / f"{backbone}.safetensors").rename(tmp_path / "other.safetensors")
    assert planned(*clip, "--weights", str(tmp_path))["missing_weights"] == [backbone]
    monkeypatch.setattr(weights, "_cached_file", lambda name: ("model.safetensors", "there"))
    assert planned(*clip)["missing_weights"] == []


def test_the_cost_elsewhere_is_scaled_by_images_and_epochs(irbench: Callable, planned: Callable) -> None:
    assert irbench("run", "--method", "ft-clip+ivfpq", "--epochs", "1").returncode == 0
    assert planned("run", "--method", "ft-clip+ivfpq")["seconds"] is None  # a shortened run says nothing
    images(Path("own"), classes=3, each=8)
    images(Path("more"), classes=3, each=12)
    own = ("run", "--method", "pixels+linear", "--scale", "tiny", "--dataset")
    assert irbench(*PIXELS).returncode == 0
    assert planned(*own, "more")["scaled_from"] is None  # images of digits are 8 pixels wide, here 32
    assert irbench(*own, "own").returncode == 0
    assert planned(*own, "more", "--incremental")["scaled_from"] is None  # another task
    (path,) = Path("runs/results/own").glob("*/seed0.json")
    cost, found = files.read(path).cost, planned(*own, "more")
    assert (found["scaled_from"], found["seed"]) == ("pixels+linear@tiny on own", 0)
    parts = (cost.train_s, cost.encode_gallery_s, cost.build_s)
    assert found["seconds"] == pytest.approx(24 / 18 * sum(parts))  # images of the galleries
    assert found["pixel_bytes"] == 36 * 3 * 32**2


def test_nothing_is_scaled_from_networks_or_images_of_another_size() -> None:
    small, other = stored(size=8), stored(size=32)
    assert estimate._of_other_size(small, other)
    assert not estimate._of_other_size(small, stored(size=8, epochs=7))
    longer = stored(size=8, epochs=7, codes=3)
    assert estimate._differing(small, longer) == []  # epochs are scaled
    assert estimate._differing(small, other) == ["irgen.image_size"]


def test_a_dry_run_says_where_there_is_no_room(planned: Callable) -> None:
    assert planned(*PIXELS)["pixels_fit"] is True
    assert planned(*PIXELS, "--pixel-cache", "0.0001")["pixels_fit"] is False


def stored(*, epochs: int = 1, codes: int = 1, train: int = 100, gallery: int | None = None, size: int = 8) -> Result:
    """Return a result of irgen with semantic identifiers, whose recipes say so many epochs."""
    text = f"### irgen\n[params]\nepochs = {epochs}\nimage_size = {size}\n### semantic\n[params]\nepochs = {codes}\n"
    return Result(
        status="ok",
        dataset=Dataset(
            name="digits",
            protocol="closed-set",
            crop="none",
            fingerprint="",
            train=train,
            gallery=2 * train if gallery is None else gallery,
            queries=9,
            classes=3,
        ),
        method="irgen",
        identifier="semantic",
        scale="tiny",
        seed=0,
        inputs="",
        recipe=RecipeUsed(text=text, hash=""),
        created="2026-01-01T00:00:00+00:00",
    )


def images(folder: Path, *, classes: int, each: int) -> None:
    """Write a folder of images of so many classes."""
    for label, number in itertools.product(range(classes), range(each)):
        place = folder / f"class{label}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (80 * label, 30 * number, 0)).save(place)


def test_epochs_of_each_task_count_by_its_own_recipe() -> None:
    now = stored(epochs=30, codes=6, train=2000)
    training = {"irgen": {"seconds": 60.0}, "tokenizer": {"seconds": 12.0}}
    then = replace(
        stored(epochs=10, codes=3, train=1000),
        retriever={"training": training},
        cost=Cost(train_s=75.0, encode_gallery_s=2.0, build_s=1.0),
    )
    assert estimate._scaled_seconds(then, now) == pytest.approx(2 * (3 * 60 + 2 * 12 + 3) + 2 * (2 + 1))


def test_memory_and_time_are_at_most_a_few_times_what_bench_scale_measures() -> None:
    sizes, dim, floor = (10_000, 100_000), 64, 20_000_000
    plan = scale.Plan(sizes=sizes, searches=("linear", "ivfpq", "scann"), dim=dim, queries=20, patience=0.0)
    measured = {
        (one.stage, one.size): one for one in scale.measure(plan, Runtime(store=Store(Path("none")), threads=1))
    }
    for search in plan.searches:
        small, large = (measured[f"{search} build", size] for size in sizes)
        if small.reason:  # its library is not here
            continue
        peaks = [one.gallery_bytes + one.peak_bytes + floor for one in (small, large)]
        then = replace(
            stored(gallery=sizes[0]),
            retriever={"dimensions": dim},
            cost=Cost(peak_host_bytes=peaks[0], index_bytes=small.index_bytes),
        )
        found = estimate._scaled_memory(then, stored(gallery=sizes[1]))
        assert peaks[1] / 1.1 <= found <= 3 * peaks[1], search
        times = large.seconds / (small.seconds * sizes[1] / sizes[0])  # as much as is estimated, or how many times
        assert 1 / 8 < times < 8 or small.seconds < 0.05, search  # ScaNN has a tree above 20,000, timed once each
