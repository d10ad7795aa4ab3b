"""Matlab files: those of data sets are read, and others are one message, whatever they do to their reader."""

from contextlib import suppress

import numpy as np
import pytest
import scipy.io
from hypothesis import example, given, settings
from hypothesis import strategies as st
from raising import raises

from irbench.core.errors import DataError
from irbench.data.loaders.matlab import column, matlab


def cells(depth: int) -> np.ndarray:
    """A cell in a cell in a cell …"""
    inner: np.ndarray = np.zeros(1)
    for _ in range(depth):
        outer = np.empty((1,), object)
        outer[0] = inner
        inner = outer
    return inner


def test_a_table_as_those_of_data_sets(tmp_path):
    table = np.array([(f"{row}.jpg", row, [row]) for row in range(200)],
                     [("fname", object), ("class", "i4"), ("more", object)])  # fmt: skip
    scipy.io.savemat(tmp_path / "x.mat", {"annotations": table}, do_compression=True)
    read = matlab(tmp_path / "x.mat", "annotations")
    assert column(read, "class", tmp_path / "x.mat").tolist() == list(range(200))
    assert read["fname"][7] == "7.jpg"
    with raises(DataError, "bad-annotation", "x.mat", "'fname'"):
        column(read, "fname", tmp_path / "x.mat")
    for name in ("labels", "__header__"):
        with raises(DataError, "missing-column", "x.mat", name):
            matlab(tmp_path / "x.mat", name)
    with raises(DataError, "missing-column", "x.mat", "'side'"):
        column(read, "side", tmp_path / "x.mat")


@pytest.mark.parametrize("depth", [3, 20_000])
def test_cells_in_cells_end_in_one_message(tmp_path, depth):
    head = (
        bytes.fromhex("0e000000")
        + b"%s"
        + bytes.fromhex("06000000080000000100000000000000050000000800000001000000010000000100000000000000")
    )
    payload = b""
    for _ in range(depth):
        inner = head[10:] + payload
        payload = head[:4] + len(inner).to_bytes(4, "little") + inner
    (tmp_path / "x.mat").write_bytes(b" " * 124 + b"\0\1IM" + payload)
    with pytest.raises(DataError):
        matlab(tmp_path / "x.mat", "x")


@settings(deadline=None, max_examples=10)
@given(st.binary(max_size=300), st.integers(0, 400))
@example(b"\xff" * 200, 130)
def test_any_damage_is_one_of_our_errors(tmp_path_factory, noise, place):
    path = tmp_path_factory.mktemp("mat") / "x.mat"
    scipy.io.savemat(path, {"x": cells(3), "y": np.arange(9)})
    content = path.read_bytes()
    path.write_bytes(content[:place] + noise + content[place + len(noise) :])
    with suppress(DataError):
        matlab(path, "y")
