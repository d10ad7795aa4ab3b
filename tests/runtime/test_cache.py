"""The store keeps its word: an entry is there whole or not at all, made once, and never used when damaged."""

import errno
import json
import multiprocessing
import os
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raising import raises

from irbench.core.errors import StoreError
from irbench.runtime.cache import Busy, Key, Store, write_atomically
from irbench.runtime.timer import Timer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KEY = Key("pixels", {"data": "abc", "image_size": 64})


def make(folder: Path) -> None:
    (folder / "array.bin").write_bytes(b"twelve bytes")
    (folder / "facts.json").write_text("{}")


def refuse(folder: Path) -> None:
    raise AssertionError("made again although it is there")


@given(st.dictionaries(st.text(), JSON, min_size=1, max_size=4), st.randoms())
def test_the_order_of_a_keys_parts_does_not_matter(parts, random):
    shuffled = list(parts.items())
    random.shuffle(shuffled)
    assert Key("model", parts).digest == Key("model", dict(shuffled)).digest


@given(st.dictionaries(st.text(), JSON, min_size=1, max_size=4), st.data())
def test_any_changed_part_changes_the_digest(parts, data):
    name = data.draw(st.sampled_from(sorted(parts)))
    other = data.draw(JSON)
    digest = Key("model", parts).digest
    if json.dumps(other, sort_keys=True) != json.dumps(parts[name], sort_keys=True):
        assert Key("model", parts | {name: other}).digest != digest
    assert Key("model", {k: v for k, v in parts.items() if k != name}).digest != digest
    assert Key("embeddings", parts).digest != digest


def test_a_part_named_kind_is_not_mistaken_for_the_kind():
    assert Key("model", {"kind": "pixels"}).digest != Key("pixels", {"kind": "pixels"}).digest
    assert Key("model", {"kind": "a"}).digest != Key("model", {"kind": "b"}).digest


def test_an_entry_is_made_once_and_its_price_is_charged_each_time(tmp_path):
    def slow(folder):
        time.sleep(0.02)
        make(folder)

    made = Store(tmp_path).ensure(KEY, slow, span="build")
    timer = Timer(bypass_cache=False)
    with timer.run():
        found = Store(tmp_path).ensure(KEY, refuse, span="build")
    assert found == made
    assert timer.seconds["build"] == made.seconds >= 0.02
    assert (found.path / "array.bin").read_bytes() == b"twelve bytes"
    other = Store(tmp_path).ensure(Key("pixels", {"data": "other"}), make, span="build")
    assert other.path != made.path
    assert other.content == made.content


def test_an_entry_keeps_the_conditions_of_all_work_behind_it(tmp_path, monkeypatch):
    def under(processor, load):
        monkeypatch.setattr("irbench.runtime.cache.processor_and_steering", lambda: processor)
        monkeypatch.setattr("irbench.runtime.cache.ConcurrentLoad.cores", lambda _: load)

    start, model = Key("model", {"start": 1}), Key("model", {"on top of": "start"})

    def on_top(folder):
        Store(tmp_path).ensure(start, refuse, span="train")
        make(folder)
        return 7.0  # of an attempt that was stopped, which nobody watched

    under("yesterday's", 1.5)
    Store(tmp_path).ensure(start, make, span="train")
    under("today's", 0.0)
    with Timer(bypass_cache=False).run() as first:
        Store(tmp_path).ensure(model, on_top, span="train")
    with Timer(bypass_cache=False).run() as timer:
        entry = Store(tmp_path).ensure(model, refuse, span="train")
    assert [(work.processor, work.load) for work in entry.works] == [
        ("today's", 0.0),
        (None, None),
        ("yesterday's", 1.5),
    ]
    assert entry.works[1].seconds == 7.0
    assert tuple(timer.remembered) == entry.works
    assert timer.charged == entry.seconds
    assert first.cost == pytest.approx(entry.seconds, abs=0.5)  # the stopped attempt is no cheaper to whom ends it


def found(root, entry, kept):
    """Look the entry up as it lies there, then put it back in order."""
    answer = Store(root).find(KEY)
    entry.path.mkdir(exist_ok=True)
    for name, content in kept.items():
        (entry.path / name).write_bytes(content)
    return answer


