"""The autoencoder: it reconstructs, uses its codebook, and trains the same model when it is killed and resumed."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from raising import raises
from safetensors.torch import load_file

from irbench.config.recipes import build_config
from irbench.core.errors import RecipeError
from irbench.data.pixels import View, pixels
from irbench.retrievers.irgen.identifiers.rqvae import Config, Reconstruction, RqVaeIdentifier
from irbench.training import loop

TINY = {"image_size": 16, "resize_size": 16, "channels": 4, "multipliers": [1, 2, 2], "blocks": 1, "dim": 8,
        "codebook_size": 8, "num_quantizers": 2, "batch": 16, "lr": 1e-2, "warmup": 0.0, "epochs": 4}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    """Networks of this size lose by a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config(**changes):
    return build_config(Config, {**TINY, **changes}, "test")


def trained_model(runtime):
    (folder,) = [path for path in (runtime.store.root / "model").iterdir() if path.suffix == ""]
    return load_file(folder / "model.safetensors"), json.loads((folder / "history.json").read_text())["loss"]


class Killed(BaseException):
    """Nothing catches a kill."""


@pytest.mark.parametrize("kept", [1, 3])
def test_a_training_killed_after_an_epoch_resumes_to_the_same_model(kept, runtime, images, tmp_path, monkeypatch):
    unbroken = replace(runtime, store=type(runtime.store)(tmp_path / "unbroken"))
    whole = RqVaeIdentifier(config(), unbroken, None)
    whole.train(images)
    expected, losses = trained_model(unbroken)

    monkeypatch.setattr(loop, "_CHECKPOINT_EVERY", -1)
    monkeypatch.setattr(loop, "_CHECKPOINT_SHARE", float("inf"))
    step = Reconstruction.loss

    def killed(task, pictures, rows):
        if count[0] == 0:
            raise Killed
        count[0] -= 1
        return step(task, pictures, rows)

    count = [kept * round(40 / 16) + 1]
    monkeypatch.setattr(Reconstruction, "loss", killed)
    with pytest.raises(Killed):
        RqVaeIdentifier(config(), runtime, None).train(images)
    count[0] = (4 - kept) * round(40 / 16)  # enough for the epochs that are left, and no more
    resumed = RqVaeIdentifier(config(), runtime, None)
    resumed.train(images)
    again, history = trained_model(runtime)
    assert history == losses
    for name, tensor in expected.items():
        assert torch.equal(again[name], tensor), name
    np.testing.assert_array_equal(resumed.encode(images).codes, whole.encode(images).codes)


def test_a_model_from_the_store_gives_the_same_codes(runtime, images):
    made, loaded = (RqVaeIdentifier(config(), runtime, None) for _ in range(2))
    made.train(images)
    codes = made.encode(images).codes
    count = len(list((runtime.store.root / "model").glob("*/model.safetensors")))
    loaded.train(images)
    np.testing.assert_array_equal(loaded.encode(images).codes, codes)
    assert count == len(list((runtime.store.root / "model").glob("*/model.safetensors"))) == 1
    assert bool(loaded._task.quantizer.layers[1]._codebook.initted)


def test_codes_are_the_nearest_entries_of_what_the_earlier_ones_left_place_by_place(runtime, images):
    identifier = RqVaeIdentifier(config(), runtime, None)
    identifier.train(images)
    found = identifier.encode(images)
    assert found.codes.shape == (40, 4 * 4 * 2)
    assert (found.num_codebooks, found.codebook_size) == (identifier.describe().details["num_codebooks"], 8)
    task = identifier._task
    book = task.quantizer.codebooks[0].double().numpy()
    assert (task.quantizer.codebooks[1].double().numpy() == book).all()  # one for all depths
    pictures = torch.from_numpy(pixels(images, View(16), runtime)[np.arange(40)]).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        maps = task.encoder(pictures / 127.5 - 1).double().numpy()
    for row in range(0, 40, 7):
        expected = []
        for place in maps[row].reshape(8, -1).T:  # row by row
            for _ in range(2):
                code = int(((place - book) ** 2).sum(axis=1).argmin())
                place = place - book[code]  # noqa: PLW2901
                expected.append(code)
        assert found.codes[row].tolist() == expected


def test_it_is_trained_to_reconstruct_and_uses_its_codebook_whatever_the_labels(runtime, images):
    identifier = RqVaeIdentifier(config(epochs=40), runtime, None)
    identifier.train(images)
    _, losses = trained_model(runtime)
    assert losses[-1] < 0.6 * losses[0]
    codes = identifier.encode(images).codes
    assert len(np.unique(codes)) >= 4
    first = codes[:10]  # of one colour each: a class shares codes that other classes do not
    assert (first[0] == first[1:]).mean() > (first[0] == codes[10:]).mean()


def test_an_image_size_that_cannot_be_halved_so_often_is_refused():
    with raises(RecipeError, "bad-value", "image_size", 18):
        config(image_size=18, resize_size=18)
