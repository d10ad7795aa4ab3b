"""Pretrained weights: from a file, from the hub's cache, or reported missing at once; reading one runs no code."""

import pickle
import shutil
import time
from dataclasses import replace

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from raising import raises
from safetensors.torch import save_file
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

from irbench.core.errors import MissingWeights, RecipeError
from irbench.networks.backbones import FROM_SCRATCH, NetworkConfig, PublishedNetwork, VisionNetwork
from irbench.networks.weights import choose_file, find_weights, load_network
from irbench.retrievers.encoders.off_the_shelf import Config, OffTheShelfEncoder
from irbench.runtime.cache import sha256
from irbench.training.config import TrainingConfig

SIDE = 32


default_cfgs = generate_default_cfgs(
    {
        "vit_micro_clip_32.test": {
            "input_size": (3, SIDE, SIDE),
            "num_classes": 8,
            "mean": (0.4, 0.5, 0.6),
            "std": (0.2, 0.3, 0.4),
            "first_conv": "patch_embed.proj",
            "classifier": "head",
            "hf_hub_id": "nobody/vit_micro_clip_32.test",
        }
    }
)


@register_model
def vit_micro_clip_32(pretrained=False, **kwargs):
    """CLIP's picture tower in all but size."""
    size = {"img_size": SIDE, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2}
    kind = {"pre_norm": True, "norm_layer": torch.nn.LayerNorm, "act_layer": "quick_gelu"}
    return build_model_with_cfg(
        VisionTransformer,
        "vit_micro_clip_32",
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        **{**size, **kind, **kwargs},
    )


def source(name, **options):
    """A network with weights of its own, batch norms and biases included."""
    torch.manual_seed(5)
    network = timm.create_model(name, pretrained=False, **options).eval()
    state = {
        key: value + 0.1 * torch.rand(value.shape)
        for key, value in network.state_dict().items()
        if value.is_floating_point()
    }
    network.load_state_dict(state, strict=False)
    return network


def saved(network, path, change=lambda state: state):
    save_file({k: v.contiguous().clone() for k, v in change(dict(network.state_dict())).items()}, path)
    return path


OPENAI = {
    "norm_pre": "ln_pre", "norm1": "ln_1", "norm2": "ln_2", "norm.": "ln_post.", "blocks.": "transformer.resblocks.",
    "patch_embed.proj": "conv1", "attn.qkv.": "attn.in_proj_", "attn.proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
}  # fmt: skip


def openai_name(name):
    for ours, theirs in OPENAI.items():
        name = name.replace(ours, theirs)
    return f"visual.{name}"


def as_openai_names_it(state):
    """The names and shapes of OpenAI's CLIP for a timm network's arrays, with a text tower beside."""
    out = {"transformer.resblocks.0.ln_1.weight": torch.ones(3), "logit_scale": torch.zeros(())}
    out |= {openai_name(name): value for name, value in state.items()}
    out["visual.class_embedding"] = out.pop("visual.cls_token")[0, 0]
    out["visual.positional_embedding"] = out.pop("visual.pos_embed")[0]
    out["visual.proj"] = out.pop("visual.head.weight").T
    del out["visual.head.bias"]
    return out


def photographs(side):
    return (torch.rand(3, side, side, 3, generator=torch.Generator().manual_seed(1)) * 255).permute(0, 3, 1, 2)


def assert_close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=5e-4)


def scaled(images, network):
    cfg = network.pretrained_cfg
    mean, std = (torch.tensor(cfg[what]).view(1, 3, 1, 1) for what in ("mean", "std"))
    return (images / 255 - mean) / std


@pytest.mark.parametrize("name", ["test_resnet.r160_in1k", "test_vit.r160_in1k", "vit_micro_clip_32.test"])
@torch.no_grad()
def test_a_file_gives_the_features_of_the_network_it_was_saved_from(tmp_path, name):
    side = 32 if "clip" in name else 160
    theirs, file = source(name), tmp_path / "w.safetensors"
    saved(theirs, file)
    config, images = NetworkConfig(backbone=name, image_size=side), photographs(side)
    x = scaled(images, theirs)
    ours = PublishedNetwork(config, weights=[file]).eval()
    assert ours.weights == f"file w.safetensors sha256:{sha256(file)}"
    assert_close(ours(images), theirs.forward_head(theirs.forward_features(x), pre_logits=True))
    projected = PublishedNetwork(config, weights=[file], projected=True).eval()
    assert_close(projected(images), theirs(x))
    trained = VisionNetwork(config, weights=[file]).eval()
    tokens = trained(images)
    if "resnet" in name:
        assert_close(trained.feature(tokens), theirs.forward_features(x).mean(dim=(2, 3)))
        return
    assert_close(tokens, theirs.forward_features(x))
    assert_close(trained.feature(tokens), tokens[:, 0])
    bare = VisionNetwork(replace(config, final_norm=False), weights=[file]).eval()
    assert_close(theirs.norm(bare(images)), tokens)


