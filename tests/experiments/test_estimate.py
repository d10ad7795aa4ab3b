"""A dry run says what a cell cost before, on this machine and with the same recipes; else that it is unknown."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from irbench.networks import weights

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
    for other in (("--set", "image_size=4"), ("--precision", "bf16"), ("--max-queries", "9"), ("--scale", "small")):
        assert planned(*PIXELS, *other).items() >= unknown.items(), other
    files[-1].unlink()
    assert planned(*PIXELS, "--seed", "7")["result_bytes"] is None
    monkeypatch.setattr("irbench.runtime.environment.processor_name", lambda: "another processor")
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
