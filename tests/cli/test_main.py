"""The command line: bad input is one message and status 2, and changes nothing that is stored."""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irbench import __version__
from irbench.core.errors import DISK_FULL, StoreError, writing
from irbench.results import files


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two class folders with six pictures each: dark ones and bright ones."""
    rng = np.random.default_rng(0)
    for name, brightness in (("dark", 0), ("bright", 150)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(brightness, brightness + 80, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


BAD = [  # arguments, the code of the error, and what its message names
    (["run", "--method", "irgem"], "unknown-name", "'irgen'"),
    (["run", "--method", "ft-clip+scan"], "unknown-name", "'scann'"),
    (["run", "--method", "irgen+linear"], "no-search", "irgen"),
    (["run", "--method", "irgen", "--search", "scann"], "unused-option", "scann"),
    (["run", "-m", "pixels", "--epochs", "1", "--results", "results"], "partial-result", "--epochs"),
    (["run", "--identifier", "semantics"], "unknown-name", "'semantic'"),
    (["run", "--dataset", "cars169"], "unknown-name", "'cars196'"),
    (["run", "--grid", "quik"], "unknown-choice", "'quick'"),
    (["run", "--scale", "tinny"], "unknown-choice", "'tiny'"),
    (["run", "--crop", "box"], "unknown-choice", "'bbox'"),
    (["run", "--crop", "bbox"], "no-boxes", "digits"),
    (["run", "--protocol", "closed"], "unknown-choice", "'closed-set'"),
    (["run", "--device", "gpu"], "unknown-choice", "--device 'gpu'"),
    (["run", "--precision", "fp16"], "unknown-choice", "--precision 'fp16'"),
    (["run", "--on-bad-image", "ignore"], "unknown-choice", "--on-bad-image 'ignore'"),
    (["run", "--dataset", "cars196"], "not-found", "data/cars196/devkit"),
    (["run", "--dataset", "cub200", "--data", "nowhere"], "not-found", "nowhere/"),
    (["run", "--dataset", "./nothing-here"], "not-found", "nothing-here"),
    (["run", "--method", "pixels", "--rerank", "9"], "unknown-key", "rerank"),
    (["run", "--method", "pixels", "--set", "imagesize=9"], "unknown-key", "'image_size'"),
    (["run", "--method", "pixels", "--set", "image_size=big"], "bad-value", "image_size"),
    (["run", "--method", "irgen", "--set", "ft-clip.epochs=0"], "bad-value", "ft-clip.toml"),
    (["run", "--method", "./absent.py"], "no-such-file", "absent.py"),
    (["ablate", "lenght"], "unknown-choice", "'length'"),
    (["table", "--metric", "precison"], "unknown-choice", "'precision'"),
    (["table", "--format", "html"], "unknown-choice", "--format 'html'"),
    (["table", "--table", "7"], "unknown-choice", "--table '7'"),
    (["table", "--table", "1", "--metric", "hit_rate"], "unused-option", "--metric"),
    (["plot", "pareo", "--out", "x.svg"], "unknown-choice", "'pareto'"),
    (["plot", "pr", "--out", "x.jpg"], "bad-format", "x.jpg"),
    (["plot", "pr", "--out", "x.svg"], "nothing-to-draw", ""),
    (["table"], "no-results", "runs/results"),
    (["table", "--table", "5", "--results", "nowhere"], "no-results", "nowhere"),
    (["report", "--out", "site"], "no-results", "runs/results"),
    (["list", "method"], "unknown-choice", "'methods'"),
    (["show", "identifiers", "--identifier", "randon"], "unknown-name", "'random'"),
    (["show", "irgn"], "unknown-name", "'irgen'"),
    (["export", "--out", "x"], "no-results", "runs/results"),
    (["export", "--out", "x", "--dataset", "digit"], "unknown-name", "'digits'"),
    (["import", "x.txt", "-m", "mine", "-d", "digits"], "no-such-file", "x.txt"),
    (["import", "x.txt", "-m", "mine", "-d", "digits", "--format", "tsv"], "unknown-choice", "'tsv'"),
    (["check"], "no-results", "runs/results"),
    (["check", "--seed", "7"], "no-results", "--seed 7"),
    (["data", "info", "digit"], "unknown-name", "'digits'"),
]


@pytest.mark.parametrize(("arguments", "code", "named"), BAD, ids=[" ".join(arguments) for arguments, *_ in BAD])
def test_what_cannot_be_understood_is_one_message_and_status_2(call, tmp_path, arguments, code, named) -> None:
    status, out, err = call(*arguments)
    assert status == 2
    assert f"[{code}]" in err
    assert named in err
    assert out == ""
    assert len(err.strip().splitlines()) <= 2  # table says first where it looked
    assert not [path for path in tmp_path.rglob("*.json") if "cache" not in path.parts]  # matplotlib keeps its fonts


def test_an_unknown_option_or_a_wrong_number_has_status_2_too(call: Callable) -> None:
    assert call("run", "--methods", "irgen")[0] == 2
    assert call("run", "--seed", "-1")[0] == 2
    assert call("run", "--jobs", "0")[0] == 2
    assert call("run", "--max-queries", "0")[0] == 2


def test_a_recipe_key_that_does_not_exist_names_file_key_and_the_nearest_one(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "methods" / "search").mkdir(parents=True)
    (tmp_path / "methods" / "search" / "mine.toml").write_text('searcher = "ivfpq"\n[params]\nnlists = 3\n')
    status, _, err = call("run", "--method", "pixels+mine")
    assert status == 2
    assert all(part in err for part in ("[unknown-key]", "methods/search/mine.toml", "'nlists'", "'nlist'"))


@pytest.mark.parametrize("option", ["--results", "--work"])
def test_an_unwritable_folder_is_found_before_anything_is_computed(call: Callable, tmp_path: Path, option: str) -> None:
    (tmp_path / "file").write_text("in the way")
    status, _, err = call("run", "--method", "ft-clip", option, str(tmp_path / "file" / "folder"))
    assert status == 2
    assert all(part in err for part in ("[not-writable]", f"{tmp_path}/file/folder", option))
    assert "[1/1]" not in err


def test_a_broken_metric_is_found_before_anything_is_computed(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "mine.py").write_text("METRIC = (\n")
    status, _, err = call("run", "--method", "pixels")
    assert status == 2
    assert all(part in err for part in ("[bad-python-file]", "metrics/mine.py", "line 1"))
    assert not list((tmp_path / "runs").rglob("seed0.json"))


def test_a_csv_list_that_cannot_be_used_names_the_line(call: Callable, photos: Path) -> None:
    table = photos.parent / "list.csv"
    table.write_text("path,label,split\nphotos/dark/0.png,dark,gallery\nphotos/dark/1.png,dark,test\n")
    status, _, err = call("data", "info", str(table))
    assert status == 2
    assert all(part in err for part in ("[unknown-choice]", "list.csv, line 3", "'test'"))


def test_an_empty_split_is_told(call: Callable, photos: Path) -> None:
    table = photos.parent / "list.csv"
    table.write_text("path,label,split\nphotos/dark/0.png,dark,gallery\n")
    status, _, err = call("data", "info", str(table))
    assert status == 2
    assert all(part in err for part in ("[no-images]", "queries"))


@pytest.mark.data
def test_an_annotation_file_cut_short_is_told(call: Callable, shared_data: Path, tmp_path: Path) -> None:
    shutil.copytree(shared_data / "cars196" / "devkit", tmp_path / "cars196" / "devkit")
    annotations = tmp_path / "cars196" / "devkit" / "cars_train_annos.mat"
    annotations.chmod(0o644)
    annotations.write_bytes(annotations.read_bytes()[:100_000])
    status, _, err = call("data", "info", "cars196-holdout", "--data", str(tmp_path))
    assert status == 2
    assert all(part in err for part in ("[damaged-file]", "cars_train_annos.mat"))
    assert "Traceback" not in err


def huge_png() -> bytes:
    """The first bytes of a picture of 60,000 by 60,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


