"""The bytes of a network are those with which it answers, from the start."""

from dataclasses import replace

import pytest

from irbench.retrievers.encoders.ft_clip import Config, FtClipEncoder

CONFIG = Config(backbone="test_resnet", image_size=32, resize_size=32, epochs=1, batch=16, lr=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_that_is_taken_up_is_as_large_as_one_that_was_trained_and_asked(precision, runtime, images):
    runtime = replace(runtime, precision=precision)
    trained, taken_up = FtClipEncoder(CONFIG, runtime), FtClipEncoder(CONFIG, runtime)
    trained.train(images)
    trained.encode(images)
    taken_up.train(images)  # its embeddings may then come from the cache, so that it never encodes
    held = sum(weights.nbytes for weights in trained.trained_task.features.parameters())
    assert trained.describe().model_bytes == taken_up.describe().model_bytes == held
    assert (held < 4 * trained.describe().backbone.parameters) == (precision == "bf16")