@pytest.mark.parametrize("name", ["array.bin", "facts.json", "entry.json"])
def test_truncation_at_every_byte_is_noticed(tmp_path, name):
    entry = Store(tmp_path).ensure(KEY, make, span="build")
    whole = (entry.path / name).read_bytes()
    kept = {path.name: path.read_bytes() for path in entry.path.iterdir()}
    for cut in range(len(whole)):
        (entry.path / name).write_bytes(whole[:cut])
        assert found(tmp_path, entry, kept) is None, cut
    assert Store(tmp_path).find(KEY) == entry


@pytest.mark.parametrize("name", ["array.bin", "facts.json", "entry.json"])
def test_every_flipped_bit_is_noticed(tmp_path, name):
    entry = Store(tmp_path).ensure(KEY, make, span="build")
    whole = (entry.path / name).read_bytes()
    kept = {path.name: path.read_bytes() for path in entry.path.iterdir()}
    for bit in range(0, 8 * len(whole), 1 if len(whole) < 20 else 29):  # every place in a byte comes up
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        (entry.path / name).write_bytes(flipped)
        answer = found(tmp_path, entry, kept)
        assert answer is None or (name == "entry.json" and answer == entry), bit  # 1e-05 may become 1E-05


@pytest.mark.parametrize(
    "listing",
    [
        "[]",
        "{}",
        '{"works": [], "files": {}}',  # claims to be an entry without files
        '{"works": "x", "files": {}}',
        '{"works": [], "files": []}',
        '{"works": [], "files": {"array.bin": {}}}',
        '{"works": [{"seconds": NaN}], "files": {}}',
        "[" * 50_000,
    ],
)
def test_a_listing_that_is_not_one_makes_the_entry_damaged(tmp_path, listing):
    entry = Store(tmp_path).ensure(KEY, make, span="build")
    (entry.path / "entry.json").write_text(listing)
    assert Store(tmp_path).find(KEY) is None


def test_a_damaged_entry_is_kept_aside_and_made_again(tmp_path):
    entry = Store(tmp_path).ensure(KEY, make, span="build")
    (entry.path / "array.bin").write_bytes(b"twelve bytez")
    again = Store(tmp_path).ensure(KEY, make, span="build")
    assert (again.path / "array.bin").read_bytes() == b"twelve bytes"
    (aside,) = tmp_path.glob("pixels/*.damaged-*")
    assert (aside / "array.bin").read_bytes() == b"twelve bytez"


def test_a_missing_file_is_damage(tmp_path):
    entry = Store(tmp_path).ensure(KEY, make, span="build")
    (entry.path / "facts.json").unlink()
    assert Store(tmp_path).find(KEY) is None


def test_a_maker_that_dies_leaves_nothing_but_its_scratch(tmp_path):
    def dies(folder):
        make(folder)
        (Store(tmp_path).scratch(KEY) / "checkpoint").write_text("step 7")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).ensure(KEY, dies, span="build")
    assert Store(tmp_path).find(KEY) is None
    left = {path.name for path in (tmp_path / "pixels").iterdir() if path.is_dir()}
    assert left == {f"{KEY.digest}.partial"}
    assert (Store(tmp_path).scratch(KEY) / "checkpoint").read_text() == "step 7"
    Store(tmp_path).ensure(KEY, make, span="build")
    assert not list(tmp_path.glob("pixels/*.partial"))


def _ensure_slowly(root: Path, log: Path) -> None:
    def slow(folder: Path) -> None:
        with log.open("a") as file:
            file.write("made\n")
        time.sleep(1)
        make(folder)

    entry = Store(root).ensure(KEY, slow, span="build")
    assert (entry.path / "array.bin").read_bytes() == b"twelve bytes"


def test_four_processes_that_want_one_entry_make_it_once(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_ensure_slowly, args=(tmp_path, tmp_path / "log")) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert (tmp_path / "log").read_text() == "made\n"


def test_waiting_for_another_process_costs_nothing_and_what_it_made_costs_once(tmp_path):
    maker = multiprocessing.get_context("fork").Process(target=_ensure_slowly, args=(tmp_path, tmp_path / "log"))
    maker.start()
    while not (tmp_path / "log").exists():
        time.sleep(0.01)
    with pytest.raises(Busy):  # of whoever does not want to wait
        Store(tmp_path, waits=False).ensure(KEY, refuse, span="build")
    outer = Key("model", {"of": KEY.digest})

    def nested(folder: Path) -> None:
        Store(tmp_path).ensure(KEY, refuse, span="build")
        make(folder)

    timer = Timer(bypass_cache=False)
    with timer.run():
        entry = Store(tmp_path).ensure(outer, nested, span="build")
    maker.join(30)
    made = Store(tmp_path).find(KEY)
    assert made.seconds >= 1
    assert timer.cost == pytest.approx(made.seconds, abs=0.5)  # waited for, and charged, once
    assert entry.seconds == pytest.approx(timer.cost, abs=0.5)


