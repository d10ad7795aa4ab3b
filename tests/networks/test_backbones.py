"""Frozen stages: what does not learn stays as it is, batch norms included, and the rest learns."""

import pytest
import torch
from raising import raises

from irbench.core.errors import RecipeError
from irbench.networks.backbones import NetworkConfig, VisionNetwork


def stepped(network: VisionNetwork) -> set[str]:
    """Take one step of training; return the names of parameters and buffers that it changed."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    network(images).square().mean().backward()
    torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0).step()
    return {name for name, value in network.state_dict().items() if not value.equal(before[name])}


@pytest.mark.parametrize(
    ("backbone", "frozen", "learns"),
    [
        ("test_resnet", ("conv1.", "bn1.", "layer1.", "layer2."), ("layer3.", "layer4.")),
        ("test_vit", ("cls_token", "pos_embed", "patch_embed.", "blocks.0.", "blocks.1."), ("blocks.2.", "blocks.5.")),
    ],
)
def test_frozen_stages_stay_and_the_others_learn(backbone, frozen, learns) -> None:
    torch.manual_seed(0)
    network = VisionNetwork(NetworkConfig(backbone=backbone, image_size=64, resize_size=64))
    last = next(parameter for name, parameter in network.named_parameters() if learns[-1] in name)
    last.requires_grad = False  # as timm itself leaves some
    network.freeze(2)
    changed = {name.removeprefix("backbone.") for name in stepped(network)}
    assert not [name for name in changed if name.startswith(frozen)]
    for part in learns:
        assert [name for name in changed if name.startswith(part)]
    network.freeze(0)
    everything = {name.removeprefix("backbone.") for name in stepped(network)}
    for part in (*frozen, *learns):
        assert [name for name in everything if name.startswith(part)], part
    assert not last.requires_grad


def test_one_stage_has_to_learn() -> None:
    network = VisionNetwork(NetworkConfig(backbone="test_resnet"))
    network.freeze(3)
    with raises(RecipeError, "bad-value", "frozen_stages = 4", "test_resnet"):
        network.freeze(4)