@pytest.mark.parametrize("fault", ["truncated", "empty", "huge"])
def test_an_image_that_cannot_be_read_is_named_or_left_out_as_asked(
    irbench: Callable, photos: Path, fault: str
) -> None:
    broken = photos / "dark" / "3.png"
    whole = broken.read_bytes()
    broken.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "huge": huge_png()}[fault])
    done = irbench("run", "--dataset", "./photos", "--method", "pixels", "--scale", "tiny")
    assert done.returncode == 2, done.stderr
    assert "photos/dark/3.png" in done.stderr
    assert "--on-bad-image skip" in done.stderr
    assert "Traceback" not in done.stderr
    skipped = irbench("run", "--dataset", "./photos", "--method", "pixels", "--on-bad-image", "skip", "--json")
    assert skipped.returncode == 0, skipped.stderr
    (result,) = [r for r in json.loads(skipped.stdout)["results"] if r["status"] == "ok"]
    assert result["dataset"]["bad_images"] == 1
    assert result["dataset"]["left_out"] == ["dark/3.png"]
    assert result["dataset"]["gallery"] + result["dataset"]["queries"] == 11
    assert result["metrics"]["precision@1"]["mean"] == 1.0


def test_more_answers_than_the_gallery_has_are_misses(irbench: Callable, photos: Path) -> None:
    done = irbench("run", "--dataset", "./photos", "--method", "pixels", "--json")
    (result,) = json.loads(done.stdout)["results"]
    assert result["dataset"]["gallery"] == 8
    assert result["metrics"]["recall@8"]["mean"] == 1.0
    assert result["metrics"]["precision@8"]["mean"] == 0.5


