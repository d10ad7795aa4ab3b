"""The Python front door: recipes, files, arrays and live objects are scored, timed and stored alike."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import irbench
from irbench import IrbenchError, evaluate, load_results
from irbench import run as run_all
from irbench.experiments import latency

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, and time little."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(latency, "SINGLES", 2)
    monkeypatch.setattr(latency, "BATCHED", 64)


@pytest.fixture(scope="module")
def digits() -> irbench.Benchmark:
    return irbench.load_dataset("digits")


def grey(images: irbench.ImageSet) -> np.ndarray:
    """[N,64] the grey values of digits, at the size at which they were scanned."""
    return images.arrays[:, ::1, ::1, 0].reshape(len(images), -1).astype(np.float32)


class Grey:
    """An encoder of one's own, as short as it can be."""

    def encode(self, images):
        return np.stack([np.asarray(image)[:, :, 0].ravel() for image in images])


MINE = """
import numpy as np


class Mine:
    def encode(self, images):
        return np.stack([np.asarray(image)[:, :, 0].ravel() for image in images])
"""


class Backwards:
    """A searcher of one's own: exact search by a plain loop, rows in the order of a full sort."""

    def build(self, gallery):
        self.gallery = gallery.array

    def search(self, queries, k):
        distances = ((queries.array[:, None] - self.gallery[None]) ** 2).sum(-1)
        rows = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return irbench.Ranking.from_topk(rows, -np.take_along_axis(distances, rows, 1))


class Chance:
    """A retriever of one's own, which ranks the gallery at random."""

    def index(self, gallery):
        self.size = len(gallery)

    def search(self, queries, k):
        rng = np.random.default_rng(0)
        rows = np.stack([rng.permutation(self.size)[:k] for _ in range(len(queries))])
        return irbench.Ranking.from_topk(rows, -np.tile(np.arange(rows.shape[1]), (len(rows), 1)))


def test_an_encoder_arrays_and_a_searcher_of_ones_own_score_alike(digits) -> None:
    vectors = grey(digits.queries), grey(digits.gallery)
    mine = irbench.evaluate(Grey(), digits, progress=False)
    given = irbench.evaluate(vectors, digits, progress=False)
    looped = irbench.evaluate(Grey(), digits, search=Backwards(), name="looped", progress=False)
    assert (mine.cell, given.cell, looped.cell) == ("Grey+linear", "vectors+linear", "looped+Backwards")
    assert mine.metrics == given.metrics == looped.metrics
    assert {one.origin for one in (mine, given, looped)} == {"object"}
    assert "no recipe" in mine.recipe.text
    assert mine.cost.query_ms.total_p50 > 0
    assert [one.cell for one in irbench.load_results("runs/results")] == [mine.cell, looped.cell, given.cell]


def test_scores_per_query_agree_with_the_result(digits) -> None:
    searcher = Backwards()
    searcher.build(irbench.Embeddings(grey(digits.gallery)))
    ranking = searcher.search(irbench.Embeddings(grey(digits.queries)), 100)
    scores = irbench.score(ranking, digits, ["precision@10", "map@100"])
    assert scores.values["precision@10"].shape == (898,)
    result = irbench.evaluate((grey(digits.queries), grey(digits.gallery)), digits, progress=False)
    for name, mean in scores.means.items():
        assert result.metrics[name].mean == mean


def test_a_query_in_the_gallery_is_taken_out_before_scoring(digits) -> None:
    again = replace(digits, name="again", queries=replace(digits.gallery, name="queries"))
    vectors = grey(again.gallery)
    result = irbench.evaluate((vectors, vectors), again, progress=False)
    searcher = Backwards()
    searcher.build(irbench.Embeddings(vectors))
    ranking = searcher.search(irbench.Embeddings(vectors), 101)
    assert (ranking.rows[:, 0] == np.arange(899)).mean() > 0.99
    assert irbench.score(ranking, again, "precision@1").means["precision@1"] == result.metrics["precision@1"].mean < 1


def test_a_retriever_of_ones_own_is_scored_as_any_other(digits) -> None:
    result = irbench.evaluate(Chance(), digits, progress=False)
    assert result.cell == "Chance"
    assert result.metrics["precision@10"].mean == pytest.approx(0.1, abs=0.03)