def test_where_locks_fail_the_entry_that_was_first_stays_and_is_the_one_that_is_used(tmp_path):
    def overtaken(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as without_locks:
            without_locks.setattr(Store, "_locked", lambda *_: nullcontext())
            first.append(Store(tmp_path).ensure(KEY, make, span="build"))
        (folder / "array.bin").write_bytes(b"others")

    first = []
    entry = Store(tmp_path).ensure(KEY, overtaken, span="build")
    assert entry == first[0] == Store(tmp_path).find(KEY)
    assert (entry.path / "array.bin").read_bytes() == b"twelve bytes"
    assert not [path for path in tmp_path.rglob("*") if path.is_dir() and path.name.startswith(".")]


def test_a_work_folder_that_cannot_be_written_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    with raises(StoreError, "not-writable", tmp_path, "--work"):
        Store(tmp_path / "file").ensure(KEY, make, span="build")
    with raises(StoreError, "not-writable", tmp_path, "--work"):
        Store(tmp_path / "file").scratch(KEY)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_the_users_error(tmp_path):
    (tmp_path / "pixels").mkdir(mode=0o500)
    with raises(StoreError, "not-writable", tmp_path, "--work"):
        Store(tmp_path).ensure(KEY, make, span="build")


def fails(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["fsync", "mkdir"])
def test_a_full_disk_is_the_users_error_and_leaves_no_entry(tmp_path, monkeypatch, step):
    with monkeypatch.context() as full:
        full.setattr(*{"fsync": (os, "fsync"), "mkdir": (Path, "mkdir")}[step], fails)
        with raises(StoreError, "disk-full", tmp_path, "No space left", "--work"):
            Store(tmp_path).ensure(KEY, make, span="build")
    assert not [path for path in tmp_path.glob("pixels/*") if path.is_dir()]
    assert Store(tmp_path).ensure(KEY, make, span="build").seconds >= 0


def test_a_makers_own_failure_is_not_dressed_up_as_a_full_disk(tmp_path):
    def reads_what_is_not_there(folder):
        (tmp_path / "photo.jpg").read_bytes()

    with pytest.raises(FileNotFoundError):
        Store(tmp_path).ensure(KEY, reads_what_is_not_there, span="build")


@pytest.mark.parametrize("call", range(3))
def test_write_atomically_leaves_the_old_file_or_the_new(tmp_path, monkeypatch, call):
    path = tmp_path / "result.json"
    path.write_text("old")
    calls = iter(range(10))

    def failing(function):
        def wrapped(*args, **kwargs):
            if next(calls) == call:
                fails()
            return function(*args, **kwargs)

        return wrapped

    monkeypatch.setattr(os, "fsync", failing(os.fsync))
    monkeypatch.setattr(Path, "replace", failing(Path.replace))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        write_atomically(path, "new")
    # the third call flushes the folder's names: the new file is in its place by then
    assert path.read_text() == ("old" if call < 2 else "new")
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("content", ["", "ü\r\n\n", b"\0\xff\r\n"])
def test_write_atomically_writes_what_it_is_given(tmp_path, content):
    usual = tmp_path / "usual"
    usual.touch()
    write_atomically(tmp_path / "x", content)
    assert (tmp_path / "x").stat().st_mode == usual.stat().st_mode  # others may read it, where they may read any file
    assert (tmp_path / "x").read_bytes() == (content if isinstance(content, bytes) else content.encode())


def test_a_disk_that_fills_while_something_is_made_is_the_users_error(tmp_path):
    with raises(StoreError, "disk-full", tmp_path, "No space left"):
        Store(tmp_path).ensure(KEY, fails, span="build")


def test_arrays_come_back_as_they_were(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    entry = Store(tmp_path).ensure(KEY, lambda folder: np.save(folder / "e.npy", array), span="encode")
    assert (np.load(entry.path / "e.npy", allow_pickle=False) == array).all()
