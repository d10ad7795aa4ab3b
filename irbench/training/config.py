"""The part of a recipe that says how a network is trained."""

from dataclasses import dataclass

from irbench.backbones import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(NetworkConfig):
    """Optimiser, schedule and augmentation; every trained method's own `Config` extends it.

    The defaults are those of the paper's own networks (appendix A), or of the published code where it is silent.
    """

    epochs: int
    batch: int = 64
    per_class: int = 0  # images of one class drawn together; 0 draws without regard to classes
    # optimiser
    optimizer: str = "adamw"  # or "adam"
    lr: float
    body_lr: float = 0.01  # learning rate of the backbone, as a share of `lr`
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.96)
    clip_gradient: float = 0.0  # largest gradient norm; 0 does not clip
    # schedule
    schedule: str = "cosine"  # or "step" (a tenth at 60 % and 80 % of the epochs), "constant"
    warmup: float = 0.1  # share of the epochs in which the rate rises from `warmup_lr`
    warmup_lr: float = 5e-7
    final_lr: float = 0.0
    # augmentation: pictures are kept at `decoded_side`, of which a random square of `side` is seen
    decoded_side: int = 256
    fit: str = "cover"  # see irbench.images.View
    mirror: bool = False  # half of the pictures mirrored, unless that changes what they show
    rotate: float = 0.0  # up to ± degrees
    zoom: float = 0.0  # scaled by 1 ± this share
    shift: float = 0.0  # moved by up to ± this share of the side
