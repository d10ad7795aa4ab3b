"""The part of a recipe that says how a network is trained."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from irbench.config.fields import Part, Share
from irbench.networks.backbones import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(NetworkConfig):
    """Optimiser, schedule and augmentation; every trained method's own `Config` extends it.

    The defaults are those of the paper's own networks (appendix A), or of the published code where it is silent.
    """

    answering: ClassVar[frozenset[str]] = frozenset()  # keys that are read after training only

    epochs: PositiveInt
    batch: PositiveInt = 64
    per_class: NonNegativeInt = 0  # images of one class drawn together; 0 draws without regard to classes
    # optimiser
    optimizer: Literal["adamw", "adam"] = "adamw"
    lr: PositiveFloat
    backbone_lr: NonNegativeFloat = 0.01  # learning rate of the backbone, as a share of `lr`
    weight_decay: NonNegativeFloat = 0.05
    decay_vectors: bool = False  # biases and norms decay too
    betas: tuple[Part, Part] = (0.9, 0.96)
    clip_gradient: NonNegativeFloat = 0.0  # largest gradient norm; 0 does not clip
    # schedule
    schedule: Literal["cosine", "step", "constant"] = "cosine"  # step: a tenth at 60 % and 80 % of the epochs
    warmup: Share = 0.1  # share of the epochs in which the rate rises from `warmup_lr`; 20 of 200 in the paper
    warmup_lr: NonNegativeFloat = 5e-7  # of every part of the network, whatever its share of `lr`; so is `final_lr`
    final_lr: NonNegativeFloat = 0.0
    cycle_epochs: NonNegativeInt = 0  # after so many the cosine starts again; 0: it falls once, over all epochs
    cycles: PositiveInt = 1  # so many times it falls; then the rate stays at `final_lr`
    cycle_decay: Share = 1.0  # each time it starts from this share of where it started before
    # validation: images that are learnt nothing from, and tell when to stop
    validation_share: Part = 0.0  # of the training set, class by class
    validate_every: PositiveInt = 1  # epochs
    patience: NonNegativeInt = 0  # validations without a better one after which the best is kept; 0: none is chosen
    # augmentation, beside the random place of the square that is seen
    mirror: bool = False  # half of the pictures mirrored, unless that changes what they show
    rotate: NonNegativeFloat = 0.0  # up to ± degrees
    zoom: Part = 0.0  # scaled by 1 ± this share
    shift: Share = 0.0  # moved by up to ± this share of the side

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cycles > 1 and not self.cycle_epochs:
            raise ValueError(f"cycles = {self.cycles} need cycle_epochs, the length of one")
        if self.patience and not self.validation_share:
            raise ValueError(f"patience = {self.patience} needs a validation_share to be judged by")
