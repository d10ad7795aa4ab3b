"""What every kind of identifier in the catalog must keep to, on small pictures and small recipes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from irbench.config.registry import IDENTIFIERS
from irbench.core import cell
from irbench.core.errors import ContractError
from irbench.core.identifiers import Identifiers
from irbench.experiments.build import Builder
from irbench.protocols import Trainable

SMALL = {  # how small a recipe of each kind can be made; kinds that are not named need no help
    "semantic": {"num_codebooks": 3, "codebook_size": 8},
    "hkm": {"clusters": 3, "starts": 1},
    "rqvae": {"image_size": 16, "resize_size": 16, "batch": 16},
}


@pytest.fixture(autouse=True)
def one_thread():
    """Networks of this size lose by a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=sorted(IDENTIFIERS))
def make(request):
    """Build the identifier as a cell would have it, from the recipe of its own name."""

    def build(runtime):
        changes = tuple({"image_size": 32, "resize_size": 32, **SMALL.get(request.param, {})}.items())
        made = cell.Cell(method="irgen", identifier=request.param, dataset="digits", scale="tiny",
                         default_scale="tiny", epochs=2, overrides=changes)  # fmt: skip
        return Builder(made, runtime).identifier()

    return build


def trained(make, runtime, images):
    identifier = make(runtime)
    if isinstance(identifier, Trainable):
        identifier.train(images)
    return identifier


def test_codes_are_the_same_in_any_company_in_another_process_and_with_equal_seeds(make, runtime, images, tmp_path):
    identifier = trained(make, runtime, images)
    found = identifier.encode(images)
    assert isinstance(found, Identifiers)
    assert len(found) == len(images)
    rows = np.random.default_rng(0).permutation(len(images))
    np.testing.assert_array_equal(identifier.encode(images.take(rows)).codes, found.codes[rows])
    np.testing.assert_array_equal(identifier.encode(images.take(rows[:1])).codes, found.codes[rows[:1]])
    np.testing.assert_array_equal(trained(make, runtime, images).encode(images).codes, found.codes)
    elsewhere = replace(runtime, store=type(runtime.store)(tmp_path / "elsewhere"))
    np.testing.assert_array_equal(trained(make, elsewhere, images).encode(images).codes, found.codes)


def test_images_that_training_has_not_seen_get_codes_of_the_same_shape(make, runtime, images):
    identifier = trained(make, runtime, images)
    known = identifier.encode(images)
    new = replace(images, ids=tuple(f"new {id_}" for id_ in images.ids), arrays=255 - images.arrays)
    found = identifier.encode(new)
    assert (found.codebook_size, found.num_codebooks) == (known.codebook_size, known.num_codebooks)
    assert {
        "num_codebooks": found.num_codebooks,
        "codebook_size": found.codebook_size,
    }.items() <= identifier.describe().details.items()


def test_nothing_is_encoded_before_training(make, runtime, images):
    identifier = make(runtime)
    if isinstance(identifier, Trainable):
        with pytest.raises(ContractError, match="before it was trained"):
            identifier.encode(images)
        with pytest.raises(ContractError, match="before it was trained"):
            identifier.describe()
