"""Real kills: a whole IRGen (start, tokenizer, decoder) that dies again and again, and one that does not."""

import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch

from irbench.retrievers.encoders.ft_clip import Config as FtClipConfig
from irbench.retrievers.encoders.ft_clip import FtClipEncoder
from irbench.retrievers.irgen.identifiers.semantic import Config as TokenizerConfig
from irbench.retrievers.irgen.identifiers.semantic import SemanticIdentifier
from irbench.retrievers.irgen.retriever import Config, IrgenRetriever
from irbench.runtime.cache import Store
from irbench.runtime.machine import Runtime
from irbench.training import checkpoint, loop

# imports cost seconds, and a kill each time: one process has them, and every life is a fork of it
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "irbench.retrievers.irgen.retriever",
        "irbench.retrievers.irgen.identifiers.semantic",
        "irbench.retrievers.encoders.ft_clip",
    ]
)

NETWORK = {"backbone": "test_resnet", "image_size": 32, "resize_size": 36, "batch": 16, "lr": 1e-3, "shift": 0.1}
JUDGED = {"validation_share": 0.2, "validate_every": 2, "patience": 1}
START = FtClipConfig(**NETWORK, epochs=2, lr_factor=3, lr_epochs=1)
TOKENS = {**NETWORK, "start": "ft-clip", "epochs": 3, "num_codebooks": 2, "codebook_size": 4}
DECODER = Config(
    **NETWORK,
    **JUDGED,
    start="ft-clip",
    epochs=4,
    num_layers=1,
    width=16,
    num_heads=2,
    targets_per_image=2,
    beam_size=4,
)


class Components:
    def __init__(self, runtime, tokens):
        self.runtime, self.tokens = runtime, tokens

    def uncached_encoder(self, method):
        return FtClipEncoder(START, self.runtime)

    def identifier(self):
        return SemanticIdentifier(TokenizerConfig(**TOKENS, **self.tokens), self.runtime, self)


def die_at(event):
    """Die at the so-many-th event: a step, the middle of a checkpoint's writing, its end, an epoch's end, the end."""
    left = [event]

    def counted(function):
        def call(*arguments, **named):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return call

    checkpoint.flush = counted(checkpoint.flush)  # the new file is written, the old one still in its place
    for owner, name in ((loop._Run, "_step"), (loop._Run, "_validate"), (SemanticIdentifier, "encode")):
        setattr(owner, name, counted(getattr(owner, name)))


def live(folder, images, tokens, event, pause):
    """Train, index and answer in a process of its own."""
    os.environ["IRBENCH_QUIET"] = "1"
    torch.set_num_threads(1)
    loop._CHECKPOINT_EVERY, loop._CHECKPOINT_SHARE = pause, float("inf")
    die_at(event)
    runtime = Runtime(store=Store(folder))
    retriever = IrgenRetriever(DECODER, runtime, Components(runtime, tokens))
    retriever.train(images)
    retriever.index(images)
    ranking = retriever.search(images, 10)
    assert set(retriever.describe().details["training"]) == {"ft-clip", "tokenizer", "irgen"}
    np.savez(folder / "answers.npz", rows=ranking.rows, scores=ranking.scores)


def lives(folder, *arguments):
    """Live until one life comes to its end; return how many it took."""
    folder.mkdir()
    for count in range(1, 100):
        process = FORKS.Process(target=live, args=(folder, *arguments))
        process.start()
        process.join()
        if process.exitcode == 0:
            return count
        assert process.exitcode == -signal.SIGKILL
    raise AssertionError("comes to no end")


def outcome(folder):
    """All that was trained, and the answers."""
    trained = {}
    for model in (folder / "model").glob("*/model.safetensors"):
        trained[model.parent.name] = model.read_bytes(), (model.parent / "history.json").read_text()
    with np.load(folder / "answers.npz") as answers:
        return trained, answers["rows"].tolist(), answers["scores"].tolist()


PUBLISHED = {"codebooks": "encoded", "prefix_classifiers": "shared"}


@pytest.mark.parametrize(("event", "tokens"), [(5, {}), (7, PUBLISHED | JUDGED)])
def test_killed_at_any_moment_and_started_again_it_trains_the_same_model(images, tmp_path, event, tokens):
    assert lives(tmp_path / "unbroken", images, tokens, 0, 1e9) == 1
    assert lives(tmp_path / "broken", images, tokens, event, 0.0) > 5
    expected, found = outcome(tmp_path / "unbroken"), outcome(tmp_path / "broken")
    assert len(expected[0]) == 3
    assert found == expected
