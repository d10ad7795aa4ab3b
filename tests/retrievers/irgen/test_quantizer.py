"""Residual quantisation against a plain loop over equations 1 and 2."""

import numpy as np
import torch

from irbench.retrievers.irgen.quantizer import ResidualQuantizer


def fitted(num_codebooks: int, codebook_size: int, size: int, dim: int = 6) -> tuple[ResidualQuantizer, torch.Tensor]:
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(size, dim)).astype(np.float32))
    quantizer = ResidualQuantizer(num_codebooks, codebook_size, dim)
    quantizer.fit(features, seed=0)
    return quantizer, features


def test_codes_and_prefix_sums_are_those_of_equations_1_and_2() -> None:
    quantizer, features = fitted(num_codebooks=3, codebook_size=8, size=100)
    codes, sums = quantizer(features)
    books = quantizer.codebooks.double().numpy()
    for row, feature in enumerate(features.double().numpy()):
        residual, total = feature, np.zeros_like(feature)
        for level in range(3):
            code = int(((residual - books[level]) ** 2).sum(axis=1).argmin())
            assert codes[row, level] == code
            residual, total = residual - books[level][code], total + books[level][code]
            np.testing.assert_allclose(sums[row, level], total, atol=1e-5)


def test_each_codebook_leaves_less_of_the_features_over() -> None:
    quantizer, features = fitted(num_codebooks=4, codebook_size=16, size=400)
    _, sums = quantizer(features)
    left = (features[:, None] - sums).square().sum(-1).mean(0)
    assert (left.diff() < 0).all()
    assert left[0] < features.square().sum(-1).mean()


def test_fewer_images_than_codes_are_each_their_own_centroid_and_spare_codes_stay_unused() -> None:
    quantizer, features = fitted(num_codebooks=2, codebook_size=32, size=5)
    codes, sums = quantizer(features)
    assert codes.max() < 5
    torch.testing.assert_close(sums[:, 0], features, atol=1e-5, rtol=0)


def test_equal_seeds_make_equal_codebooks() -> None:
    assert torch.equal(fitted(3, 16, 300)[0].codebooks, fitted(3, 16, 300)[0].codebooks)
