"""The choice of a learning rate: the trials say what trainings at these rates give, and leave no trace."""

from dataclasses import replace
from functools import partial

import pytest
from raising import raises
from safetensors.torch import load_file
from torch import equal

from irbench.config.recipes import build_config
from irbench.config.registry import ENCODERS
from irbench.core.errors import RecipeError
from irbench.retrievers.encoders.ft_clip import Config
from irbench.training import loop

TRAINING = {"backbone": "test_resnet", "image_size": 32, "resize_size": 36, "batch": 16, "epochs": 2, "lr": 0.001}
RECIPES = {
    "ft-clip": {"frozen_epochs": 2},
    "cgd": {"per_class": 3, "dim": 32, "frozen_statistics": False},
    "irt-r": {"memory_ratio": 0.7, "momentum": 0.9},
}
RATES = (0.001 / 4, 0.001, 0.001 * 4)


@pytest.fixture(params=sorted(RECIPES))
def trained(request, runtime, images):
    """Train with some keys of the recipe; return the model and its history."""
    name, schema = request.param, ENCODERS.schema(request.param)

    def train(**keys):
        config = build_config(schema, {**TRAINING, **RECIPES[name], **keys}, "test")
        encoder = ENCODERS.load(name)(config, runtime)
        encoder.train(images)
        model = encoder.trained_model
        return load_file(model.entry.path / "model.safetensors"), model.training[name]

    return train


def test_the_better_rate_trains_as_if_it_had_been_given(trained):
    model, history = trained(lr_factor=4, lr_epochs=1, lr_share=0.2)
    alone = [trained(lr=lr, epochs=1, validation_share=0.2)[1]["validation"][-1] for lr in RATES]
    assert history["lr_tried"] == list(RATES)
    assert history["lr_losses"] == alone
    assert history["lr"] == [RATES[alone.index(min(alone))]]
    expected, plain = trained(lr=history["lr"][0])
    assert history["loss"] == plain["loss"]
    assert all(equal(model[name], value) for name, value in expected.items())


def diverging(step, at):
    return lambda run, *batch: step(run, *batch) * (float("nan") if run.config.lr in at else 1.0)


def test_a_rate_that_diverges_is_not_chosen_and_all_of_them_are_an_error(runtime, images, monkeypatch):
    config = Config(**TRAINING, lr_factor=4, lr_epochs=1)
    encoder = partial(ENCODERS.load("ft-clip"), runtime=runtime)
    monkeypatch.setattr(loop._Run, "_step", diverging(loop._Run._step, RATES))
    with raises(RecipeError, "diverged", "ft-clip", "lower lr"):
        encoder(replace(config, lr_share=0.3)).train(images)
    monkeypatch.undo()
    monkeypatch.setattr(loop._Run, "_step", diverging(loop._Run._step, RATES[1:]))
    kept = encoder(config)
    kept.train(images)
    history = kept.trained_model.training["ft-clip"]
    assert history["lr"] == [RATES[0]]
    assert history["lr_losses"][1:] == [None, None]
