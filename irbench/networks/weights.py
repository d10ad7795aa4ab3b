"""Pretrained weights: the user's file, else the hub's cache, else the hub; their origin is part of every result.

A user's file is opened only as safetensors, a format of arrays alone. Of a hub repository the safetensors file is used
if there is one; a pickled file is read by torch's unpickler for arrays (`weights_only`), which refuses anything else.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm

from irbench.core.errors import MissingWeights, RecipeError, nearest
from irbench.runtime.cache import sha256

_HUB_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")  # the first that exists is used
_PROBE = 4.0  # seconds in which the hub has to respond before a download starts


@dataclass(frozen=True)
class Weights:
    """A file of weights for a timm model, and its origin as results report it."""

    path: Path
    origin: str  # "file NAME sha256:…" or "hub REPOSITORY NAME sha256:…"


def find_weights(name: str, file: Path | None) -> Weights:
    """Return the weights of timm model `name`: `file` if the user gave one, else the hub's.

    Raises `MissingWeights` if there are none, `RecipeError` if timm has no such model or tag of weights.
    """
    check_name(name)
    if file is None:
        return _hub_weights(name)
    if file.suffix != ".safetensors":
        raise MissingWeights(
            f"--weights {file}: only .safetensors files are opened, since other formats can run code. Convert a file "
            "that you trust: safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'model.safetensors')",
            code="unsafe-weights",
        )
    if not file.is_file():
        raise MissingWeights(
            f"--weights {file}: no such file; it has to contain the weights of timm model {name}", code="no-such-file"
        )
    return Weights(file, f"file {file.name} sha256:{sha256(file)}")


def load_network(name: str, weights: Weights, **options: Any) -> Any:
    """Return timm model `name` with `weights`, as published, classifier included.

    timm renames the arrays of known formats, such as OpenAI's of CLIP. Raises `MissingWeights` if an array is missing
    or has another shape.
    """
    overlay = {"file": str(weights.path), "source": "", "custom_load": False}
    try:
        # with the published number of classes: with another one timm accepts missing arrays
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except Exception as error:  # format, names and shapes each raise exceptions of their own
        reason = " ".join(str(error).split())[:400]
        raise MissingWeights(
            f"{weights.path} does not contain the weights of timm model {name}: {reason}", code="wrong-weights"
        ) from error


def check_name(name: str) -> None:
    """Raise `RecipeError` for a backbone that timm does not know, or a tag of weights that it does not have."""
    if not timm.is_model(name):
        known = nearest(name.partition(".")[0], timm.list_models())
        raise RecipeError(f'backbone = "{name}" is no model of timm {timm.__version__}{known}', code="unknown-backbone")
    architecture, _, tag = name.partition(".")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise RecipeError(
            f'backbone = "{name}": timm has no weights of that tag, but {", ".join(tags) or "none"}',
            code="unknown-backbone",
        )


def _hub_weights(name: str) -> Weights:
    from huggingface_hub import try_to_load_from_cache

    cfg = timm.get_pretrained_cfg(name)
    if cfg is None or not cfg.hf_hub_id:
        raise MissingWeights(f"timm knows no hub repository with weights for {name}: pass them with --weights FILE")
    repository, _, revision = cfg.hf_hub_id.partition("@")
    names = (cfg.hf_hub_filename,) if cfg.hf_hub_filename else _HUB_FILES
    cached = ((file, try_to_load_from_cache(repository, file, revision=revision or None)) for file in names)
    file, path = next(((file, path) for file, path in cached if isinstance(path, str)), ("", ""))
    if not path:
        file, path = _fetch(name, repository, revision or None, names)
    return Weights(Path(path), f"hub {repository} {file} sha256:{sha256(Path(path))}")


def _fetch(name: str, repository: str, revision: str | None, names: tuple[str, ...]) -> tuple[str, str]:
    """Download the first of `names` that the repository has; a hub that does not respond is reported within seconds."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    for file in names:
        try:
            # one request, without the minute of retries that a download spends on a machine without a network
            get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), timeout=_PROBE)
            return file, hf_hub_download(repository, file, revision=revision)
        except RemoteEntryNotFoundError:
            continue
        except Exception as error:  # offline, refused, interrupted, disk full: one message, no traceback
            reason = " ".join(str(error).split())[:240]
            raise MissingWeights(
                _advice(name, repository, f"the hub does not respond: {reason}"), code="hub-unreachable"
            ) from error
    raise MissingWeights(_advice(name, repository, f"its repository has none of {', '.join(names)}"))


def _advice(name: str, repository: str, reason: str) -> str:
    return (
        f"no weights for {name}: they are not in the hub's cache on this machine, and {reason}. Fetch "
        f"{_HUB_FILES[0]} (or {_HUB_FILES[1]}) of repository {repository} from the Hugging Face hub and pass it with "
        "--weights FILE; or, for a method that trains, use --scale tiny or small, which start from scratch"
    )
