"""Downloads from servers that break off, lie and change their minds: the published bytes, or a message and no file."""

import hashlib
import os
import socket
import time

import pytest
import serving as s
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raising import raises

from irbench.config.recipes import build_config
from irbench.core.errors import DataError, RecipeError, StoreError
from irbench.data.download import transfer as d
from irbench.data.download.published import RemoteFile
from irbench.data.download.transfer import download

CONTENT = bytes(os.urandom(300_000))
OTHER = bytes(os.urandom(300_000))
PAGE = b"  <!DOCTYPE html><html><body>Sign in</body></html>"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(d, "_PAUSES", (0.0, 0.0, 0.0))


def published(url: str, content: bytes = CONTENT, **changes) -> RemoteFile:
    facts = {"url": url, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return RemoteFile(**(facts | changes))


def files(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "answers",
    [
        [s.whole],
        [s.ignores_range],
        [s.states_no_length()],
        [s.breaks_off(0), s.whole],
        [s.breaks_off(100_000), s.breaks_off(150_000), s.whole],
        [s.breaks_off(100_000), s.ignores_range],
        [s.breaks_off(100_000), s.another_part(50_000), s.whole],
        [s.breaks_off(100_000), s.status(503), s.status(502), s.status(429, Retry_After="0"), s.whole],
        [s.status(503, Retry_After="soon"), s.whole],
        [s.breaks_off(299_999), s.whole],
    ],
)
def test_what_was_published_arrives_in_the_end(site, tmp_path, answers):
    file = published(site.serve("/a.tgz", CONTENT, *answers))
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert files(tmp_path) == ["a.tgz"]


def test_only_the_rest_is_requested_and_by_the_next_call_too(site, tmp_path, monkeypatch):
    file = published(site.serve("/a.tgz", CONTENT, s.breaks_off(100_000), s.status(503)))
    with raises(DataError, "transfer", file.url, 503, "100,000 of 300,000"):
        download(file, tmp_path)
    assert files(tmp_path) == ["a.tgz.part", "a.tgz.part.version"]
    site.serve("/a.tgz", CONTENT)
    site.asked.clear()
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert site.asked == [("/a.tgz", "bytes=100000-")]
    site.asked.clear()
    assert download(file, tmp_path).read_bytes() == CONTENT  # whole already
    assert site.asked == []


def test_another_version_in_the_middle_is_noticed_and_fetched_from_its_start(site, tmp_path):
    url = site.serve("/a.tgz", CONTENT, s.breaks_off(100_000), s.another_version(OTHER))
    assert download(published(url, OTHER), tmp_path).read_bytes() == OTHER
    # without a tag to tell it by, the checksum does, and one more try begins from scratch
    (tmp_path / "a.tgz").unlink()
    (tmp_path / "a.tgz.part").write_bytes(OTHER[:1000])
    site.serve("/a.tgz", CONTENT)
    site.asked.clear()
    assert download(published(url), tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in site.asked] == ["bytes=1000-", ""]


def test_a_part_that_is_longer_than_the_file_is_dropped(site, tmp_path):
    (tmp_path / "a.tgz.part").write_bytes(CONTENT + b"more")
    assert download(published(site.serve("/a.tgz", CONTENT)), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "code", "named"),
    [
        (s.status(404), "transfer", ["404"]),
        (s.status(403), "transfer", ["403"]),
        (s.sends(PAGE), "web-page", []),
        (s.sends(PAGE, "application/octet-stream"), "web-page", []),
        (s.states_length(200_000), "checksum", ["200,000", "300,000"]),
        (s.states_length(400_000), "checksum", ["400,000", "300,000"]),
        (s.sends(CONTENT + b"more", "application/x-tar"), "checksum", ["more than", "300,000"]),
        (s.sends(OTHER, "application/x-tar"), "checksum", ["sha256"]),
        (s.status(302, Location="/a.tgz"), "transfer", ["302"]),
        (s.status(302, Location="file:///etc/hostname"), "transfer", ["302"]),
        (s.status(500), "transfer", ["500"]),
        (s.breaks_off(0), "transfer", ["0 of 300,000"]),
    ],
)
def test_anything_else_is_refused_and_no_file_made(site, tmp_path, answer, code, named):
    with raises(DataError, code, "/a.tgz", *named):
        download(published(site.serve("/a.tgz", CONTENT, answer)), tmp_path)
    assert "a.tgz" not in files(tmp_path)
    assert not (tmp_path / "a.tgz.part").exists() or (tmp_path / "a.tgz.part").stat().st_size == 0
    assert len(site.asked) <= 12


