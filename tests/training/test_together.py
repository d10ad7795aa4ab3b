"""Two processes train what one does; they exchange tensors by gloo, on the CPU."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import crew
import numpy as np
import pytest
import torch
from raising import raises
from safetensors.torch import load_file

from irbench.core.errors import RecipeError
from irbench.networks.backbones import VisionNetwork
from irbench.retrievers.encoders import cgd, ft_clip
from irbench.runtime.together import Together
from irbench.training.augment import augment
from irbench.training.config import TrainingConfig
from irbench.training.parallel import Part, _current, depends_on_processes

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = {"IRBENCH_QUIET": "1", "OMP_NUM_THREADS": "1"}


def torchrun(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [*TORCHRUN, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,  # a hang would be a failure
        check=False,
    )


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Train everything in two processes; return the folder, and what each process found."""
    folder = tmp_path_factory.mktemp("together")
    with suppress(crew.Killed):
        crew.Steps(last=4).train("tokenizer", folder / "begun alone")
    done = torchrun(crew.__file__, str(folder), folder=folder)
    assert done.returncode == 0, done.stderr
    return folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def model(folder):
    """Return the name of the only model in a work folder, its key and its history."""
    (entry,) = [path for path in (folder / "model").iterdir() if path.suffix == ""]
    key = json.loads((entry / "entry.json").read_text())["key"]
    return entry.name, key, json.loads((entry / "history.json").read_text())


@pytest.mark.parametrize("name", sorted(crew.TRAINERS))
def test_the_losses_of_two_processes_are_those_of_one(name, together, tmp_path):
    folder, found = together
    steps = crew.Steps()
    steps.train(name, tmp_path)
    digest, key, history = model(folder / name)
    alone, _, curves = model(tmp_path)
    # sums of other parts round in another way, by how much depends on the processor; float32 has 1.2e-7
    assert found[0][name] == found[1][name] == pytest.approx(steps.losses, rel=3e-6, abs=1e-6)
    assert len(steps.losses) >= crew.STEPS
    assert digest == alone  # one network at any number of processes, and so one key
    assert "processes" not in key
    assert history.pop("processes") == [2]
    assert history.keys() == curves.keys()
    for curve, values in curves.items():
        assert history[curve] == pytest.approx(values, rel=3e-6, abs=1e-6), curve
    for rank in (0, 1):
        gradients = load_file(folder / name / f"{rank}.safetensors")
        assert gradients.keys() == steps.gradients.keys()
        for parameter, gradient in steps.gradients.items():
            np.testing.assert_allclose(gradients[parameter], gradient, rtol=1e-4, atol=1e-6, err_msg=parameter)


def test_the_gradient_of_what_is_gathered_is_the_sum_of_all_processes(together):
    _, found = together
    assert found[0]["gradients"] + found[1]["gradients"] == [3 * 2 * n * n for n in range(7)]


def test_a_training_goes_on_in_another_number_of_processes(together, tmp_path):
    folder, found = together
    unbroken = crew.Steps()
    unbroken.train("tokenizer", tmp_path)
    assert found[0]["resumed"] == pytest.approx(unbroken.losses[4:], abs=1e-6)
    assert model(folder / "begun alone")[-1]["processes"] == [1, 2]
    alone = crew.Steps()
    alone.train("tokenizer", folder / "begun together")
    assert alone.losses == pytest.approx(unbroken.losses[4:], abs=1e-6)
    assert model(folder / "begun together")[-1]["processes"] == [2, 1]


def test_the_failure_of_one_process_ends_all_with_its_reason(together):
    folder, found = together
    assert found[1]["failed"] == ["ZeroDivisionError", "on purpose", 3]
    assert found[0]["failed"][0] == "OtherFailed"
    assert "process 2 of 2: ZeroDivisionError: on purpose" in found[0]["failed"][1]
    assert not [path for path in (folder / "failed" / "model").iterdir() if path.is_dir() and not path.suffix]


def classification(**changes):
    config = ft_clip.Config(**{**crew.NETWORK, **changes})
    return ready(ft_clip.FtClipEncoder(config, None).task(VisionNetwork(config), np.arange(4)), config)


def descriptors(**changes):
    config = cgd.Config(**{**crew.NETWORK, "backbone": "test_resnet", "dim": 32, **changes})
    return ready(cgd.CgdEncoder(config, None).task(VisionNetwork(config), np.arange(4)), config)


def ready(task, config):
    task.backbone.freeze(config.frozen_stages, statistics=config.frozen_statistics)
    return task


@pytest.mark.parametrize(
    ("task", "cpu", "cuda"),
    [
        (classification, False, False),
        (lambda: classification(backbone="test_resnet"), True, False),
        (lambda: classification(drop_path=0.1), True, True),
        (lambda: descriptors(frozen_statistics=False), True, False),
        (descriptors, False, False),  # the classifier's batch norm sees whole batches
    ],
)
def test_what_differs_between_numbers_of_processes_is_known(task, cpu, cuda):
    assert depends_on_processes(task(), "cpu") is cpu
    assert depends_on_processes(task(), "cuda") is cuda


@pytest.fixture
def as_one_of():
    tokens = []

    def take(rank, world):
        tokens.append(_current.set(Together(rank, world)))

    yield take
    for token in reversed(tokens):
        _current.reset(token)


def test_parts_of_a_batch_are_augmented_as_in_the_whole(as_one_of):
    config = TrainingConfig(
        backbone="none", epochs=1, lr=1.0, image_size=8, resize_size=10, mirror=True, rotate=9.0, colour=0.3, zoom=0.1
    )
    pictures = torch.randint(256, (7, 10, 10, 3), dtype=torch.uint8)
    for changes in ({}, {"crop_area": 0.4}):
        changed = replace(config, **changes)
        whole = augment(pictures, changed, torch.Generator().manual_seed(1), mirror=True)
        seen = []
        for rank in range(3):
            as_one_of(rank, 3)
            part = Part.of(7)
            generator = torch.Generator().manual_seed(1)
            seen.append(augment(pictures[part.rows], changed, generator, mirror=True, part=part))
            assert part.weight == 3 * len(seen[-1]) / 7
        torch.testing.assert_close(torch.cat(seen), whole)


def test_fewer_images_than_processes_are_an_error(as_one_of):
    as_one_of(0, 4)
    with raises(RecipeError, "too-few-images", 3, 4):
        Part.of(3)


def test_a_command_under_torchrun_ends_with_one_table_and_one_result(tmp_path):
    options = ("run", "--method", "ft-clip+linear", "--dataset", "digits", "--epochs", "1", "--max-queries", "20")
    done = torchrun("-m", "irbench", *options, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Precision, percent") == 1
    (path,) = (tmp_path / "runs" / "results").rglob("seed0.json")
    result = json.loads(path.read_text())
    assert result["status"] == "ok"
    assert result["retriever"]["training"]["ft-clip"]["processes"] == [2]
    refused = torchrun("-m", "irbench", *options, "--jobs", "2", folder=tmp_path)
    assert refused.returncode
    assert "--jobs" in refused.stderr
