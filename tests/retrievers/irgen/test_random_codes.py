"""Random identifiers: a function of seed and id, and as even as chance is."""

from dataclasses import replace

import numpy as np

from irbench.core.benchmark import ImageSet
from irbench.retrievers.irgen.identifiers.random import Config, RandomIdentifier


def named(*ids):
    return ImageSet(name="gallery", ids=ids, labels=np.zeros(len(ids), np.int64))


def codes(runtime, ids, **config):
    return RandomIdentifier(Config(**config), runtime, None).encode(named(*ids)).codes


def test_an_image_has_the_same_codes_in_every_set_and_others_with_another_seed(runtime):
    together = codes(runtime, ["a", "b", "c"])
    np.testing.assert_array_equal(codes(runtime, ["c", "x", "a"])[[2, 0]], together[[0, 2]])
    relabelled = replace(named("a", "b", "c"), labels=np.arange(3))
    np.testing.assert_array_equal(RandomIdentifier(Config(), runtime, None).encode(relabelled).codes, together)
    assert (codes(replace(runtime, seed=1), ["a", "b", "c"]) != together).any(axis=1).all()


def test_codes_are_even_and_independent_and_identifiers_meet_as_rarely_as_chance_has_it(runtime):
    drawn = codes(runtime, [f"{n}.jpg" for n in range(20_000)], num_codebooks=3, codebook_size=32)
    counts = np.stack([np.bincount(column, minlength=32) for column in drawn.T])
    pairs = np.bincount(drawn[:, 0] * 32 + drawn[:, 1], minlength=1024)
    for observed in (*counts, pairs):
        freedom = len(observed) - 1
        chi = ((observed - observed.mean()) ** 2 / observed.mean()).sum()
        assert abs(chi - freedom) < 5 * np.sqrt(2 * freedom)
    met = len(drawn) - len(np.unique(drawn, axis=0))
    expected = len(drawn) - 32**3 * (1 - (1 - 32**-3.0) ** len(drawn))
    assert abs(met - expected) < 0.05 * expected
