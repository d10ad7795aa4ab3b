"""The part of a recipe that says how a network is trained."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from irbench.backbones import NetworkConfig
from irbench.bounds import Part, Share


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(NetworkConfig):
    """Optimiser, schedule and augmentation; every trained method's own `Config` extends it.

    The defaults are those of the paper's own networks (appendix A), or of the published code where it is silent.
    """

    answering: ClassVar[frozenset[str]] = (
        frozenset()
    )  # keys that change how the trained network answers, not what it is

    epochs: PositiveInt
    batch: PositiveInt = 64
    per_class: NonNegativeInt = 0  # images of one class drawn together; 0 draws without regard to classes
    # optimiser
    optimizer: Literal["adamw", "adam"] = "adamw"
    lr: PositiveFloat
    body_lr: NonNegativeFloat = 0.01  # learning rate of the backbone, as a share of `lr`
    weight_decay: NonNegativeFloat = 0.05
    betas: tuple[Part, Part] = (0.9, 0.96)
    clip_gradient: NonNegativeFloat = 0.0  # largest gradient norm; 0 does not clip
    # schedule
    schedule: Literal["cosine", "step", "constant"] = "cosine"  # step: a tenth at 60 % and 80 % of the epochs
    warmup: Share = 0.1  # share of the epochs in which the rate rises from `warmup_lr`
    warmup_lr: NonNegativeFloat = 5e-7
    final_lr: NonNegativeFloat = 0.0
    # augmentation, beside the random place of the square that is seen
    mirror: bool = False  # half of the pictures mirrored, unless that changes what they show
    rotate: NonNegativeFloat = 0.0  # up to ± degrees
    zoom: Part = 0.0  # scaled by 1 ± this share
    shift: Share = 0.0  # moved by up to ± this share of the side
