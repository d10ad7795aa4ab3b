"""Optimisers and learning-rate schedules of torch and timm, as a recipe chooses them, and a step of the former."""

from collections.abc import Iterable
from typing import Any

import torch
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.scheduler.multistep_lr import MultiStepLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn

from irbench.training.config import TrainingConfig


def make_optimizer(module: nn.Module, backbone: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the recipe's optimiser, in which `backbone` has its own learning rate."""
    in_backbone = {id(p) for p in backbone.parameters()}
    groups = []
    for inside in (True, False):
        parameters = [p for p in module.parameters() if p.requires_grad and (id(p) in in_backbone) == inside]
        lr = config.lr * (config.backbone_lr if inside else 1.0)
        groups.append(_group((p for p in parameters if p.ndim >= 2), lr, config.weight_decay))
        groups.append(_group((p for p in parameters if p.ndim < 2), lr, config.weight_decay * config.decay_vectors))
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    return kinds[config.optimizer]([g for g in groups if g["params"]], betas=config.betas, fused=True)


def make_scheduler(optimizer: torch.optim.Optimizer, config: TrainingConfig, batches: int) -> Scheduler:
    """Return the recipe's schedule, updated before each step by `scheduler.step_update(number of steps done)`."""
    steps = config.epochs * batches
    warmup: dict[str, Any] = {
        "warmup_t": int(config.warmup * steps),
        "warmup_lr_init": config.warmup_lr,
        "t_in_epochs": False,
    }
    if config.schedule == "cosine":
        cycle: dict[str, Any] = {"cycle_limit": config.cycles, "cycle_decay": config.cycle_decay}
        length = config.cycle_epochs * batches or steps
        return CosineLRScheduler(optimizer, t_initial=length, lr_min=config.final_lr, **cycle, **warmup)
    # timm drops the rate one step before the given one
    drops = {"step": [int(0.6 * steps) + 1, int(0.8 * steps) + 1], "constant": [steps + 1]}
    return MultiStepLRScheduler(optimizer, decay_t=drops[config.schedule], decay_rate=0.1, **warmup)


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, module: nn.Module, clip_gradient: float) -> Tensor:
    """Take a step down the gradient of `loss`, cut to the norm `clip_gradient` unless that is 0; return the loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if clip_gradient:
        nn.utils.clip_grad_norm_(module.parameters(), clip_gradient)
    optimizer.step()
    return loss.detach()


def _group(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> dict[str, object]:
    return {"params": list(parameters), "lr": lr, "weight_decay": weight_decay}
