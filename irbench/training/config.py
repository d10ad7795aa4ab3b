"""The part of a recipe that states how a network is trained."""

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from irbench.config.fields import Part, Share
from irbench.networks.backbones import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(NetworkConfig):
    """Optimiser, schedule and augmentation; the `Config` of every trained method extends it.

    The defaults are those of the paper's own networks (appendix A), or of the published code where it gives none.
    """

    inference_keys: ClassVar[frozenset[str]] = frozenset()  # of the recipe: no part of a trained model's key
    unused_keys: ClassVar[frozenset[str]] = frozenset()  # of which a method would take no notice: refused, if set

    epochs: PositiveInt
    frozen_stages: NonNegativeInt = 0  # the stem and so many stages after it never learn; 0: all of the network does
    frozen_statistics: bool = False  # batch norms keep the means and variances with which the network starts
    frozen_epochs: NonNegativeInt = 0  # before these, with a backbone that does not learn: see irbench.training.frozen
    batch: PositiveInt = 64
    per_class: NonNegativeInt = 0  # images of each class in a batch; 0: batches regardless of classes
    # optimiser
    optimizer: Literal["adamw", "adam"] = "adamw"
    lr: PositiveFloat
    backbone_lr: NonNegativeFloat = 0.01  # learning rate of the backbone, as a multiple of `lr`
    weight_decay: NonNegativeFloat = 0.05
    decay_vectors: bool = False  # weight decay of biases and norms too
    betas: tuple[Part, Part] = (0.9, 0.96)
    clip_gradient: NonNegativeFloat = 0.0  # largest gradient norm; 0 does not clip
    # with a factor above 1, the best of `lr` / factor, `lr` and `lr` · factor in trials: see irbench.training.rates
    lr_factor: Annotated[float, Field(ge=1)] = 1.0
    lr_epochs: PositiveInt = 3  # of a trial
    lr_share: Annotated[float, Field(gt=0, lt=1)] = 0.1  # of the training images, held out of a trial
    # schedule
    schedule: Literal["cosine", "step", "constant"] = "cosine"  # step: divided by 10 at 60 % and 80 % of the epochs
    warmup: Share = 0.1  # share of the epochs with a rate rising from `warmup_lr`; 20 of 200 in the paper
    warmup_lr: NonNegativeFloat = 5e-7  # of all parameters, the backbone's too; so is `final_lr`
    final_lr: NonNegativeFloat = 0.0
    cycle_epochs: NonNegativeInt = 0  # length of a cosine cycle; 0: one cycle over all epochs
    cycles: PositiveInt = 1  # number of cycles, after which the rate stays at `final_lr`
    cycle_decay: Share = 1.0  # peak rate of a cycle, as a share of the previous one's
    # validation: on images held out of training, for early stopping
    validation_share: Part = 0.0  # of the training set, class by class
    validate_every: PositiveInt = 1  # epochs
    patience: NonNegativeInt = (
        0  # validations without improvement before the best model is restored; 0: no early stopping
    )
    # augmentation
    # pixels of the crops in training, where fewer than `image_size` are enough: what a crop shows is larger than in the
    # whole image, which is therefore best seen at more pixels (Touvron et al. 2019); 0: `image_size`
    train_size: NonNegativeInt = 0
    crop_area: Share = 0.0  # least share of the image's area that a crop covers, resized to the input; 0: no resizing
    crop_ratio: Annotated[float, Field(ge=1.0)] = 4 / 3  # largest ratio of a resized crop's longer side to its shorter
    mirror: bool = False  # mirror half of the images, unless that changes their class
    colour: Part = 0.0  # brightness, contrast and saturation each by 1 ± this share
    rotate: NonNegativeFloat = 0.0  # by up to ± degrees
    zoom: Part = 0.0  # scale by 1 ± this share
    shift: Share = 0.0  # move by up to ± this share of the image size

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cycles > 1 and not self.cycle_epochs:
            raise ValueError(f"cycles = {self.cycles} need cycle_epochs, the length of a cycle")
        for one in fields(self):
            if one.name in self.unused_keys and getattr(self, one.name) != one.default:
                raise ValueError(f"{one.name} = {getattr(self, one.name)}: this method has no use for it")
        if self.train_size > self.image_size:
            raise ValueError(f"train_size = {self.train_size} is larger than image_size = {self.image_size}")
        if self.patience and not self.validation_share:
            raise ValueError(f"patience = {self.patience} needs a validation_share")