@torch.no_grad()
def test_a_whole_clip_under_openais_names_is_read_for_its_image_tower(tmp_path, runtime, images):
    theirs = source("vit_micro_clip_32.test")
    theirs.head.bias.zero_()  # OpenAI's projection has none
    saved(theirs, tmp_path / "clip.safetensors", as_openai_names_it)
    config = Config(backbone="vit_micro_clip_32.test", image_size=SIDE, resize_size=40, projected=True, cosine=True)
    encoder = OffTheShelfEncoder(config, replace(runtime, weights=(tmp_path / "clip.safetensors",)))
    middle = torch.from_numpy(images.arrays[:, 4:36, 4:36]).permute(0, 3, 1, 2).float()
    expected = torch.nn.functional.normalize(theirs(scaled(middle, theirs)), dim=1)
    np.testing.assert_allclose(encoder.encode(images).array, expected, atol=1e-5)
    backbone = encoder.describe().backbone
    assert backbone.name == "vit_micro_clip_32.test"
    assert backbone.weights.startswith("file clip.safetensors sha256:")
    assert backbone.parameters == sum(p.numel() for p in theirs.parameters())


def without(name):
    return lambda state: {k: v for k, v in state.items() if k != name}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (without("layer1.0.conv1.weight"), "layer1.0.conv1.weight"),
        (without("fc.weight"), "fc.weight"),
        (lambda state: state | {"conv1.0.weight": torch.zeros(2, 2)}, "conv1.0.weight"),
        (lambda state: {"blocks.0.attn": torch.zeros(2)}, "Missing key"),
    ],
)
def test_an_array_that_is_missing_or_has_another_shape_is_reported_in_one_line(tmp_path, change, named):
    file = saved(source("test_resnet"), tmp_path / "w.safetensors", change)
    with raises(MissingWeights, "wrong-weights", file, "test_resnet", named) as error:
        VisionNetwork(NetworkConfig(backbone="test_resnet.r160_in1k", image_size=64), weights=[file])
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700


class Bomb:
    def __reduce__(self):
        return (print, ("unpickled",))


@pytest.mark.parametrize("name", ["w.pt", "w.bin", "w.pth", "w", "w.npz"])
def test_other_formats_are_refused_unopened(tmp_path, capsys, name):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with raises(MissingWeights, "unsafe-weights", tmp_path / name, ".safetensors", "save_file"):
        find_weights("test_resnet", [tmp_path / name])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"\x80\x04", pickle.dumps(Bomb()), b"PK\x03\x04", bytes(100)])
def test_a_damaged_or_disguised_file_is_reported(tmp_path, capsys, content):
    file = tmp_path / "w.safetensors"
    file.write_bytes(content)
    with raises(MissingWeights, "wrong-weights", file, "test_resnet"):
        load_network("test_resnet", find_weights("test_resnet", [file]))
    assert capsys.readouterr().out == ""


def test_of_several_files_the_one_named_after_the_backbone_is_taken(tmp_path):
    named, short, other = (tmp_path / f"{stem}.safetensors" for stem in ("resnet18.tv_in1k", "resnet18", "resnet50"))
    assert choose_file("resnet18.tv_in1k", [other, short, named]) == named
    assert choose_file("resnet18.tv_in1k", [other, short]) == short
    assert choose_file("resnet18.tv_in1k", [other]) == other  # the only one: whatever its name
    with raises(MissingWeights, "no-such-file", "resnet18.tv_in1k.safetensors", other):
        choose_file("resnet18.tv_in1k", [other, tmp_path / "resnet34.safetensors"])
    with raises(MissingWeights, "ambiguous-weights", named):
        choose_file("resnet18.tv_in1k", [named, tmp_path / "copy" / named.name])


