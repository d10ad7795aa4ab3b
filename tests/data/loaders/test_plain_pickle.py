"""Pickles are read as plain values or refused: whatever their bytes are, nothing in them is executed."""

import pickle
import pickletools
from collections import OrderedDict
from contextlib import suppress
from datetime import date
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from raising import raises

from irbench.core.errors import DataError
from irbench.data.loaders import plain_pickle

WHERE = "gnd.pkl"
NUMBERS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
TEXTS = st.text(max_size=300)


def nested(leaves):
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS | st.integers(), inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple),
        max_leaves=40,
    )  # fmt: skip


@given(nested(NUMBERS | TEXTS), st.integers(0, 4), st.booleans())
@example(["same"] * 3 + [10**400, -(10**400), "\0\n\\ \N{SNOWMAN}\ud800", (), [], {}], 0, False)
@example([list(range(3000)), "x" * 300, 1 << 40], 4, True)
def test_plain_values_come_back(value, protocol, optimized):
    content = pickle.dumps(value, protocol)
    found = plain_pickle.loads(pickletools.optimize(content) if optimized else content, WHERE)
    assert (found, repr(found)) == (value, repr(value))  # 1, 1.0 and True are equal, and written differently


@given(nested(st.binary(max_size=300)), st.sampled_from([3, 4]))
def test_bytes_come_back_where_the_protocol_has_them(value, protocol):
    assert plain_pickle.loads(pickle.dumps(value, protocol), WHERE) == value


@pytest.mark.parametrize(
    "content",
    [
        b"(dp0\nS'imlist'\np1\n(lp2\nS'ashmolean_000000'\np3\nasS'bbx'\np4\n(lp5\nF136.5\naI34\nasS'ok'\np6\nI01\ns.",
        b"\x80\x02}(U\x06imlist]U\x10ashmolean_000000aU\x03bbxq\x04](G@a\x10\0\0\0\0\0K\x22eU\x02ok\x88u.",
    ],
)
def test_texts_of_python_2_are_texts(content):
    expected = {"imlist": ["ashmolean_000000"], "bbx": [136.5, 34], "ok": True}
    assert plain_pickle.loads(content, WHERE) == expected == pickle.loads(content)


class Executed:
    def __reduce__(self):
        return (Path.touch, (Path("/nowhere/at/all"),))


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize(
    "value",
    [Executed(), Executed, print, {1}, frozenset({1}), 1j, Fraction(1, 2), date(2018, 6, 18), OrderedDict(a=1),
     np.arange(3), np.float64(1), np.int64(1), bytearray(b"x")],
)  # fmt: skip
def test_whatever_has_a_class_is_refused(value, protocol):
    for inside in (value, [value], {"gnd": [{"bbx": value}]}):
        with raises(DataError, "unsafe-pickle", WHERE):
            plain_pickle.loads(pickle.dumps(inside, protocol), WHERE)


def test_every_other_opcode_is_refused():
    refused = set()
    for opcode in pickletools.opcodes:
        built = plain_pickle._Built()
        with suppress(IndexError, KeyError, TypeError, ValueError):  # it is known, and there is nothing on the stack
            try:
                built.carry_out(opcode.name, 0)
            except plain_pickle._RefusedError:
                refused.add(opcode.name)
    assert refused == {
        "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4",
        "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER", "BYTEARRAY8", "EMPTY_SET", "ADDITEMS", "FROZENSET",
        "DUP", "POP", "POP_MARK",
    }  # fmt: skip


OPCODES = st.sampled_from([opcode.code.encode("latin-1") for opcode in pickletools.opcodes])


@given(st.binary(max_size=200) | st.lists(OPCODES | st.binary(max_size=3), max_size=60).map(b"".join))
@example(b"(I1\ndp0\ng0\n.")
@example(b"]q\0h\0h\0\x86.")
def test_any_bytes_are_read_or_refused(content):
    with suppress(DataError):
        found = plain_pickle.loads(content, WHERE)
        try:
            theirs = pickle.loads(content, encoding="latin-1")  # which is safe now
        except Exception:  # it also refuses what lies in no frame, or is of a later protocol
            return
        assert repr(found) == repr(theirs)


@given(nested(NUMBERS | TEXTS), st.integers(0, 4), st.data())
def test_a_pickle_that_is_cut_short_is_refused(value, protocol, data):
    content = pickle.dumps(value, protocol)
    with raises(DataError, "damaged-file", WHERE):
        plain_pickle.loads(content[: data.draw(st.integers(0, len(content) - 1))], WHERE)


def wrapped(times: int):
    value = []
    for _ in range(times):
        value = [value]
    return value


def test_depth_and_extent_are_bounded(tmp_path, monkeypatch):
    assert plain_pickle.loads(pickle.dumps(wrapped(plain_pickle.DEEPEST - 1)), WHERE)
    own = []
    own.append({"own": own})
    many = [[]] * 9
    for _ in range(20):  # 9 ** 20 values in a few hundred bytes
        many = [many] * 9
    for content in (
        pickle.dumps(wrapped(plain_pickle.DEEPEST + 1)),
        pickle.dumps(own),
        pickle.dumps(many),
        b"(]" + b"\x85" * 100_000 + b"K\x01d.",  # a tuple as the key of a dict, whose hash would recurse
        b"]" * 100_000 + b"a" * 99_999 + b".",
        b"(" * 100_000 + b"l" * 100_000 + b".",
        pickle.dumps({(1, 2): 3}),
    ):
        with raises(DataError, "damaged-file", WHERE):
            plain_pickle.loads(content, WHERE)
    path = tmp_path / "gnd.pkl"
    path.write_bytes(pickle.dumps(list(range(99))))
    assert plain_pickle.load(path) == list(range(99))
    monkeypatch.setattr(plain_pickle, "LARGEST", 99)
    with raises(DataError, "damaged-file", path):
        plain_pickle.load(path)
