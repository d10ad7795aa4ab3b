"""The Python front door: recipes, files, arrays and live objects are scored, timed and stored alike."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from own_objects import Backwards, Chance, Grey, grey
from PIL import Image

import irbench
from irbench import evaluate

ROOT = Path(__file__).parents[2]


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


def test_frames_of_nothing_have_columns(tmp_path: Path) -> None:
    nothing = irbench.load_results(tmp_path)
    assert list(nothing.to_dataframe())[-4:] == ["metric", "value", "ci_low", "ci_high"]
    assert {"method", "query_ms"} <= set(nothing.to_dataframe(wide=True))


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


def test_a_cell_runs_where_its_caller_is_by_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = irbench.evaluate("pixels+linear", max_queries=20, progress=False)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    other = irbench.evaluate("pixels+linear", max_queries=20, progress=False)
    assert other.inputs == one.inputs
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


def test_the_example_of_the_docs_runs_as_it_stands(capfd: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "python-api.md").read_text()
    example = text.partition("<!-- test: example -->")[2].partition("```python\n")[2].partition("```")[0]
    assert 0 < len(example.strip().splitlines()) <= 10
    assert example in (ROOT / "README.md").read_text()
    exec(compile(example, "python-api.md", "exec"), {"__name__": "__main__"})
    assert "precision@10" in capfd.readouterr().out
    assert len(irbench.load_results("runs/results")) == 2


class Narrow(Chance):
    """Returns one result of each query, whatever is asked."""

    def search(self, queries, k):
        return super().search(queries, 1)


def test_columns_that_a_ranking_does_not_have_are_missing_results(digits):
    result = irbench.evaluate(Narrow(), digits, progress=False)
    shares = {name: one.short for name, one in result.metrics.items() if name.startswith("precision@")}
    assert shares.pop("precision@1") == 0
    assert set(shares.values()) == {1.0}
