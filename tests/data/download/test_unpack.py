"""Archives made to harm, and archives that are damaged: refused whole, and nothing outside of the folder is touched."""

import io
import stat
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raising import raises

from irbench.core.errors import DataError, IrbenchError, StoreError
from irbench.data.download.unpack import Budget, unpack

GOOD = {"a/1.jpg": b"one" * 50, "a/b/2.jpg": b"two" * 500, "list.txt": b""}
LINKS = {tarfile.SYMTYPE: "link", tarfile.LNKTYPE: "link", tarfile.CHRTYPE: "device", tarfile.FIFOTYPE: "device"}


def tar(path, *members, mode="w:gz"):
    """Members are (name, content), or a TarInfo with its content."""
    with tarfile.open(path, mode) as file:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content) if info.isreg() else 0
            file.addfile(info, io.BytesIO(content))
    return path


def zip_(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def special(kind: bytes, name: str, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def content(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path):
    """An empty folder; beside it lies something that has to stay as it is."""
    (tmp_path / "beside.txt").write_text("untouched")
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


@pytest.fixture(autouse=True)
def nothing_outside(tmp_path):
    yield
    outside = {path.name for path in tmp_path.iterdir() if not path.name.startswith("x.")}
    assert outside == {"beside.txt", "folder"}
    assert (tmp_path / "beside.txt").read_text() == "untouched"
    assert not any(path.is_symlink() for path in (tmp_path / "folder").rglob("*"))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_what_is_sound_is_unpacked(tmp_path, folder, mode):
    if mode == "zip":
        unpack(zip_(tmp_path / "x.zip", ("a/", b""), *GOOD.items()), folder, "zip")
    else:
        first = special(tarfile.DIRTYPE, "./")
        unpack(tar(tmp_path / "x.tar", (first, b""), *GOOD.items(), mode=mode), folder, "tar")
    assert content(folder) == GOOD


def test_a_tar_of_tars(tmp_path, folder):
    inner = [
        (f"n0{n}.tar", tar(tmp_path / "x.inner", (f"n0{n}_1.JPEG", b"%d" % n), mode="w").read_bytes()) for n in (1, 2)
    ]
    unpack(tar(tmp_path / "x.tar", *inner, mode="w"), folder, "tars")
    assert content(folder) == {"n01/n01_1.JPEG": b"1", "n02/n02_1.JPEG": b"2"}


def test_rights_of_the_archive_are_not_taken_over(tmp_path, folder):
    info = tarfile.TarInfo("run")
    info.mode = 0o6777
    unpack(tar(tmp_path / "x.tar", (info, b"#!")), folder, "tar")
    assert not (folder / "run").stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH | stat.S_IXUSR)


NAMES = ["../beside.txt", "a/../../beside.txt", "a/..", "/etc/passwd", "C:/x.txt", "..\\beside.txt", "a\nb", "x" * 300]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("packing", ["tar", "zip"])
def test_names_that_lead_out_refuse_the_whole_archive(tmp_path, folder, packing, name):
    make = tar if packing == "tar" else zip_
    with raises(DataError, "unsafe-archive", f"x.{packing}", repr(name[:80])):
        unpack(make(tmp_path / f"x.{packing}", (name, b"bad"), *GOOD.items()), folder, packing)


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("target", ["/etc/passwd", "../beside.txt", "a/1.jpg", "."])
def test_links_and_devices_in_a_tar(tmp_path, folder, kind, target):
    members = [(special(kind, "l", target), b""), ("l/in", b"bad")]
    with raises(DataError, "unsafe-archive", "'l'"):
        unpack(tar(tmp_path / "x.tar", ("a/1.jpg", b"1"), *members), folder, "tar")


def test_a_long_chain_of_links_as_in_CVE_2025_4517(tmp_path, folder):  # noqa: N802
    members, path = [], ""
    for step in "abcdefghijklmnop":
        members.append((special(tarfile.DIRTYPE, path + "d" * 247), b""))
        members.append((special(tarfile.SYMTYPE, path + step, "d" * 247), b""))
        path += step + "/"
    members += [(special(tarfile.SYMTYPE, path + "l" * 254, "../" * 16), b""), ("escape", b"bad")]
    with raises(DataError, "unsafe-archive", "x.tar", "'a'"):
        unpack(tar(tmp_path / "x.tar", *members), folder, "tar")


def test_a_link_in_a_zip(tmp_path, folder):
    info = zipfile.ZipInfo("l")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with raises(DataError, "unsafe-archive", "'l'"):
        unpack(zip_(tmp_path / "x.zip", *GOOD.items(), (info, "../beside.txt")), folder, "zip")
    assert content(folder) == {}  # found before the first member is written


def test_bombs(tmp_path, folder):
    zeros = bytes(30_000_000)
    for packing, make in (("tar", tar), ("zip", zip_)):
        archive = make(tmp_path / f"x.{packing}", *[(str(n), zeros) for n in range(3)])
        assert archive.stat().st_size < 300_000
        with raises(DataError, "archive-too-large", archive, "bytes"):
            unpack(archive, folder, packing)
    assert sum(map(len, content(folder).values())) < 70_000_000


@pytest.mark.parametrize("packing", ["tar", "zip"])
def test_limits_of_size_and_of_number(tmp_path, folder, packing):
    archive = (tar if packing == "tar" else zip_)(tmp_path / f"x.{packing}", *[(str(n), b"12345") for n in range(10)])
    for limits, limit in ((Budget(size=49, members=10), "49 bytes"), (Budget(size=50, members=9), "9 members")):
        with raises(DataError, "archive-too-large", archive, limit):
            unpack(archive, folder, packing, limits)
        for path in folder.iterdir():
            path.unlink()
    unpack(archive, folder, packing, Budget(size=50, members=10))


def test_a_bomb_within_a_tar_of_tars(tmp_path, folder):
    inner = tar(tmp_path / "x.inner", ("zeros", bytes(70_000_000))).read_bytes()  # gz, whatever it is called
    with raises(DataError, "archive-too-large", "x.tar", "bytes"):
        unpack(tar(tmp_path / "x.tar", ("n01.tar", inner), mode="w"), folder, "tars")


def test_a_member_of_a_tar_of_tars_is_held_to_the_same_rules(tmp_path, folder):
    inner = tar(tmp_path / "x.inner", ("../../beside.txt", b"bad")).read_bytes()
    with raises(DataError, "unsafe-archive", "x.tar", "'../../beside.txt'"):
        unpack(tar(tmp_path / "x.tar", ("n01.tar", inner)), folder, "tars")
    with raises(DataError, "wrong-archive", "x.tar", "'1.jpg'"):
        unpack(tar(tmp_path / "x.tar", ("1.jpg", b"1")), folder, "tars")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("packing", ["tar", "zip"])
@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a", "./a")])
def test_a_name_that_stands_twice(tmp_path, folder, packing, names):
    make = tar if packing == "tar" else zip_
    with raises(DataError, "duplicate-member", f"x.{packing}"):
        unpack(make(tmp_path / f"x.{packing}", *[(name, b"1") for name in names]), folder, packing)


def test_an_encrypted_zip(tmp_path, folder):
    data = bytearray(zip_(tmp_path / "x.zip", *GOOD.items()).read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.find(signature)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(signature, at + 1)
    (tmp_path / "x.zip").write_bytes(data)
    with raises(DataError, "encrypted-archive", "x.zip", "'a/1.jpg'"):
        unpack(tmp_path / "x.zip", folder, "zip")


def test_a_tar_of_negative_size_does_not_go_round_in_circles(tmp_path, folder):
    data = bytearray(tar(tmp_path / "x.tar", ("a", b"1" * 600), ("b", b"2" * 600), mode="w").read_bytes())
    second = memoryview(data)[1536:2048]
    second[124:136] = b"\xff" * 4 + (-512).to_bytes(8, "big", signed=True)  # base 256, as GNU tar writes large sizes
    second[148:156] = b" " * 8
    second[148:156] = b"%06o\0 " % sum(second)
    (tmp_path / "x.tar").write_bytes(data)
    with raises(DataError, "unsafe-archive", "x.tar", "negative"):
        unpack(tmp_path / "x.tar", folder, "tar")


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path, folder):
    data = bytearray(tar(tmp_path / "x.tar", *GOOD.items(), mode="w").read_bytes())
    data[1024 + 20] ^= 1  # in the name of the second member
    (tmp_path / "x.tar").write_bytes(data)
    with raises(DataError, "damaged-file", "x.tar", "bad checksum"):
        unpack(tmp_path / "x.tar", folder, "tar")


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PACKED = st.sampled_from([("tar", "w"), ("tar", "w:gz"), ("tar", "w:xz"), ("zip", "")])


def packed(tmp_path, packing, mode) -> bytes:
    members = list(GOOD.items())
    made = zip_(tmp_path / "x.made", *members) if packing == "zip" else tar(tmp_path / "x.made", *members, mode=mode)
    return made.read_bytes()


def unpacked(tmp_path, folder, data, packing) -> dict[str, bytes] | None:
    (tmp_path / "x.damaged").write_bytes(data)
    inside = Path(tempfile.mkdtemp(dir=folder))
    try:
        unpack(tmp_path / "x.damaged", inside, packing)
    except IrbenchError as error:
        if "x.damaged" not in str(error):
            raise
        return None
    return content(inside)


@FUZZ
@given(PACKED, st.floats(0, 1, exclude_max=True))
def test_an_archive_that_is_cut_short_is_refused_or_whole_and_never_less(tmp_path, folder, form, share):
    data = packed(tmp_path, *form)
    assert unpacked(tmp_path, folder, data[: int(len(data) * share)], form[0]) in (None, GOOD)


@FUZZ
@given(PACKED, st.data())
def test_a_damaged_archive_is_refused_by_its_name_or_unpacked_inside(tmp_path, folder, form, data):
    damaged = bytearray(packed(tmp_path, *form))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    before = {path for path in tmp_path.rglob("*") if folder not in path.parents}
    found = unpacked(tmp_path, folder, bytes(damaged), form[0])
    assert {path for path in tmp_path.rglob("*") if folder not in path.parents} - before <= {tmp_path / "x.damaged"}
    assert found is None or all(len(held) <= len(damaged) * 1000 for held in found.values())


def test_what_is_no_archive_and_what_is_not_there(tmp_path, folder):
    (tmp_path / "x.tar").write_bytes(b"<html>not found</html>")
    for packing in ("tar", "zip", "tars"):
        with raises(DataError, "damaged-file", "x.tar"):
            unpack(tmp_path / "x.tar", folder, packing)
    with raises(StoreError, "not-writable", tmp_path / "x.nothing", "No such file"):
        unpack(tmp_path / "x.nothing", folder, "tar")


def test_a_folder_that_cannot_be_written(tmp_path, folder):
    folder.rmdir()
    folder.symlink_to("/dev/full")
    with pytest.raises((StoreError, DataError)):
        unpack(zip_(tmp_path / "x.zip", *GOOD.items()), folder, "zip")
    folder.unlink()
    folder.mkdir()


def test_folders_in_folders_without_end(tmp_path, folder):
    tar(tmp_path / "x.tar", ("a/1.jpg", b"1"), ("d/" * 1500 + "2.jpg", b"2"))
    with raises(DataError, "unsafe-archive", "x.tar", "1500"):
        unpack(tmp_path / "x.tar", folder, "tar")