def test_a_dry_run_leaves_no_trace(call: Callable, tmp_path: Path) -> None:
    status, out, err = call("run", "--search", "scann", "--search", "spann", "--dry-run")
    assert status == 0
    assert out == ""
    assert [line.split()[1] for line in err.splitlines() if line.startswith("  ")] == [
        f"{method}+{search}" for method in ("pixels", "ft-clip") for search in ("scann", "spann")
    ]
    assert not (tmp_path / "runs").exists()


def test_a_stored_result_holds_for_the_same_pictures_and_questions_only(irbench: Callable, photos: Path) -> None:
    run = ("run", "--dataset", "./photos", "--method", "pixels", "--json")
    (first,) = json.loads(irbench(*run).stdout)["results"]
    assert json.loads(irbench(*run).stdout)["run"] == []  # nothing was left to run
    shutil.copy(photos / "dark" / "1.png", photos / "dark" / "0.png")  # another picture under the same name
    (second,) = json.loads(irbench(*run).stdout)["results"]
    assert second["inputs"] != first["inputs"]
    stored = next((photos.parent / "runs" / "results").rglob("seed0.json"))
    stored.write_text(stored.read_text()[:100])  # damaged: made again, not an error for ever
    again = irbench(*run)
    assert again.returncode == 0
    assert json.loads(again.stdout)["results"][0]["metrics"] == second["metrics"]


def test_lost_hits_are_made_again_from_the_ranking_and_without_one_the_cell_is_run(irbench: Callable, photos: Path):
    run = ("run", "--dataset", "./photos", "--method", "pixels", "--json")
    irbench(*run)
    (hits,) = (photos.parent / "runs" / "results").rglob("*.safetensors")
    whole = hits.read_bytes()
    for content in (whole[:-1], b""):
        hits.write_bytes(content)
        assert irbench(*run, "--dry-run").returncode == 0
        assert hits.read_bytes() == content  # what only prints a plan writes nothing
        assert json.loads(irbench(*run).stdout)["run"] == []
        assert hits.read_bytes() == whole
    hits.unlink()
    (ranking,) = (photos.parent / "runs" / "work" / "rankings").iterdir()
    ranking.unlink()
    assert [one["status"] for one in json.loads(irbench(*run).stdout)["run"]] == ["ok"]
    assert hits.read_bytes() == whole
    assert irbench("table").returncode == 0


