"""Submissions: honest ones are accepted, and whatever is changed in one, digests mended or not, is found."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from raising import raises
from safetensors.numpy import load, save
from submitting import KINDS, Artefacts, benchmark, random_ranking, result, submitted

from irbench.core.errors import DataError, StoreError, UsageError
from irbench.core.ranking import Ranking
from irbench.data import datasets
from irbench.results import files
from irbench.results.schema import Dataset
from irbench.results.submissions import task
from irbench.results.submissions.submission import FILE
from irbench.results.submissions.verify import verify
from irbench.results.submissions.write import submit

COUNT = int(os.environ.get("IRBENCH_SUBMISSIONS", "60"))  # a thousand of each take some minutes


# each changes something in the folder of a submission; what it gives back is mended before it is verified
Change = Callable[[Path, np.random.Generator], None]


def one(folder: Path, pattern: str, rng: np.random.Generator) -> Path:
    found = sorted(folder.glob(pattern))
    return found[rng.integers(len(found))]


def edited(path: Path, change: Callable[[dict], None]) -> None:
    """Change a result as somebody would who knows its seal."""
    known = json.loads(path.read_text())
    change(known)
    text = json.dumps({name: value for name, value in known.items() if name != "sha256"}, indent=1)
    digest = hashlib.sha256((text + "\n").encode()).hexdigest()
    path.write_text(f'{text[:-2]},\n "sha256": "{digest}"\n}}\n')


def in_result(change: Callable[[dict, np.random.Generator], None]) -> Change:
    return lambda folder, rng: edited(one(folder, "results/*/*/*.json", rng), lambda known: change(known, rng))


def raise_mean(known: dict, rng: np.random.Generator) -> None:
    names = [name for name, found in known["metrics"].items() if found["mean"] is not None]
    metric = known["metrics"][names[rng.integers(len(names))]]
    metric["mean"] = metric["mean"] + 1e-3 if metric["mean"] < 0.5 else metric["mean"] - 1e-3


def widen(known: dict, rng: np.random.Generator) -> None:
    names = [name for name, found in known["metrics"].items() if found.get("ci95")]
    low, high = known["metrics"][names[rng.integers(len(names))]]["ci95"]
    known["metrics"][names[0]]["ci95"] = [low / 2 - 0.01, high]


def count_more(known: dict, rng: np.random.Generator) -> None:
    known["dataset"][["gallery", "queries", "train", "without_positives"][rng.integers(4)]] += 1


def in_run(change: Callable[[list[str], np.random.Generator], list[str]]) -> Change:
    def apply(folder: Path, rng: np.random.Generator) -> None:
        run = one(folder, "runs/*/*/*.txt", rng)
        run.write_text("".join(change(run.read_text().splitlines(keepends=True), rng)))

    return apply


def doubled(lines: list[str], rng: np.random.Generator) -> list[str]:
    at = int(rng.integers(len(lines)))
    return [*lines[: at + 1], *lines[at:]]


def unknown(lines: list[str], rng: np.random.Generator) -> list[str]:
    at = int(rng.integers(len(lines)))
    columns = lines[at].split()
    return [*lines[:at], " ".join([columns[0], "Q0", "nobody.jpg", *columns[3:]]) + "\n", *lines[at + 1 :]]


def without_query(lines: list[str], rng: np.random.Generator) -> list[str]:
    name = lines[rng.integers(len(lines))].split()[0]
    return [line for line in lines if line.split()[0] != name]


def without_first(lines: list[str], rng: np.random.Generator) -> list[str]:
    """Leave out a query's results but the last one."""
    name = lines[rng.integers(len(lines))].split()[0]
    own = [line for line in lines if line.split()[0] == name]
    return [line for line in lines if line.split()[0] != name] + own[-1:] if len(own) > 3 else lines[1:]


def with_itself(lines: list[str], rng: np.random.Generator) -> list[str]:
    columns = lines[rng.integers(len(lines))].split()
    return [*lines, f"{columns[0]} Q0 {columns[0]} 9 -100 x\n"]


