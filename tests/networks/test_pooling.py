"""Features of networks: what timm's own networks make of an image, for every recipe, and what slow loops pool."""

from typing import Any

import pytest
import timm
import torch
from raising import raises
from torch import nn

from irbench.config import recipes
from irbench.config.recipes import MethodHead
from irbench.config.registry import ENCODERS
from irbench.core.errors import RecipeError
from irbench.networks import backbones
from irbench.networks.backbones import NetworkConfig, PublishedNetwork, VisionNetwork
from irbench.networks.weights import Weights

PUBLISHED = [
    name
    for name in recipes.names("methods")
    if recipes.find("methods", name).head(MethodHead).encoder == "off-the-shelf"
]
TIMMS = {"cls": "token", "mean": "avg", "attention": "map"}  # by what irbench calls it


def config_of(name: str) -> Any:
    recipe = recipes.find("methods", name)
    scale = recipe.head(MethodHead).scales[0]
    return recipe.config(ENCODERS.schema("off-the-shelf"), scale=scale, dataset="")


def made(name: str, **options: Any) -> nn.Module:
    """A timm network with random weights; a transformer of one block, which shows as much as one of twenty."""
    torch.manual_seed(0)
    depth = {"depth": 1} if name.startswith(("vit_", "eva02_", "test_vit")) else {}
    network = timm.create_model(name, pretrained=False, **options, **depth)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1) if parameter.ndim == 1 else None  # norms that do something
    return network.eval()


@pytest.fixture
def random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "find_weights", lambda *_: Weights(path=None, origin="random"))  # type: ignore[arg-type]
    monkeypatch.setattr(backbones, "load_network", lambda name, _, **options: made(name, **options))


def test_the_encoders_of_today_have_recipes_whose_weights_timm_knows() -> None:
    assert {"clip", "dinov2-s", "dinov2-b", "dinov2-l", "dinov3-b", "siglip2", "openclip", "pe-core"} <= set(PUBLISHED)
    assert {"mobileclip2", "convnext", "eva02"} <= set(PUBLISHED)
    published = set(timm.list_pretrained())
    assert {config_of(name).backbone for name in PUBLISHED} <= published


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_gives_what_timm_gives_of_its_network(name: str, random_weights: None) -> None:
    config = config_of(name)
    published = timm.get_pretrained_cfg(config.backbone)
    assert published is not None
    network = PublishedNetwork(config, projected=config.projected).eval()
    images = torch.randint(0, 256, (2, 3, config.image_size, config.image_size)).float()
    mean, std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (published.mean, published.std))
    options: dict[str, Any] = {} if config.projected else {"num_classes": 0}
    options |= {"img_size": config.image_size} if published.fixed_input_size else {}
    if config.pool != "native":
        options["global_pool"] = TIMMS[config.pool]
    theirs = made(config.backbone, **options)
    theirs.load_state_dict(network.backbone.state_dict())
    with torch.inference_mode():
        found, due = network(images), theirs((images / 255 - mean) / std)
    assert found.shape == (2, due.shape[1])
    torch.testing.assert_close(found, due, rtol=1e-4, atol=1e-4)
    assert due.std() > 0.01


@pytest.mark.parametrize(
    ("backbone", "pool", "size", "token_dim", "dim"),
    [
        ("test_vit", "native", 64, 64, 64),
        ("test_vit", "gem", 48, 64, 64),
        ("test_resnet", "native", 64, 96, 96),
        ("test_convnext", "native", 64, 64, 64),
        ("efficientvit_b0", "native", 64, 128, 1280),
        ("swin_tiny_patch4_window7_224", "native", 128, 768, 768),
        ("tiny_vit_5m_224", "mean", 96, 320, 320),
        ("fastvit_mci0", "native", 64, 1024, 1024),
        ("vit_tiny_patch16_dinov3_qkvb", "cls", 64, 192, 192),
        ("vit_pe_core_tiny_patch16_384", "native", 96, 192, 192),
        ("eva02_tiny_patch14_224", "native", 56, 192, 192),
    ],
)
def test_a_network_that_is_trained_has_the_features_of_the_published_one(backbone, pool, size, token_dim, dim) -> None:
    torch.manual_seed(0)
    network = VisionNetwork(NetworkConfig(backbone=backbone, image_size=size, resize_size=size, pool=pool)).eval()
    images = torch.randint(0, 256, (3, 3, size, size)).float()
    with torch.inference_mode():
        tokens = network(images)
        feature = network.feature(tokens)
        maps = network.backbone.forward_features(network.normalized(images))
        due = network.backbone.forward_head(maps, pre_logits=True)
    assert tokens.shape[2] == network.token_dim == token_dim
    assert feature.shape == (3, dim)
    assert network.dim == dim
    assert feature.dtype == torch.float32
    cells = tokens[:, getattr(network.backbone, "num_prefix_tokens", 0) :]
    if pool == "native":
        torch.testing.assert_close(feature, due, rtol=1e-4, atol=1e-4)
    elif pool == "cls":
        assert feature.equal(tokens[:, 0])
    elif pool == "mean":
        slow = torch.stack([sum(cell for cell in image) / len(image) for image in cells])
        torch.testing.assert_close(feature, slow, rtol=1e-4, atol=1e-5)
    else:
        slow = (torch.stack([sum(cell.clamp(min=1e-6) ** 3 for cell in image) / len(image) for image in cells])) ** (
            1 / 3
        )
        torch.testing.assert_close(feature, slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "changes", "words"),
    [
        ("test_resnet", {"pool": "cls"}, "class token"),
        ("test_vit", {"pool": "attention"}, "attention"),
        ("test_vit", {"image_size": 8, "resize_size": 8}, "160"),
        ("swin_tiny_patch4_window7_224", {"image_size": 2, "resize_size": 2}, "224"),
    ],
)
def test_what_a_network_does_not_have_is_said_in_one_line(backbone: str, changes: dict[str, Any], words: str) -> None:
    with raises(RecipeError, "bad-value", backbone, words) as raised:
        VisionNetwork(NetworkConfig(**({"backbone": backbone, "image_size": 64, "resize_size": 64} | changes)))
    assert "\n" not in str(raised.value)