def test_an_export_tells_of_cells_that_failed_and_is_refused_where_all_did(irbench: Callable, photos: Path) -> None:
    run = ("run", "--dataset", "./photos", "--method", "pixels", "--name", "photos")
    irbench(*run)
    failed = photos.parent / "runs" / "results" / "photos" / "other" / "seed0.json"
    stored = files.read(next((photos.parent / "runs" / "results").rglob("seed0.json")))
    gap = replace(
        stored, method="other", search=None, status="failed", reason="why", metrics={}, ranking=None, hits=None
    )
    assert files.write(gap, photos.parent / "runs" / "results") == failed
    done = irbench("export", "--out", "runs/out")
    assert done.returncode == 0
    assert "1 results" in done.stderr
    assert len(done.stdout.splitlines()) == 2
    shutil.rmtree(photos.parent / "runs" / "results" / "photos" / "pixels+linear")
    assert irbench("export", "--out", "runs/out").returncode == 2


def test_version_list_show_and_info(call: Callable) -> None:
    assert call("--version") == (0, f"irbench {__version__}\n", "")
    assert "irgen" in call("list", "methods")[1]
    assert json.loads(call("list", "searchers", "--json")[1]).keys() >= {
        "linear",
        "ivfpq",
        "scann",
        "spann",
        "hnsw",
        "faiss",
    }
    assert "precision@K" in call("list", "metrics")[1]
    shown = call("show", "irgen")[1]
    assert "irbench/retrievers/irgen/retriever.py" in shown
    assert 'retriever = "irgen"' in shown
    facts = json.loads(call("data", "info", "digits", "--json")[1])
    assert facts["images"] == {"train": 899, "gallery": 899, "queries": 898}
    assert len(facts["fingerprint"]) == 64


def test_shell_completion_offers_the_names_of_recipes(irbench: Callable) -> None:
    def complete(words: str) -> list[str]:
        done = irbench(_IRBENCH_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
        return done.stdout.split()

    assert complete("irbench run --method ir") == ["irgen", "irgen-as-published", "irt-r"]
    assert complete("irbench data info cars") == ["cars196", "cars196-holdout"]


# --- outputs, disks and signals


def command(*words: str, **options) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "irbench", *words]
    return subprocess.run(line, stderr=subprocess.PIPE, text=True, check=False, timeout=120, **options)


def test_an_output_that_is_full_or_closed_is_no_traceback(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = command("list", "methods", stdout=full, cwd=tmp_path)
    assert done.returncode == 2
    assert "[disk-full]" in done.stderr
    closed = command("list", "methods", preexec_fn=lambda: os.close(1), cwd=tmp_path)
    assert closed.returncode == 0
    assert "Traceback" not in done.stderr + closed.stderr


@pytest.mark.parametrize("words", ["list metrics", "--help", "table --help", "show irgen", "data info digits"])
def test_an_output_that_nobody_reads_ends_the_command_quietly(tmp_path: Path, words: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = command(*words.split(), stdout=writer, cwd=tmp_path)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.5])
def test_an_interrupt_ends_the_command_while_it_loads_libraries(tmp_path: Path, seconds: float) -> None:
    line = [sys.executable, "-X", "importtime", "-m", "irbench", "run", "-m", "ft-clip"]
    process = subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    assert any("irbench.cli.main" in module for module in process.stderr)  # before, Python itself is interrupted
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    start = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - start < 20  # on a machine that does nothing else, less than 2
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in stderr


def test_commands_to_a_terminal_are_shown_and_not_carried_out(irbench: Callable, photos: Path) -> None:
    (photos / os.fsdecode(b"dark/\x1b]0;evil\x07\xff.png")).write_bytes(b"nothing")
    (photos / "dark/\x1b[31m.txt").write_bytes(b"x")
    for words in (
        ("run", "--dataset", "./photos", "--method", "pixels", "--scale", "tiny"),
        ("run", "--dataset", "./photos", "--method", "pixels", "--scale", "tiny", "--on-bad-image", "skip"),
        ("table",),
        ("data", "verify", "./photos"),
        ("export", "--out", "x"),
    ):
        done = irbench(*words)
        assert "\x1b" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    assert r"\x1b]0;evil\x07\udcff.png" in irbench("data", "verify", "./photos").stdout


def test_a_disk_that_takes_a_part_of_an_array_is_full() -> None:
    with pytest.raises(StoreError) as raised, writing("it", "--work", only=DISK_FULL):
        raise OSError("6144 requested and 4064 written")
    assert raised.value.code == "disk-full"
    with pytest.raises(OSError, match="other"), writing("it", "--work", only=DISK_FULL):
        raise OSError("other")