def test_results_become_frames_and_tables(digits) -> None:
    results = irbench.run([Grey(), Chance()], [digits], search=["linear", Backwards()], max_queries=40, progress=False)
    wide = results.to_dataframe(wide=True)
    assert list(wide["method"]) == ["Grey", "Grey", "Chance"]
    assert list(wide["search"])[:2] == ["linear", "Backwards"]
    tidy = results.to_dataframe()
    assert len(tidy) == sum(len(one.metrics) for one in results)
    row = tidy[(tidy["method"] == "Chance") & (tidy["metric"] == "precision@1")].iloc[0]
    assert row["value"] == results[2].metrics["precision@1"].mean
    assert row["ci_low"] <= row["value"] <= row["ci_high"]
    assert "Grey+Backwards" in results.table("precision")
    assert len(json.loads(results.table("precision", format="json"))) > 0
    assert len(results[:2]) == 2


WRONG = {
    "not-vectors": {"method": type("Flat", (), {"encode": lambda self, images: np.zeros(len(images))})()},
    "not-a-method": {"method": object()},
    "not-a-searcher": {"method": Grey(), "search": Grey()},
    "name-taken": {"method": Grey(), "name": "irgen"},
    "unknown-key": {"method": Grey(), "set": {"nprobe": 3}},
    "no-such-file": {"method": "./absent.py"},
    "unknown-option": {"method": Grey(), "max_querys": 3},
    "bad-file-name": {"method": Grey(), "name": "a+b"},
    "bad-override": {"method": "pixels", "set": "image_size=4"},
    "unused-option": {"method": "pixels", "name": "mine"},
}
BAD_VALUES = (
    {"seed": -1}, {"seed": True}, {"seed": 1.5}, {"epochs": "1"}, {"epochs": -3}, {"max_queries": 2.5},
    {"max_queries": True}, {"results": None}, {"data": 3}, {"incremental": "no"}, {"progress": "no"}, {"scale": 1},
)  # fmt: skip


@pytest.mark.parametrize("code", WRONG)
def test_what_cannot_be_evaluated_is_an_error_with_a_code(code, digits) -> None:
    with pytest.raises(irbench.IrbenchError) as raised:
        irbench.evaluate(dataset=digits, progress=False, **WRONG[code])
    assert raised.value.code == code


@pytest.mark.parametrize("wrong", BAD_VALUES, ids=str)
def test_an_argument_of_the_wrong_type_is_refused(wrong) -> None:
    with pytest.raises(irbench.UsageError) as raised:
        irbench.evaluate("pixels", **wrong)
    assert raised.value.code == "bad-value"
    with pytest.raises(irbench.UsageError) as raised:
        irbench.run("pixels", seeds=3)
    assert raised.value.code == "bad-value"


def test_a_numpy_integer_is_a_whole_number(digits) -> None:
    made = irbench.evaluate(Grey(), digits, seed=np.int64(3), max_queries=np.int32(40), progress=False)
    assert (made.seed, made.shortened) == (3, {"max_queries": 40})


def test_nothing_is_not_taken_for_everything() -> None:
    for nothing in ({"methods": []}, {"datasets": []}, {"seeds": ()}, {"search": []}):
        with pytest.raises(irbench.IrbenchError) as raised:
            irbench.run(**({"methods": ["pixels"]} | nothing))
        assert raised.value.code == "nothing-to-run"
    for wrong in (None, Grey):
        with pytest.raises(irbench.IrbenchError) as raised:
            irbench.evaluate(wrong)
        assert raised.value.code == "not-a-method"


def test_what_is_named_twice_runs_once_and_two_things_of_one_name_do_not(digits) -> None:
    encoder = Grey()
    twice = irbench.run([encoder, encoder], [digits], search=["linear", "linear"], seeds=(0, 0), progress=False)
    assert {one.cell for one in twice} == {"Grey+linear"}
    assert len(twice) == 1
    with pytest.raises(irbench.IrbenchError) as raised:
        irbench.run([Grey(), Grey()], [digits])
    assert raised.value.code == "name-taken"


def test_objects_are_named_by_a_mapping_and_files_on_the_command_line(digits, irbench, tmp_path: Path) -> None:
    vectors = grey(digits.queries), grey(digits.gallery)
    made = run_all({"one": Grey(), "other": vectors}, [digits], search={"loop": Backwards()}, progress=False)
    assert [one.cell for one in made] == ["one+loop", "other+loop"]
    assert run_all(list(vectors), [digits], progress=False)[0].cell == "vectors+linear"
    (tmp_path / "below").mkdir()
    for place in ("mine.py", "below/mine.py"):
        (tmp_path / place).write_text(MINE)
    command = ("run", "--max-queries", "20", "-m")
    assert irbench(*command, "./mine.py", "-m", "below/mine.py").returncode == 2  # two methods called "mine"
    assert irbench(*command, "./mine.py").returncode == 0
    other = irbench(*command, "below/mine.py")
    assert (other.returncode, other.stderr.count("[name-taken]")) == (2, 1)
    assert irbench(*command, "below/mine.py", "--force").returncode == 0
    assert irbench(*command, "mine2=mine.py", "-m", "mine3=below/mine.py").returncode == 0
    stored = {one.method: one.retriever.get("method_file") for one in load_results("runs/results")}
    assert stored["mine"] == stored["mine3"]
    assert stored["mine"].startswith("below/mine.py ")
    assert stored["mine2"].startswith("mine.py ")
    with pytest.raises(IrbenchError) as raised:  # nor does a live object replace a file's
        evaluate(Grey(), digits, name="mine", max_queries=20, progress=False)
    assert raised.value.code == "name-taken"
    assert run_all({"mine4": "./mine.py"}, max_queries=20, progress=False)[0].metrics