def test_a_server_that_falls_silent_is_not_waited_for_for_ever(site, tmp_path, monkeypatch):
    monkeypatch.setattr(d, "_TIMEOUT", 0.2)
    file = published(site.serve("/a.tgz", CONTENT, s.hangs(100_000, 1.5), s.whole))
    start = time.perf_counter()
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert time.perf_counter() - start < 1.2
    assert site.asked[1] == ("/a.tgz", "bytes=100000-")


def test_a_server_that_goes_round_in_circles_is_left_at_last(site, tmp_path, monkeypatch):
    monkeypatch.setattr(d, "_TRIES", 20)
    file = published(site.serve("/a.tgz", CONTENT, s.breaks_off(1)))
    with raises(DataError, "transfer", file.url, "20 times"):
        download(file, tmp_path)


def test_without_a_network_it_is_said_within_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(d, "_PAUSES", (0.5, 1.0, 2.0))  # as it is
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/a.tgz"
    start = time.perf_counter()
    with raises(DataError, "transfer", url, "refused"):
        download(published(url), tmp_path)
    assert time.perf_counter() - start < 5


def test_a_full_disk_keeps_what_is_there(site, tmp_path, monkeypatch):
    (tmp_path / "a.tgz.part").symlink_to("/dev/full")
    with raises(StoreError, "disk-full", tmp_path / "a.tgz.part", "No space left on device"):
        download(published(site.serve("/a.tgz", CONTENT)), tmp_path)


def test_a_file_of_that_name_which_is_another_is_left_alone_and_named(site, tmp_path):
    (tmp_path / "a.tgz").write_bytes(OTHER)
    with raises(DataError, "checksum", tmp_path / "a.tgz", "sha256", hashlib.sha256(CONTENT).hexdigest()):
        download(published(site.serve("/a.tgz", CONTENT)), tmp_path)
    (tmp_path / "a.tgz").write_bytes(OTHER[:-1])
    with raises(DataError, "checksum", tmp_path / "a.tgz", "299,999", "300,000"):
        download(published(site.serve("/a.tgz", CONTENT)), tmp_path)
    assert site.asked == []


def test_md5_where_nothing_better_is_published(site, tmp_path):
    url = site.serve("/a.tgz", CONTENT)
    right, wrong = (hashlib.md5(content).hexdigest() for content in (CONTENT, OTHER))
    with raises(DataError, "checksum", "md5", right, wrong):
        download(published(url, sha256="", md5=wrong), tmp_path)
    assert download(published(url, sha256="", md5=right), tmp_path).read_bytes() == CONTENT


faults = st.one_of(
    st.builds(s.breaks_off, st.integers(0, 2000)),
    st.builds(s.another_part, st.integers(1, 900)),
    st.builds(s.states_length, st.integers(1, 2000)),
    st.sampled_from([s.whole, s.ignores_range, s.status(503), s.status(404), s.status(416), s.sends(PAGE),
                     s.another_version(OTHER[:1000]), s.sends(OTHER[:1000], "x/y"), s.states_no_length()]),
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(faults, min_size=1, max_size=6))
def test_whatever_a_server_does_a_file_has_its_name_only_when_it_is_the_published_one(site, tmp_path, answers):
    small = CONTENT[:1000]
    file = published(site.serve("/a.tgz", small, *answers), small)
    try:
        assert download(file, tmp_path).read_bytes() == small
    except DataError:
        assert not (tmp_path / "a.tgz").exists()
    for path in tmp_path.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("facts", "code", "named"),
    [
        ({"url": "ftp://x.org/a"}, "bad-value", ["ftp://x.org/a"]),
        ({"url": "file:///etc/passwd"}, "bad-value", ["file:///etc/passwd"]),
        ({"url": "https://x.org/a.tgz"}, "bad-value", ["a.tgz", "bytes", "sha256"]),
        ({"url": "https://x.org/", "bytes": 1, "md5": "0" * 32}, "bad-value", ["name ''"]),
        ({"url": "https://x.org/%2e%2e", "bytes": 1, "md5": "0" * 32}, "bad-value", ["name '..'"]),
        ({"name": "a", "sha256": "ABC"}, "bad-value", ["sha256 'ABC'"]),
        ({"name": "../a"}, "bad-value", ["name '../a'"]),
        ({"name": "a", "into": "/etc"}, "bad-value", ["into '/etc'"]),
        ({"name": "a", "gives": "b/../../c"}, "bad-value", ["gives 'b/../../c'"]),
        ({"name": "a", "unpack": "rar"}, "bad-value", ["unpack: "]),
        ({"name": "a", "sha265": "0"}, "unknown-key", ["'sha265'", "'sha256'"]),
        ({"name": "a", "bytes": "12"}, "bad-value", ["bytes: ", "integer"]),
    ],
)
def test_a_recipe_that_says_nonsense_about_a_file_is_refused(facts, code, named):
    with raises(RecipeError, code, "mine.toml", *named):
        build_config(RemoteFile, facts, "mine.toml")
