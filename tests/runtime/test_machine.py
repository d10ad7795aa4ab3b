"""What a process computes with: the bytes of a network are those with which it answers; threads stay the same."""

from dataclasses import replace

import pytest
import torch

from irbench.retrievers.encoders.ft_clip import Config, FtClipEncoder
from irbench.runtime.machine import use_threads

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


@pytest.mark.parametrize("count", [None, 1])
def test_threads_that_an_index_changed_are_set_back(count):
    use_threads(count)
    own = torch.get_num_threads()
    torch.set_num_threads(own + 1)  # as SPANN's engine does when it loads an index
    use_threads(count)
    assert torch.get_num_threads() == own