def test_a_derived_benchmark_does_not_pass_for_the_one_that_it_comes_from(digits) -> None:
    half = replace(digits, gallery=digits.gallery.take(slice(None, None, 2)))
    with pytest.raises(irbench.IrbenchError) as raised:
        irbench.evaluate("pixels", half, progress=False)
    assert raised.value.code == "name-taken"
    halves = [replace(half, name="half"), replace(half, name="half", gallery=digits.gallery.take(slice(400)))]
    first = irbench.evaluate("pixels", halves[0], progress=False)
    assert first.dataset.gallery == 450
    with pytest.raises(irbench.IrbenchError) as raised:
        irbench.evaluate("pixels", halves[1], progress=False)
    assert raised.value.code == "name-taken"
    assert irbench.evaluate("pixels", halves[1], force=True, progress=False).dataset.gallery == 400


def test_vectors_of_a_benchmark_made_of_one_split_are_those_that_were_given(digits) -> None:
    one_out = replace(digits, name="one-out", queries=digits.gallery)
    vectors = grey(digits.gallery)
    chance = irbench.evaluate((np.random.default_rng(0).random(vectors.shape), vectors), one_out, progress=False)
    assert chance.metrics["precision@1"].mean < 0.3
    assert irbench.evaluate((vectors, vectors), one_out, progress=False).metrics["precision@1"].mean > 0.9


@pytest.mark.parametrize("part", ["pixels", "ks", "in place"])
def test_other_pixels_and_other_depths_are_another_benchmark(part) -> None:
    digits = irbench.load_dataset("digits")
    if part == "pixels":
        other = replace(digits, queries=replace(digits.queries, arrays=255 - digits.queries.arrays))
    elif part == "ks":
        other = replace(digits, ks=(1, 2))
    else:
        other = replace(digits, queries=replace(digits.queries, arrays=digits.queries.arrays.copy()))
        other.queries.arrays[:] = 0
    with pytest.raises(irbench.IrbenchError) as raised:
        irbench.evaluate("pixels", other, progress=False)
    assert raised.value.code == "name-taken"


@pytest.mark.parametrize("name", ["a b", "../x", "x" * 300, "", None, 5], ids=repr)
def test_names_that_would_have_to_be_changed_are_refused(digits, name) -> None:
    with pytest.raises(irbench.IrbenchError) as raised:
        irbench.evaluate("pixels", replace(digits, name=name))
    assert raised.value.code == "bad-file-name"
    if name not in {"", None}:
        with pytest.raises(irbench.IrbenchError) as raised:
            irbench.evaluate(type("Encoder", (Grey,), {"name": name if isinstance(name, str) else "a/b"})(), digits)
        assert raised.value.code == "bad-file-name"


@pytest.mark.parametrize(
    ("methods", "code"),
    [({"a": "pixels"}, "unused-option"), ({"a": Grey}, "not-a-method"), ({"a": None}, "not-a-method")],
    ids=str,
)
def test_a_mapping_names_objects_and_nothing_else(methods, code) -> None:
    with pytest.raises(irbench.IrbenchError) as raised:
        irbench.run(methods)
    assert raised.value.code == code