def test_a_missing_file_is_reported(tmp_path):
    with raises(MissingWeights, "no-such-file", tmp_path / "none.safetensors", "test_vit"):
        find_weights("test_vit", [tmp_path / "none.safetensors"])


@pytest.mark.parametrize(
    ("name", "named"),
    [("resnt101", "'resnet101'"), ("resnet101.nope", "tv_in1k"), ("hf-hub:someone/x", "timm")],
)
def test_an_unknown_backbone_is_reported(name, named):
    with raises(RecipeError, "unknown-backbone", f'"{name}"', named):
        VisionNetwork(NetworkConfig(backbone=name))


def test_a_network_from_scratch_says_so():
    assert VisionNetwork(NetworkConfig(backbone="test_resnet")).facts().weights == FROM_SCRATCH
    smaller = {"image_size": 160, "resize_size": 160, "train_size": 128, "epochs": 1, "lr": 1.0}
    VisionNetwork(TrainingConfig(backbone="test_resnet", **smaller))
    with raises(RecipeError, "bad-value", "train_size"):  # a transformer takes images of one size
        VisionNetwork(TrainingConfig(backbone="test_vit", **smaller))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub's cache of our own, and a hub that refuses connections."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")

    def put(file, name):
        repository = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / "main").write_text("abc")
        (repository / "snapshots" / "abc").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, repository / "snapshots" / "abc" / name)

    return put


def test_the_hubs_cache_is_used_and_named_with_its_hash(tmp_path, cache):
    theirs = source("test_resnet")
    file = saved(theirs, tmp_path / "w.safetensors")
    cache(file, "model.safetensors")
    torch.save({}, tmp_path / "w.bin")
    cache(tmp_path / "w.bin", "pytorch_model.bin")
    network = VisionNetwork(NetworkConfig(backbone="test_resnet.r160_in1k"))
    assert network.weights == f"hub timm/test_resnet.r160_in1k model.safetensors sha256:{sha256(file)}"
    torch.testing.assert_close(network.backbone.conv1[0].weight.contiguous(), theirs.conv1[0].weight)


def test_a_pickled_file_of_the_hub_is_read_for_arrays_alone(tmp_path, cache, capsys):
    theirs = source("test_resnet")
    torch.save(theirs.state_dict(), tmp_path / "w.bin")
    cache(tmp_path / "w.bin", "pytorch_model.bin")
    network = VisionNetwork(NetworkConfig(backbone="test_resnet.r160_in1k"))
    assert "pytorch_model.bin sha256:" in network.weights
    torch.testing.assert_close(network.backbone.conv1[0].weight.contiguous(), theirs.conv1[0].weight)
    torch.save({"x": Bomb()}, tmp_path / "w.bin")
    cache(tmp_path / "w.bin", "pytorch_model.bin")
    with pytest.raises(MissingWeights):
        VisionNetwork(NetworkConfig(backbone="test_resnet.r160_in1k"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["test_resnet", "vit_base_patch16_clip_quickgelu_224.openai", "resnet101.tv_in1k"])
def test_without_a_network_the_message_comes_at_once_and_says_what_to_do(cache, name):
    started = time.monotonic()
    with pytest.raises(MissingWeights) as error:
        find_weights(name)
    assert time.monotonic() - started < 2
    message = str(error.value)
    for part in (name, "timm/", "model.safetensors", "--weights FILE", "--scale tiny"):
        assert part in message
    assert "\n" not in message
    assert len(message) < 700


def test_a_repository_that_has_no_such_file_is_requested_the_next(tmp_path, cache, monkeypatch):
    file, asked = saved(source("test_resnet"), tmp_path / "w.safetensors"), []

    def metadata(url, timeout):
        asked.append(url.rpartition("/")[2])
        if asked[-1] == "model.safetensors":
            raise missing

    response = type("Response", (), {"headers": {}, "request": None})()
    missing = huggingface_hub.errors.RemoteEntryNotFoundError("404", response=response)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repository, name, revision: str(file))
    assert find_weights("test_resnet", None).origin.startswith(
        "hub timm/test_resnet.r160_in1k open_clip_model.safetensors"
    )
    assert asked == ["model.safetensors", "open_clip_model.safetensors"]
