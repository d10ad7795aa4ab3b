"""Matlab files that scipy would not survive are refused before it sees them; those of data sets are read."""

from contextlib import suppress

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from raising import raises

from irbench.core.errors import DataError
from irbench.data.loaders import files
from irbench.data.loaders.matlab import check_matlab


def cells(depth: int) -> np.ndarray:
    """A cell in a cell in a cell …"""
    inner: np.ndarray = np.zeros(1)
    for _ in range(depth):
        outer = np.empty((1,), object)
        outer[0] = inner
        inner = outer
    return inner


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("depth", [5, 60, 150])
def test_cells_in_cells(tmp_path, depth, compressed):
    scipy.io.savemat(tmp_path / "x.mat", {"x": cells(depth)}, do_compression=compressed)
    if depth < 50:
        check_matlab(tmp_path / "x.mat")
        return
    with raises(DataError, "damaged-file", "x.mat"):
        files.matlab(tmp_path / "x.mat", "x")


def test_what_unpacks_to_more_than_annotations_take(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"x": np.zeros(1 << 25)}, do_compression=True)
    assert (tmp_path / "x.mat").stat().st_size < 1 << 20
    with raises(DataError, "damaged-file", "x.mat"):
        files.matlab(tmp_path / "x.mat", "x")


def test_a_table_as_those_of_data_sets(tmp_path):
    table = np.array([(f"{row}.jpg", row) for row in range(200)], [("fname", object), ("class", "i4")])
    scipy.io.savemat(tmp_path / "x.mat", {"annotations": table}, do_compression=True)
    check_matlab(tmp_path / "x.mat")
    read = files.matlab(tmp_path / "x.mat", "annotations")
    assert files.column(read, "class", tmp_path / "x.mat").tolist() == list(range(200))


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_damage_is_one_of_our_errors(tmp_path_factory, noise, place):
    path = tmp_path_factory.mktemp("mat") / "x.mat"
    scipy.io.savemat(path, {"x": cells(3), "y": np.arange(9)})
    content = path.read_bytes()
    path.write_bytes(content[:place] + noise + content[place + len(noise) :])
    with suppress(DataError):
        files.matlab(path, "y")
