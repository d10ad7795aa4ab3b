"""`irbench data fetch`: each shipped recipe on archives of the official form, from a server here or put by hand."""

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import official
import pytest
from raising import raises
from serving import breaks_off, hangs, sends, status, whole

from irbench.core.errors import DataError, StoreError, UsageError
from irbench.data import datasets
from irbench.data.download import fetch
from irbench.data.download import transfer as d


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(d, "_PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture
def published(tmp_path, site, monkeypatch):
    """Offer a small data set as its makers offer the real one; returns its archives, and where data goes."""
    monkeypatch.setenv("IRBENCH_RECIPES", str(tmp_path / "recipes"))

    def offer(name: str) -> tuple[dict[str, bytes], Path]:
        make, counts = official.PUBLISHED[name]
        archives = make()
        text = official.recipe(name, archives, counts, site.url)
        official.unpacked({f"datasets/{name}.toml": text.encode()}, tmp_path / "recipes")
        for file, content in archives.items():
            site.serve(f"/{file}", content)
        return archives, tmp_path / "data"

    return offer


def put_by_hand(name: str, archives: dict[str, bytes], data: Path) -> None:
    waiting = fetch.plan(datasets.find(name), data)
    official.unpacked({file.name: archives[file.name] for file in waiting.by_hand}, waiting.downloads)


def run(name: str, data: Path, **options) -> Path:
    return fetch.fetch(fetch.plan(datasets.find(name), data), license_accepted=True, tell=lambda _: None, **options)


def content(folder: Path) -> dict[str, bytes]:
    below = (path for path in folder.rglob("*") if path.is_file() and "downloads" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in below}


@pytest.mark.parametrize("name", official.PUBLISHED)
def test_every_recipe_makes_of_the_official_archives_what_its_layout_reads(call, published, site, name):
    archives, data = published(name)
    put_by_hand(name, archives, data)
    code, out, err = call("data", "fetch", name, "--data", str(data))
    assert (code, site.asked) == (2, []), err
    assert "[license]" in err
    assert "--accept-license" in err
    assert datasets.find(name).head.license in err
    code, out, err = call("data", "fetch", name, "--data", str(data), "--accept-license")
    assert code == 0, err
    assert f"{name} is in {data}" in out
    code, out, err = call("data", "verify", name, "--data", str(data))
    assert code == 0, out + err
    assert "complete" in out
    asked, before = list(site.asked), content(data)
    code, _, err = call("data", "fetch", name, "--data", str(data))  # nothing to do, so nothing to accept
    assert (code, site.asked, content(data)) == (0, asked, before), err


@pytest.mark.parametrize("name", ["cars196", "cars196-holdout", "inshop", "imagenet"])
def test_what_only_people_can_get_is_described(call, name):
    code, out, err = call("data", "fetch", name, "--data", "here", "--accept-license")
    assert (code, out) == (2, "")
    assert "[fetch-by-hand]" in err
    head = datasets.find(name).head
    shape = datasets.find(name).loader.shape
    home = f"here/{name.removesuffix('-holdout')}"
    for part in (head.page, head.license, head.by_hand, shape, home, f"{home}/downloads"):
        assert part in err
    for file in head.files:
        assert file.name in err
        assert file.sha256 in err
    assert not Path("here").exists()


def test_a_file_put_by_hand_is_checked_and_the_others_requested(published):
    archives, data = published("cars196")
    put_by_hand("cars196", archives, data)
    downloads = data / "cars196" / "downloads"
    (downloads / "cars_train.tgz").rename(downloads / "elsewhere")
    with raises(DataError, "fetch-by-hand", "cars196", "cars_train.tgz") as error:
        run("cars196", data)
    assert "cars_test.tgz" not in str(error.value).partition("Or make")[0]
    (downloads / "cars_train.tgz").write_bytes(archives["cars_test.tgz"])
    with raises(DataError, "checksum", downloads / "cars_train.tgz"):
        run("cars196", data)
    (downloads / "elsewhere").rename(downloads / "cars_train.tgz")
    assert run("cars196", data) == data / "cars196"
    assert (downloads / "cars_test_annos_withlabels.mat").exists()  # what people brought stays


def test_a_fetch_that_breaks_off_goes_on(published, site):
    _, data = published("places365")
    big = "/train_256_places365standard.tar"
    site.serve(big, site.content[big], breaks_off(5000), status(500))
    with raises(DataError, "transfer", "5,000", datasets.find("places365").head.page):
        run("places365", data)
    with raises(DataError, "not-found", "places365"):
        datasets.load("places365", data=data)
    site.serve(big, site.content[big], whole)
    site.asked.clear()
    run("places365", data)
    assert site.asked == [(big, "bytes=5000-"), ("/filelist_places365-standard.tar", "")]
    assert len(datasets.load("places365", data=data).gallery) == 3


def test_a_web_page_in_place_of_an_archive(call, published, site):
    _, data = published("cub200")
    site.serve("/CUB_200_2011.tgz", b"", sends(b"<html>Sign in</html>"))
    code, out, err = call("data", "fetch", "cub200", "--data", str(data), "--accept-license")
    assert (code, out) == (2, "")
    assert "[web-page]" in err
    assert "CUB_200_2011.tgz" in err
    assert "Traceback" not in err
    assert content(data) == {}


@pytest.mark.parametrize("name", ["cub200", "imagenet", "inshop", "omniglot-small"])
def test_killed_at_any_move_it_is_never_taken_for_whole_and_ends_the_same(published, monkeypatch, name):
    archives, data = published(name)
    put_by_hand(name, archives, data)
    run(name, data)
    whole_tree = content(data)
    for allowed in range(100):
        shutil.rmtree(data)
        put_by_hand(name, archives, data)
        with monkeypatch.context() as patch:
            killed = dies_at_move(patch, allowed, name, data)
        assert killed == bool(fetch.plan(datasets.find(name), data).due)
        run(name, data)
        assert content(data) == whole_tree
        if not killed:
            return
    pytest.fail("it never came to an end")


def dies_at_move(patch, allowed: int, name: str, data: Path) -> bool:
    """Fetch, and die like a killed process, which cleans nothing up, before move number `allowed`."""
    left = allowed

    def dying(method):
        def move(self, target):
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return method(self, target)

        return move

    def remove(path, remove=shutil.rmtree, **options):
        if left >= 0:
            remove(path, **options)

    patch.setattr(Path, "rename", dying(Path.rename))
    patch.setattr(Path, "replace", dying(Path.replace))
    patch.setattr(shutil, "rmtree", remove)
    try:
        run(name, data)
    except KeyboardInterrupt:
        return True
    return False


def test_two_at_once_fetch_once(published, site):
    _, data = published("cub200")
    plans = [fetch.plan(datasets.find("cub200"), data) for _ in range(4)]
    work = [
        threading.Thread(target=fetch.fetch, args=(p,), kwargs={"license_accepted": True, "tell": str}) for p in plans
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert site.asked == [("/CUB_200_2011.tgz", "")]
    assert not fetch.plan(datasets.find("cub200"), data).due


def test_a_download_that_is_killed_goes_on(published, site):
    archives, data = published("cub200")
    part = data / "cub200" / "downloads" / "CUB_200_2011.tgz.part"
    site.serve("/CUB_200_2011.tgz", archives["CUB_200_2011.tgz"], hangs(1000, 60), whole)
    command = [sys.executable, "-m", "irbench", "data", "fetch", "cub200", "--data", str(data), "--accept-license"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not (part.exists() and part.stat().st_size == 1000):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    assert [path.name for path in (data / "cub200").iterdir()] == ["downloads"]
    run("cub200", data)
    assert [asked for _, asked in site.asked] == ["", "bytes=1000-"]


def test_lists_that_are_there_without_their_images(published):
    _, data = published("cub200")
    run("cub200", data)
    shutil.rmtree(data / "cub200" / "CUB_200_2011" / "images")
    (data / "cub200" / "CUB_200_2011" / "mine.txt").write_text("keep me")
    run("cub200", data)
    assert len(datasets.load("cub200", data=data).gallery) == 4
    assert (data / "cub200" / "CUB_200_2011" / "mine.txt").exists()


def test_a_data_set_that_lies_elsewhere_is_left_there(call, published, site, tmp_path):
    _, data = published("cub200")
    run("cub200", data)
    (data / "cub200" / "CUB_200_2011").rename(data / "CUB_200_2011")
    site.asked.clear()
    assert run("cub200", data) == data / "CUB_200_2011"
    assert run("cub200", data / "CUB_200_2011") == data / "CUB_200_2011"
    assert site.asked == []


def test_an_archive_with_other_content(published, site, monkeypatch):
    archives, data = published("inshop")
    put_by_hand("inshop", archives, data)
    (data / "inshop" / "downloads" / "img.zip").write_bytes(official.zip_({"pictures/1.jpg": b"1"}))
    with raises(DataError, "wrong-archive", "img.zip", "Img/img"):
        run("inshop", data)
    (data / "inshop" / "downloads" / "img.zip").write_bytes(official.zip_({"img/1.jpg": b"1", "../../2.jpg": b"2"}))
    with raises(DataError, "unsafe-archive", "img.zip", "'../../2.jpg'"):
        run("inshop", data)
    assert content(data) == {}


def test_too_little_room_and_no_right_to_write_are_said_first(published, site, tmp_path, monkeypatch):
    _, data = published("cub200")
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=100))
    with raises(StoreError, "disk-full", "cub200", data / "cub200", 100, "--data"):
        run("cub200", data)
    (tmp_path / "file").write_text("")
    with raises(StoreError, "not-writable", tmp_path / "file", "--data"):
        run("cub200", tmp_path / "file")
    assert site.asked == []


def test_there_is_nothing_to_fetch_of_what_is_ones_own_or_comes_with_a_library(call, tmp_path):
    official.unpacked({"photos/a/1.jpg": b""}, tmp_path)
    with raises(UsageError, "not-fetchable", tmp_path / "photos"):
        fetch.plan(datasets.find(tmp_path / "photos"), tmp_path)
    assert call("data", "fetch", "digits")[:2] == (0, "digits needs no files: the images come with scikit-learn\n")
    assert all(part in call("data", "fetch", "cub20")[2] for part in ("[unknown-name]", "'cub200'"))


@pytest.mark.data
def test_omniglot_itself_with_its_real_checksums(call, site, shared_data, tmp_path, monkeypatch):
    from irbench.config import recipes

    text = recipes.find("datasets", "omniglot-small").text
    address = text.partition('url = "')[2].rpartition("/images_background")[0].partition("/images_background")[0]
    official.unpacked({"datasets/omniglot-small.toml": text.replace(address, site.url).encode()}, tmp_path / "own")
    monkeypatch.setenv("IRBENCH_RECIPES", str(tmp_path / "own"))
    for archive in (shared_data / "omniglot").glob("*.zip"):
        site.serve(f"/{archive.name}", archive.read_bytes(), breaks_off(1_000_000), whole)
    code, _, err = call("data", "fetch", "omniglot-small", "--accept-license")
    assert code == 0, err
    assert len(site.asked) == 4
    code, out, _ = call("data", "verify", "omniglot-small")
    assert code == 0
    assert "complete" in out
