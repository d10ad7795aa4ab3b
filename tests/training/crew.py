"""What two processes train together for `test_together.py`, and one alone: small trainings on a network without norms.

`torchrun … crew.py FOLDER` writes what came of each into FOLDER; the tests call the same functions.
"""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from irbench.core.benchmark import ImageSet
from irbench.core.identifiers import Identifiers
from irbench.retrievers.encoders import cgd, ft_clip, irt_r
from irbench.retrievers.irgen.identifiers import rqvae, semantic
from irbench.retrievers.irgen.retriever import Config as IrgenConfig
from irbench.retrievers.irgen.retriever import IrgenRetriever
from irbench.runtime.cache import Store
from irbench.runtime.machine import Runtime
from irbench.runtime.together import OtherFailed, Together
from irbench.training import loop
from irbench.training.parallel import Part, taking_part

COMMON = {"image_size": 32, "resize_size": 36, "batch": 13, "lr": 1e-3, "epochs": 2, "rotate": 10.0, "mirror": True}
NETWORK = {**COMMON, "backbone": "test_vit", "backbone_lr": 1.0}
MORE = {"frozen_epochs": 1, "validation_share": 0.2, "patience": 1, "lr_factor": 2.0, "lr_epochs": 1}
STEPS = 6  # of two epochs of 40 images in batches of 13 or 14: no half is a whole number everywhere


class Components:
    """Identifiers that are given, for a decoder to generate."""

    def identifier(self):
        return self

    def encode(self, images):
        return Identifiers(np.random.default_rng(1).integers(0, 5, (len(images), 3)), 5)


TRAINERS: dict[str, Callable] = {
    "ft-clip": lambda runtime: ft_clip.FtClipEncoder(ft_clip.Config(**NETWORK), runtime),
    "more": lambda runtime: ft_clip.FtClipEncoder(ft_clip.Config(**NETWORK, **MORE), runtime),
    "cgd": lambda runtime: cgd.CgdEncoder(cgd.Config(**NETWORK, keep_wide=False, dim=32, per_class=4), runtime),
    "irt-r": lambda runtime: irt_r.IrtREncoder(irt_r.Config(**NETWORK, memory_ratio=0.7, momentum=0.9), runtime),
    "tokenizer": lambda runtime: semantic.SemanticIdentifier(
        semantic.Config(**NETWORK, num_codebooks=2, codebook_size=4, commitment_weight=0.01), runtime, Components()
    ),
    "irgen": lambda runtime: IrgenRetriever(
        IrgenConfig(**NETWORK, num_layers=1, width=16, num_heads=2, targets_per_image=2), runtime, Components()
    ),
    "rqvae": lambda runtime: rqvae.RqVaeIdentifier(
        rqvae.Config(**COMMON, channels=8, multipliers=(1, 1, 2), blocks=1, dim=8, codebook_size=8), runtime, None
    ),
}


def images() -> ImageSet:
    """40 pictures of 40 x 40 pixels, of 4 classes."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 10)
    colours = rng.integers(40, 216, (4, 3))[labels][:, None, None]
    noise = rng.integers(-40, 40, (40, 40, 40, 3))
    pictures = (colours + noise).clip(0, 255).astype(np.uint8)
    return ImageSet(name="train", ids=tuple(map(str, range(40))), labels=labels, arrays=pictures)


class Killed(BaseException):
    """Nothing catches a kill."""


@dataclass
class Steps:
    """Notes the loss of each step of a training, which may end before one of them."""

    last: int | None = None
    error: Callable[[], BaseException] = Killed
    losses: list[float] = field(default_factory=list)
    gradients: dict[str, torch.Tensor] = field(default_factory=dict)  # of the first step

    def train(self, name: str, folder: Path) -> None:
        """Train in a work folder, with a checkpoint after each step."""
        step, every = loop._Run._step, loop._CHECKPOINT_EVERY

        def noted(run, *batch):
            if len(self.losses) == self.last:
                raise self.error()
            loss = step(run, *batch)
            if not self.losses:
                named = run.task.module.named_parameters()
                self.gradients = {name: one.grad.contiguous() for name, one in named if one.grad is not None}
            self.losses.append(float(loss))
            return loss

        loop._Run._step, loop._CHECKPOINT_EVERY, loop._CHECKPOINT_SHARE = noted, 0.0, float("inf")
        try:
            TRAINERS[name](Runtime(store=Store(folder))).train(images())
        finally:
            loop._Run._step, loop._CHECKPOINT_EVERY = step, every


def gradients(together: Together) -> list[float]:
    """Return the gradients of this process's part of seven numbers, which each process weighs by its own number."""
    part = Part.of(7)
    values = torch.arange(7.0)[part.rows].requires_grad_()
    ((together.rank + 1) * torch.arange(7.0) * part.gather(values).square()).sum().backward()
    return values.grad.tolist()


def main(folder: Path) -> None:
    """Train everything together."""
    torch.set_num_threads(1)
    here = Together.of_torchrun()
    found: dict[str, object] = {}
    for name in TRAINERS:
        steps = Steps()
        with taking_part(here.about(name)):
            steps.train(name, folder / name)
            if name == "ft-clip":
                found["gradients"] = gradients(here)
        found[name] = steps.losses
        save_file(steps.gradients, folder / name / f"{here.rank}.safetensors")
    steps = Steps()
    with taking_part(here.about("resumed")):
        steps.train("tokenizer", folder / "begun alone")
    found["resumed"] = steps.losses
    with suppress(Killed, OtherFailed), taking_part(here.about("killed")):
        Steps(last=4).train("tokenizer", folder / "begun together")
    steps = Steps(last=None if here.first else 3, error=lambda: ZeroDivisionError("on purpose"))
    try:
        with taking_part(here.about("failed")):
            steps.train("irt-r", folder / "failed")
    except (OtherFailed, ZeroDivisionError) as error:
        found["failed"] = [type(error).__name__, str(error), len(steps.losses)]
    (folder / f"{here.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