RETRIEVER = """
class Ret:
    def index(self, images):
        pass

    def search(self, images, k):
        rows = np.tile(np.arange(k), (len(images), 1))
        return irbench.Ranking.from_topk(rows, -rows.astype(float))


"""
KINDS = {
    "retriever": RETRIEVER + "method = Ret()\n",
    "encoder": RETRIEVER + "method = Mine()\n",
    "bad-python-file": 'method = "pixels"\n',
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_object_of_a_file_is_what_it_assigns_to_method(kind, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(f"import irbench\n{MINE}\n\n{KINDS[kind]}")
    if kind == "bad-python-file":
        with pytest.raises(irbench.IrbenchError) as raised:
            irbench.evaluate("./own.py", max_queries=5, progress=False)
        assert raised.value.code == kind
        return
    made = irbench.evaluate("./own.py", max_queries=5, progress=False)
    assert made.search == ("linear" if kind == "encoder" else None)


@pytest.mark.parametrize(
    "described",
    [
        {"backbone": irbench.Backbone(name="n", weights="w", parameters=1.5)},
        {"backbone": "resnet"},
        {"model_bytes": -5},
        {"details": 5},
    ],
    ids=str,
)
def test_a_description_that_no_result_can_hold_is_refused(described, digits) -> None:
    encoder = type("Told", (Grey,), {"describe": lambda self: irbench.Description(**described)})()
    with pytest.raises(irbench.IrbenchError) as raised:
        irbench.evaluate(encoder, digits, max_queries=5, progress=False)
    assert raised.value.code == "bad-description"


def test_a_module_of_torch_is_a_retriever_that_is_not_trained_and_sees_images(digits) -> None:
    import torch

    class Ret(Chance, torch.nn.Module):
        def index(self, gallery):
            super().index(gallery)
            assert np.asarray(gallery[0]).shape == (8, 8, 3)
            assert len(list(gallery[:3])) == 3

    assert irbench.evaluate(Ret(), digits, max_queries=5, progress=False).method == "Ret"


class Trained:
    """An encoder of one's own with all methods of the protocol."""

    trained = 0

    def train(self, images):
        self.trained = len(images)

    def encode(self, images):
        assert self.trained == 899
        return [np.asarray(images[row])[:, :, 0].ravel() for row in range(len(images))]

    def describe(self):
        return irbench.Description(details={"made": "by hand"})


def test_an_object_that_describes_itself_is_trained_and_checked_as_any_other(digits, monkeypatch) -> None:
    made = irbench.evaluate(Trained(), digits, max_queries=50, progress=False)
    assert made.metrics == irbench.evaluate(Grey(), digits, max_queries=50, progress=False).metrics
    assert made.retriever["made"] == "by hand"
    monkeypatch.setattr(Trained, "encode", lambda self, images: [[1.0], [1.0, 2.0]])
    with pytest.raises(irbench.ContractError) as raised:
        irbench.evaluate(Trained(), digits, progress=False)
    assert raised.value.code == "not-vectors"
    monkeypatch.setattr(Backwards, "describe", lambda self: {}, raising=False)
    with pytest.raises(irbench.ContractError) as raised:
        irbench.evaluate(Grey(), digits, search=Backwards(), progress=False)
    assert raised.value.code == "not-a-description"
    monkeypatch.setattr(Chance, "search", lambda self, queries, k: irbench.Ranking.from_topk([[1]], [[1.0]]))
    with pytest.raises(irbench.ContractError) as raised:
        irbench.evaluate(Chance(), digits, progress=False)
    assert raised.value.code == "wrong-shape"


@pytest.mark.parametrize(
    "call",
    [
        lambda benchmark, ranking: irbench.score(ranking, benchmark, None),
        lambda benchmark, ranking: irbench.score(ranking, benchmark, [5]),
        lambda benchmark, ranking: irbench.score(ranking, "digits", "precision@1"),
        lambda benchmark, ranking: irbench.load_results(5),
        lambda benchmark, ranking: irbench.load_dataset(benchmark),
        lambda benchmark, ranking: irbench.load_dataset("digits", data=None),
        lambda benchmark, ranking: irbench.load_results(".").table(width=0),
        lambda benchmark, ranking: irbench.load_results(".").table("precison"),
    ],
)
def test_a_wrong_argument_is_an_error_with_a_code(call, digits) -> None:
    ranking = irbench.Ranking.from_topk(np.zeros((898, 1), int), np.zeros((898, 1)))
    with pytest.raises(irbench.UsageError):
        call(digits, ranking)


def test_frames_of_nothing_have_columns(tmp_path: Path) -> None:
    nothing = irbench.load_results(tmp_path)
    assert list(nothing.to_dataframe())[-4:] == ["metric", "value", "ci_low", "ci_high"]
    assert {"method", "query_ms"} <= set(nothing.to_dataframe(wide=True))


def test_a_torch_module_is_left_as_it_was() -> None:
    import torch

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 2, dtype=torch.float64)
            self.drop = torch.nn.Dropout()

        def forward(self, x):
            return self.drop(self.layer(x))

    encoder = irbench.TorchEncoder(Small(), torch.tensor, batch_size=2)
    images = [[1.0, 2.0, 3.0, 4.0]] * 3
    first, again = encoder.encode(images), encoder.encode(images)
    np.testing.assert_array_equal(first, again)
    assert (first.shape, first.dtype) == ((3, 2), np.float32)
    assert encoder.module.training
    for wrong in ({"transform": None}, *({"transform": torch.tensor, "batch_size": size} for size in (0, 2.5, "64"))):
        with pytest.raises(irbench.IrbenchError) as raised:
            irbench.TorchEncoder(Small(), **wrong)
        assert raised.value.code == "bad-value"


def test_wrong_vectors_are_refused_by_shape_and_kind(digits) -> None:
    good = grey(digits.queries), grey(digits.gallery)
    for bad in (
        (good[0][1:], good[1]),
        (good[0], good[1][:, :9]),
        (good[0].astype(str), good[1]),
        (good[0] * np.nan, good[1]),
    ):
        with pytest.raises(irbench.IrbenchError):
            irbench.evaluate(bad, digits, progress=False)
    assert not list(Path("runs/results").rglob("*.json"))


def test_arrays_are_known_again_and_live_objects_are_not(digits, monkeypatch) -> None:
    vectors = grey(digits.queries), grey(digits.gallery)
    first, mine = (irbench.evaluate(one, digits, progress=False) for one in (vectors, Grey()))
    assert irbench.evaluate(vectors, digits, progress=False).created == first.created
    assert irbench.evaluate(tuple(vectors), digits, progress=False).inputs == first.inputs
    assert irbench.evaluate(Grey(), digits, progress=False).inputs != mine.inputs


def test_every_public_name_is_there_and_documented() -> None:
    for name in irbench.__all__:
        assert getattr(irbench, name).__doc__ or name == "__version__"
    with pytest.raises(AttributeError):
        _ = irbench.nothing_like_it


def test_a_plain_script_runs_a_recipe_without_a_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "import irbench\n"
        "made = irbench.evaluate('pixels+linear', 'digits', max_queries=20, progress=False)\n"
        "print(made.metrics['precision@10'].mean)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0.8
    assert done.stderr == ""


def test_a_cell_runs_where_its_caller_is_by_now(tmp_path: Path) -> None:
    script = (
        "import os, irbench\n"
        "one = irbench.evaluate('pixels+linear', max_queries=20, progress=False)\n"
        "os.mkdir('below')\n"
        "os.chdir('below')\n"
        "other = irbench.evaluate('pixels+linear', max_queries=20, progress=False)\n"
        "assert other.inputs == one.inputs\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "below" / "runs" / "results").rglob("seed0.json"))) == 1


def test_a_list_that_changed_is_read_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{label}{n}.png,{label},{split}" for label in "ab" for n, split in enumerate(("gallery", "query"))]
    for row in rows:
        low = 0 if row.startswith("a") else 150
        Image.fromarray(rng.integers(low, low + 80, (16, 16, 3), dtype=np.uint8)).save(tmp_path / row.split(",")[0])
    table = tmp_path / "list.csv"
    seen = []
    for lines in (rows, [*rows[:-1], "b1.png,a,query"]):
        table.write_text("\n".join(["path,label,split", *lines]) + "\n")
        seen.append(irbench.evaluate(Grey(), "list.csv", progress=False).metrics["precision@1"].mean)
    assert seen == [1.0, 0.5]


def test_a_python_file_is_a_method_of_the_command_line(irbench, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom beside import CHANNEL\n\n\nclass Mine:\n    def encode(self, images):\n"
        "        return np.stack([np.asarray(image)[:, :, CHANNEL].ravel() for image in images])\n"
    )
    (tmp_path / "beside.py").write_text("CHANNEL = 0\n")
    done = irbench(
        "run", "--method", "./mine.py", "--search", "ivfpq", "--set", "nprobe=2", "--max-queries", "30", "--json"
    )
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert (result["method"], result["search"], result["origin"]) == ("mine", "ivfpq", "object")
    assert result["overrides"] == {"nprobe": 2}
    same = evaluate(Grey(), search="ivfpq", max_queries=30, set={"nprobe": 2}, progress=False)
    assert result["metrics"]["precision@10"]["mean"] == same.metrics["precision@10"].mean


def test_the_example_of_the_docs_runs_as_it_stands(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "python-api.md").read_text()
    example = text.partition("<!-- test: example -->")[2].partition("```python\n")[2].partition("```")[0]
    assert 0 < len(example.strip().splitlines()) <= 10
    assert example in (ROOT / "README.md").read_text()
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert "precision@10" in done.stdout
    assert len(irbench.load_results("runs/results")) == 2
