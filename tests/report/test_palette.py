"""The palette: methods can be told apart, also by those who see two kinds of colour; names alone decide."""

from itertools import combinations

import numpy as np
import pytest

from irbench.config import recipes
from irbench.experiments.ablations import ABLATIONS, ablation_cells
from irbench.experiments.plan import Request
from irbench.report.palette import _ENCODERS, _METHODS, RIGHT, STAGES, WRONG, look

# what people without one kind of cones see of linear RGB: Machado, Oliveira, Fernandes 2009, severity 1
SIGHTS = {
    "all": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def lab(color, sight):
    rgb = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(sight) @ linear, 0, 1)
    xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]] @ seen / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def apart(one, other, sight="all"):
    return np.linalg.norm(lab(one, SIGHTS[sight]) - lab(other, SIGHTS[sight]))


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize(("colors", "least"), [(_METHODS, 14), (STAGES, 12), ({"right": RIGHT, "wrong": WRONG}, 14)])
def test_methods_stages_and_hits_are_distinguished_with_any_sight(colors, least, sight):
    for (a, one), (b, other) in combinations(colors.items(), 2):
        assert apart(one, other, sight) > least, f"{a} and {b} look alike"


def test_a_color_means_a_method_or_a_stage():
    alike = {(s, m) for s, one in STAGES.items() for m, other in _METHODS.items() if apart(one, other) < 12}
    assert alike == {("decoder", "irgen")}  # the decoder is IRGen's


@pytest.mark.parametrize("incremental", [False, True])
def test_no_two_variants_of_an_ablation_look_alike(incremental):
    names = (
        ["fresh"]
        if incremental
        else [name for name, one in ABLATIONS.items() if not (one.incremental or one.index or one.embedding)]
    )
    cells = [
        cell
        for name in names
        for dataset in ("digits", "omniglot-small")
        for cell in ablation_cells(name, Request(methods=("irgen",), datasets=(dataset,)))
    ]
    variants = {(cell.variant or "").removeprefix("incremental").removeprefix(",") for cell in cells}
    looks = [look("irgen", variant=variant) for variant in variants]
    assert len(looks) > 5
    assert len({(one.marker, one.dash) for one in looks}) == len(looks)


def test_a_cell_is_drawn_by_its_parts():
    assert set(recipes.names("methods")) == set(_METHODS) | set(_ENCODERS)
    together = {name: _METHODS[name] for name in ("clip", "res101-img")} | _ENCODERS  # the grid of encoders
    assert min(apart(one, other) for one, other in combinations(together.values(), 2)) > 12
    searches = recipes.names("methods/search")
    cells = [look("ft-clip", search) for search in searches]
    assert len({one.color for one in cells}) == 1
    assert len({one.marker for one in cells}) == len({one.dash for one in cells}) == len(searches)
    identifiers = [name for name in recipes.names("methods/identifier") if "semantic" not in name]
    assert len({look("irgen", variant=name).color for name in ("", *identifiers)}) == 1 + len(identifiers)
    assert look("theirs", variant="imported") == look("theirs", variant="imported") != look("theirs")
    assert look("theirs", "their-index").color == look("theirs", "linear").color