def reversed_ranks(lines: list[str], rng: np.random.Generator) -> list[str]:
    name = lines[rng.integers(len(lines))].split()[0]
    return [_turned(line) if line.split()[0] == name else line for line in lines]


def _turned(line: str) -> str:
    columns = line.split()
    return " ".join([*columns[:4], str(-float(columns[4])), columns[5]]) + "\n"


def in_task(change: Callable[[dict[str, np.ndarray], np.random.Generator], None]) -> Change:
    def apply(folder: Path, rng: np.random.Generator) -> None:
        path = one(folder, "tasks/*", rng)
        arrays = {name: array.copy() for name, array in load(path.read_bytes()).items()}
        change(arrays, rng)
        path.write_bytes(save(arrays))

    return apply


def other_label(arrays: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    labels = arrays[f"{['train', 'gallery', 'queries'][rng.integers(3)]}.labels"]
    labels[rng.integers(len(labels))] += 1


def other_content(arrays: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    contents = arrays[f"{['train', 'gallery', 'queries'][rng.integers(3)]}.contents"]
    contents[rng.integers(len(contents)), rng.integers(32)] ^= 1


def fewer_queries(arrays: dict[str, np.ndarray], _: np.random.Generator) -> None:
    for name in [
        name for name in arrays if name.startswith("queries.") and name not in ("queries.ids", "queries.shared")
    ]:
        arrays[name] = arrays[name][:-1]
    ids = arrays["queries.ids"].tobytes().split(b"\0")[:-1]
    arrays["queries.ids"] = np.frombuffer(b"\0".join(ids), np.uint8)


def flipped(folder: Path, rng: np.random.Generator) -> None:
    """Flip a bit of a file of hits, which is one way of damaging it."""
    path = one(folder, "results/*/*/*.safetensors", rng)
    content = bytearray(path.read_bytes())
    content[-1 - rng.integers(8)] ^= 1
    path.write_bytes(content)


def as_type(kind: type) -> Change:
    """Read the grades of pairs as numbers of another type, of which the bytes are the same."""

    def change(arrays: dict[str, np.ndarray], _: np.random.Generator) -> None:
        if "grade" in arrays:
            arrays["grade"] = arrays["grade"].view(kind) if kind is np.uint8 else (arrays["grade"] != 0)

    return in_task(change)


def without_contents(arrays: dict[str, np.ndarray], _: np.random.Generator) -> None:
    for name in [name for name in arrays if name.endswith(".contents")]:
        del arrays[name]


def wide(arrays: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    name = [name for name in arrays if name.endswith(".labels")][rng.integers(3)]
    arrays[name] = arrays[name].astype(np.int32)


def with_fact(name: str, value: object) -> Change:
    def change(arrays: dict[str, np.ndarray], _: np.random.Generator) -> None:
        facts = json.loads(arrays["facts"].tobytes()) | {name: value}
        arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)

    return in_task(change)


MENDED: dict[str, Change] = {
    "a mean": in_result(raise_mean),
    "an interval": in_result(widen),
    "a count": in_result(count_more),
    "a metric left out": in_result(lambda known, _: known["metrics"].popitem()),
    "a metric of one's own": in_result(lambda known, _: known["metrics"].update({"best@1": {"mean": 1.0}})),
    "the recipe": in_result(lambda known, _: known["recipe"].update(text="# another\n")),
    "a shortened run": in_result(lambda known, _: known.update(shortened={"epochs": 1})),
    "another fingerprint": in_result(lambda known, _: known["dataset"].update(fingerprint="0" * 64)),
    "another protocol": in_result(lambda known, _: known["dataset"].update(protocol="metric-learning")),
    "a line twice": in_run(doubled),
    "an image that there is not": in_run(unknown),
    "a query without results": in_run(without_query),
    "fewer results": in_run(without_first),
    "the query itself": in_run(with_itself),
    "the order": in_run(reversed_ranks),
    "nothing": in_run(lambda *_: []),
    "a class": in_task(other_label),
    "a content": in_task(other_content),
    "fewer queries": in_task(fewer_queries),
    "grades as bytes": as_type(np.uint8),
    "grades as truth": as_type(np.bool_),
    "labels of another type": in_task(wide),
    "no contents": in_task(without_contents),
    "no labels": with_fact("labelled", False),
    "an unknown fact": with_fact("path", "/etc"),
    "ranks": in_run(
        lambda lines, _: [" ".join([*(c := line.split())[:3], f"-{c[3]}", *c[4:]]) + "\n" for line in lines]
    ),
    "the tag": in_run(lambda lines, _: [line.replace("mine", "other") for line in lines]),
    "hits.k": in_result(lambda known, _: known["hits"].update(k=10**9)),
    "a negative cost": in_result(lambda known, _: known["cost"].update(train_s=-5.0)),
    "a path as fingerprint": in_result(lambda known, _: known["dataset"].update(fingerprint="/../../../out")),
    "a depth that is a text": with_fact("top_k", "8"),
    "a depth that is none": with_fact("top_k", None),
    "a depth without end": with_fact("top_k", 10**12),
    "a list as name": with_fact("name", ["toy"]),
    "half an image": with_fact("incremental", 0.5),
    "a list of K": with_fact("ks", [[1]]),
    "a large label": in_task(lambda arrays, _: arrays["train.labels"].__setitem__(0, 2**40)),
    "a rank without end": in_run(lambda lines, _: [lines[0].replace(" 1 ", f" {10**20} ", 1), *lines[1:]]),
    "a name": with_fact("name", "other"),
    "another crop": with_fact("crop", "bbox"),
    "hits": flipped,
    "no task": lambda folder, rng: one(folder, "tasks/*", rng).unlink(),
    "no run": lambda folder, rng: one(folder, "runs/*/*/*", rng).unlink(),
    "one more file": lambda folder, _: (folder / "results" / "more.txt").write_text("more"),
    "no results": lambda folder, _: shutil.rmtree(folder / "results"),
}


def mend(folder: Path) -> None:
    """List the files as they are now."""
    listed = json.loads((folder / FILE).read_text())
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != FILE]
    listed["files"] = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    (folder / FILE).write_text(json.dumps(listed))


@pytest.mark.parametrize("kind", KINDS)
def test_honest_submissions_are_accepted(tmp_path: Path, kind: str) -> None:
    for seed in range(COUNT // len(KINDS)):
        made = submitted(tmp_path / str(seed), seed, kind)
        assert verify(made).problems == ()
        bench = task.read(next(made.glob("tasks/*")))
        assert len(verify(made, [Dataset.of(bench)]).results) == 2


@pytest.mark.parametrize("changed", MENDED)
def test_whatever_is_changed_is_found_though_the_digests_are_mended(tmp_path: Path, changed: str) -> None:
    for seed in range(max(1, COUNT // len(MENDED))):
        rng = np.random.default_rng(seed)
        made = submitted(tmp_path / str(seed), seed, KINDS[seed % len(KINDS)])
        before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
        MENDED[changed](made, rng)
        if before == {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}:
            continue
        assert verify(made).problems, changed  # by the list of files
        mend(made)
        assert verify(made).problems, changed


@pytest.mark.parametrize("seed", range(COUNT // 10))
def test_a_bit_that_flips_anywhere_is_found(tmp_path: Path, seed: int) -> None:
    made, rng = submitted(tmp_path, seed, KINDS[seed % 3]), np.random.default_rng(seed)
    path = one(made, "**/*.*", rng)
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)
    if path.name != FILE:  # who and when are claims
        assert verify(made).problems


def test_another_split_than_the_known_one_is_refused(tmp_path: Path) -> None:
    made = submitted(tmp_path, 0, "class")
    known = Dataset.of(benchmark(np.random.default_rng(1), "class"))
    known = replace(known, incremental=verify(made).results[0].dataset.incremental)
    assert verify(made, [known]).problems
    assert verify(made, [replace(known, name="other")]).accepted


def test_images_without_contents_are_compared_with_what_one_has(tmp_path: Path) -> None:
    digits = datasets.load("digits")
    rng = np.random.default_rng(0)
    rows = np.stack([rng.permutation(len(digits.gallery))[:100] for _ in range(len(digits.queries))])
    found = digits.scored(Ranking.from_topk(rows, -np.arange(100.0) * np.ones((len(rows), 1)))).cut(digits.top_k)
    made = submit([result(digits)], Artefacts(digits, found), tmp_path / "made", who="us", terms="CC0-1.0")
    assert verify(made).problems == ()  # irbench has the digits themselves
    in_task(other_label)(made, rng)
    mend(made)
    assert verify(made).problems
    other = replace(digits, name="mine")
    made = submit([result(other)], Artefacts(other, found), tmp_path / "other", who="us", terms="CC0-1.0")
    assert verify(made).problems
    assert verify(made, [Dataset.of(other)]).accepted


def test_a_data_set_of_irbench_is_compared_with_the_published_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("digits", "cub200"):
        bench = replace(benchmark(rng, "class"), name=name, incremental=0)
        made = submit(
            [result(bench)], Artefacts(bench, random_ranking(rng, bench)), tmp_path / name, who="us", terms="x"
        )
        assert verify(made).problems, name


@pytest.mark.parametrize("place", ["submission.json", "runs/toy/mine@unknown/seed0.txt"])
def test_what_is_no_plain_file_is_not_opened(tmp_path: Path, place: str) -> None:
    made = submitted(tmp_path, 0, "class")
    path = next((one for one in made.rglob("seed0.txt")), None) if "runs" in place else made / place
    path.unlink()
    os.mkfifo(path)
    assert len(verify(made).problems) == 1


def test_what_is_no_submission_is_told(tmp_path: Path) -> None:
    assert verify(tmp_path).problems
    made = submitted(tmp_path, 0, "class")
    for wrong in ("", "[]", "{}", (made / FILE).read_text().replace('"schema": 1', '"schema": 2'),
                  (made / FILE).read_text().replace("results/toy", "../toy")):  # fmt: skip
        (made / FILE).write_text(wrong)
        found = verify(made)
        assert (found.submission, len(found.problems)) == (None, 1)
    path = tmp_path / "task.safetensors"
    for content in (b"", b"\xff" * 100, save({"facts": np.zeros(3, np.uint8)})):
        path.write_bytes(content)
        with raises(DataError, "bad-task", path):
            task.read(path)


def test_what_cannot_be_submitted_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bench = benchmark(rng, "class")
    artefacts = Artefacts(bench, random_ranking(rng, bench))
    whole = result(bench)
    for wrong, code in [
        ([], "no-results"),
        ([replace(whole, status="failed", reason="x")], "no-results"),
        ([replace(whole, shortened={"epochs": 1})], "partial-result"),
    ]:
        with raises(UsageError, code):
            submit(wrong, artefacts, tmp_path / "out", who="us", terms="CC0-1.0")
    for words in ({"who": ""}, {"who": "two\nlines"}, {"terms": "x" * 201}, {"page": "\x1b[2J"}):
        with raises(UsageError, "bad-value", "--"):
            submit([whole], artefacts, tmp_path / "out", **({"who": "us", "terms": "CC0-1.0"} | words))
    neighbours = replace(
        bench, nearest=Ranking(np.zeros((len(bench.queries), 1), int), np.zeros((len(bench.queries), 1), np.float32))
    )
    with raises(StoreError, "bad-task"):
        submit([whole], Artefacts(neighbours, artefacts.found), tmp_path / "out", who="us", terms="CC0-1.0")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("a")
    with raises(UsageError, "not-empty", "full"):
        submit([whole], artefacts, tmp_path / "full", who="us", terms="CC0-1.0")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_result_reads_as_it_was_written_in_a_submission(tmp_path: Path) -> None:
    made = submitted(tmp_path, 3, "pairs")
    found, problems = files.read_all(made / "results")
    assert problems == []
    assert [one.dataset.path for one in found] == [None, None]
