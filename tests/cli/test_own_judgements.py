"""A run over images with judgements of one's own, from the folder to the numbers that trec_eval prints."""

import json
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval
from PIL import Image
from raising import raises
from typer.testing import CliRunner

import irbench
from irbench.cli.main import app
from irbench.core.errors import DataError, UsageError

RUN = ["run", "--dataset", "photos", "--qrels", "qrels.txt", "--method", "pixels+linear", "--method", "ft-clip"]


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 30 noisy images, in no folders of classes, and grades, junk among them, for six of them."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(30):
        noise = rng.integers(0, 60, (16, 16, 3)) + 60 * (number % 3)
        Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "photos" / f"{number:02}.png")
    grades = [1, 2, 0, 1, 3, -1, 0, 1, -1]
    lines = [f"{query:02}.png 0 {image:02}.png {grades[(query + 2 * image) % len(grades)]}"
             for query in range(6) for image in range(30) if query != image]  # fmt: skip
    (tmp_path / "qrels.txt").write_text("\n".join(lines))
    return tmp_path


def carried_out(*command: str) -> str:
    done = CliRunner().invoke(app, list(command))
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_run_scores_as_trec_eval_does(judged: Path) -> None:
    printed = carried_out(*RUN)
    assert "qrels.txt" in printed  # under the table
    found = [json.loads(path.read_text()) for path in judged.glob("runs/results/photos/*/*.json")]
    stored = {f"{one['method']}+{one['search']}": one for one in found}
    assert stored["ft-clip+linear"]["status"] == "skipped"  # without labels there is nothing to train on
    metrics = {name: one["mean"] for name, one in stored["pixels+linear"]["metrics"].items()}
    carried_out("export", "--format", "trec", "--out", "exported")
    (folder,) = (judged / "exported").iterdir()
    with (folder / "qrels.txt").open() as qrels, (folder / "pixels+linear@judged.seed0.txt").open() as run:
        evaluator = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(qrels), {"ndcg_cut.8", "map_cut.8", "P.8"})
        theirs = evaluator.evaluate(pytrec_eval.parse_run(run))
    assert len(theirs) == 6
    for ours, name in {"ndcg@8": "ndcg_cut_8", "map_cut@8": "map_cut_8", "precision@8": "P_8"}.items():
        assert metrics[ours] == pytest.approx(np.mean([one[name] for one in theirs.values()])), ours
    carried_out("rescore", "--results", "runs/results", "--force")
    again = json.loads((judged / "runs/results/photos/pixels+linear@judged/seed0.json").read_text())
    assert {name: one["mean"] for name, one in again["metrics"].items()} == metrics
    for metric in ("ndcg", "map_trapezoid", "map_cut"):
        assert "pixels+linear" in carried_out("table", "--metric", metric, "--dataset", "photos")


def test_the_python_api_and_the_command_give_the_same(judged: Path) -> None:
    carried_out(*RUN[:-2])
    stored = json.loads((judged / "runs/results/photos/pixels+linear@judged/seed0.json").read_text())["metrics"][
        "ndcg@4"
    ]
    benchmark = irbench.load_dataset("photos", qrels="qrels.txt")
    found = irbench.evaluate("pixels+linear", benchmark, results="other", progress=False)
    assert found.metrics["ndcg@4"].mean == stored["mean"]
    facts = json.loads(carried_out("data", "info", "photos", "--qrels", "qrels.txt", "--json"))
    assert facts["fingerprint"] == found.dataset.fingerprint
    assert facts["images"] == {"train": 24, "gallery": 30, "queries": 6}


def test_results_are_found_by_their_name_and_by_their_folder(judged: Path) -> None:
    carried_out(*RUN[:-2])
    fingerprint = json.loads((judged / "runs/results/photos/pixels+linear@judged/seed0.json").read_text())["dataset"][
        "fingerprint"
    ]
    for name in ("photos", "./photos"):  # the folder itself lies in reach, and has no classes
        assert "pixels+linear" in carried_out("table", "--metric", "ndcg", "--dataset", name)
    assert json.loads(carried_out("data", "info", "photos", "--json"))["fingerprint"] == fingerprint
    assert json.loads(carried_out("data", "audit", "photos", "--json"))["fingerprint"] == fingerprint
    carried_out("time", "--dataset", "photos")
    planned = CliRunner().invoke(app, ["run", "--dataset", "photos", "--method", "pixels+linear", "--dry-run"])
    assert "1 of 1" in planned.output or "stored" in planned.output, planned.output


@pytest.mark.parametrize(
    ("command", "code", "named"),
    [
        (["--qrels", "qrels.txt"], "unused-option", "--dataset"),
        (["--dataset", "digits", "--qrels", "qrels.txt"], "unused-option", "digits"),
        (["--dataset", "photos", "--qrels", "nowhere.txt"], "no-such-file", "nowhere.txt"),
        ([*RUN[1:], "--protocol", "metric-learning"], "unknown-choice", "--protocol"),
    ],
)
def test_what_cannot_be_judged_is_refused(judged: Path, command: list[str], code: str, named: str) -> None:
    with raises((UsageError, DataError), code, named):
        CliRunner().invoke(app, ["run", *command], catch_exceptions=False)


def test_a_report_shows_images_that_have_no_class(judged: Path) -> None:
    carried_out(*RUN[:-2])
    carried_out("submit", "--out", "subs/mine", "--who", "me", "--license", "CC0-1.0")
    assert "accepted" in carried_out("results", "verify", "subs/mine")
    carried_out("report", "--out", "report", "--submissions", "subs")
    page = (judged / "report" / "explore" / "photos.html").read_text()
    assert "judged relevant" in page
    assert "class 0" not in page
    assert "map_trapezoid@8" in (judged / "report" / "leaderboard.html").read_text()
