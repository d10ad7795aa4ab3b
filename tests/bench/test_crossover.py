"""The laws by which costs grow, where they cross, and the command that measures both sides."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from typer.testing import CliRunner

from irbench.bench import at_recall, beam, crossover, laws
from irbench.bench.search import Vectors
from irbench.cli.main import app
from irbench.core.embeddings import Embeddings
from irbench.core.ranking import Ranking
from irbench.runtime.machine import Runtime

SIZES = np.array([1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6])
LAWS = st.builds(
    laws.Law, constant=st.floats(0, 1e3), slope=st.floats(0.1, 10), exponent=st.sampled_from([0.0, 0.3, 0.5, 0.75, 1.0])
)


@settings(max_examples=100, deadline=None)
@given(law=LAWS, seed=st.integers(0, 2**32 - 1))
def test_a_law_of_noisy_costs_up_to_a_million_predicts_three_million(law: laws.Law, seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(0.98, 1.02, len(SIZES))
    found = laws.fit(laws.Measured(sizes=SIZES, costs=law(SIZES) * noise))
    further = np.array([3e6])
    assert abs(found(further) / law(further) - 1)[0] < 0.15


@settings(max_examples=50, deadline=None)
@given(
    costs=st.lists(st.floats(1e-6, 1e3), min_size=4, max_size=7),
    exponents=st.sampled_from([laws.LOGARITHMIC, laws.ANY]),
    steady=st.booleans(),
)
def test_no_law_with_parameters_that_are_not_negative_fits_better(
    costs: list[float], exponents: tuple[float, ...], *, steady: bool
) -> None:
    sizes, measured = SIZES[: len(costs)], np.array(costs)
    found = laws.fit(laws.Measured(sizes=sizes, costs=measured, exponents=exponents, steady=steady))
    weights = np.ones(len(sizes)) if steady or len(exponents) > 1 else sizes**1.5
    roots = np.sqrt(weights / weights.sum())
    least = []
    for exponent in exponents:
        grown = sizes**exponent if exponent else np.log(sizes / sizes[0])
        scale = grown.max()  # columns of one size, or nnls loses digits
        columns = np.stack([1 / measured, grown / scale / measured], axis=1)
        least.append(nnls(roots[:, None] * columns, roots)[1])
    assert found(sizes[:1])[0] >= -1e-9 * measured[0]
    assert found.constant >= 0 or found.exponent == 0
    assert found.slope >= 0
    assert np.linalg.norm(roots * (found(sizes) / measured - 1)) <= min(least) + 1e-6


def curve(law: laws.Law) -> laws.Curve:
    return laws.Curve(laws.Measured(sizes=SIZES, costs=law(SIZES), steady=True), law)


def test_between_the_sizes_a_curve_goes_through_what_was_measured_and_beyond_them_by_the_law() -> None:
    cached = laws.Measured(sizes=SIZES, costs=SIZES * np.where(SIZES < 5e4, 1.0, 3.0), exponents=laws.PROPORTIONAL)
    found = laws.curve(cached)
    np.testing.assert_allclose(found(SIZES), cached.costs)
    np.testing.assert_allclose(found(np.array([1e6 * (1 + 1e-9)])), cached.costs[-1:])  # goes on without a jump
    assert 3e4 < found(np.array([4e4]))[0] < 3e5
    assert found(np.array([3e6]))[0] == pytest.approx(9e6, rel=0.1)
    assert laws.held_out(cached) == pytest.approx(1, rel=0.2)


def test_a_constant_and_a_line_cross_where_they_are_equal() -> None:
    flat = laws.Law(constant=70.0, slope=0.0, exponent=0.0)
    line = laws.Law(constant=1.0, slope=2e-5, exponent=1.0)
    step = 0.012  # of the sizes that are looked at
    assert laws.crossing(curve(flat), curve(line), 1e8) == pytest.approx(69 / 2e-5, rel=step)
    assert laws.crossing(curve(line), curve(flat), 1e8) == np.inf  # cheaper at first only
    assert laws.crossing(curve(flat), curve(line), 3e6) == np.inf
    assert laws.crossing(curve(flat), curve(replace(line, constant=80.0)), 1e8) == SIZES[0]


@pytest.mark.parametrize("sizes", [SIZES[2:], SIZES])
def test_intervals_of_a_crossing_cover_it(sizes: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws, "_DRAWS", 80)
    flat, line = laws.Law(constant=5.0, slope=0, exponent=0), laws.Law(constant=0.1, slope=2e-5, exponent=1.0)
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        noisy = [law(sizes) * np.exp(0.05 * rng.normal(size=len(sizes))) for law in (flat, line)]
        found = laws.crossing_of(
            laws.Measured(sizes=sizes, costs=noisy[0], exponents=laws.LOGARITHMIC, steady=True),
            laws.Measured(sizes=sizes, costs=noisy[1], exponents=laws.PROPORTIONAL),
            1e8,
        )
        covered += (found.low or np.inf) <= 4.9 / 2e-5 <= (found.high or np.inf)
    assert covered >= 88  # of 100; at 95 % fewer are seen once in 400 times


def test_where_generating_is_cheaper_at_every_size_the_smallest_stands() -> None:
    low, high = laws.Law(constant=1.0, slope=0, exponent=0), laws.Law(constant=5.0, slope=1e-5, exponent=1.0)
    found = laws.crossing_of(
        laws.Measured(sizes=SIZES, costs=low(SIZES), exponents=laws.LOGARITHMIC, steady=True),
        laws.Measured(sizes=SIZES[1:], costs=high(SIZES[1:])),
        1e8,
    )
    assert (found.size, found.low, found.high) == (SIZES[1],) * 3


def test_the_largest_size_is_predicted_from_the_others() -> None:
    line = laws.Measured(sizes=SIZES, costs=1 + SIZES / 1e5)
    assert laws.held_out(line) == pytest.approx(1.0, abs=1e-6)
    jump = replace(line, costs=np.where(SIZES < 1e6, line.costs, 2 * line.costs))
    assert laws.held_out(jump) == pytest.approx(0.5, abs=1e-6)
    assert laws.held_out(laws.Measured(sizes=SIZES[:4], costs=SIZES[:4])) is None


class Tuned:
    """Finds the first `settings` neighbours of each query."""

    name = "tuned"
    settings = tuple((("found", count),) for count in (2, 4, 8, 10))

    def __init__(self) -> None:
        self.index, self.runtime, self.found = self, None, 0

    def use(self, setting: tuple[tuple[str, object], ...]) -> None:
        self.found = int(str(setting[0][1]))

    def search(self, queries: Embeddings, k: int) -> Ranking:
        rows = np.where(np.arange(k) < self.found, np.arange(k), -1)
        scores = np.where(rows >= 0, 0, -np.inf).astype(np.float32)
        return Ranking(np.tile(rows, (len(queries), 1)), np.tile(scores, (len(queries), 1)))


@pytest.mark.parametrize(
    ("wanted", "between", "recall"), [(0.7, (4, 8), 0.7), (0.8, (8,), 0.8), (0.1, (2,), 0.2), (1.0, (10,), 1.0)]
)
def test_a_cost_is_that_of_the_recall_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch, wanted: float, between: tuple[int, ...], recall: float
) -> None:
    vectors = Vectors(
        Embeddings(np.eye(12, dtype=np.float32)),
        Embeddings(np.eye(12, dtype=np.float32)[:3]),
        Ranking(np.tile(np.arange(10), (3, 1)), np.tile(-np.arange(10, dtype=np.float32), (3, 1))),
    )
    monkeypatch.setattr(at_recall, "_seconds", lambda index, setting, rounds, _: setting[0][1] / len(rounds[0]))
    asked = at_recall.Asked(recall=wanted, k=10, batch=2, patience=0)
    found = at_recall.at_recall(Tuned(), vectors, asked)
    assert found.recall == pytest.approx(recall)
    share = np.log(0.6 / (1 - wanted)) / np.log(0.6 / 0.2) if len(between) > 1 else 0
    assert found.batch_s == pytest.approx(between[0] ** (1 - share) * between[-1] ** share)
    assert found.single_s == pytest.approx(found.batch_s / 3)
    assert found.setting == " to ".join(f"found={count}" for count in between)


@pytest.mark.parametrize(("size", "count", "asked"), [(1, 4, [4, 4]), (4, 1, [1, 1]), (1, 32, [10]), (3, 2, [2])])
def test_rounds_ask_each_query_once_at_most(size: int, count: int, asked: list[int]) -> None:
    queries = Embeddings(np.arange(10, dtype=np.float32)[:, None])
    rounds = at_recall._rounds(queries, size, count)
    assert [len(one) for one in rounds] == asked
    found = np.concatenate([batch.array for one in rounds for batch in one])[:, 0]
    assert found.tolist() == list(range(len(found)))
    assert {len(batch) for one in rounds for batch in one} == {size}


def test_networks_are_those_of_the_recipe() -> None:
    paper, tiny = crossover.network_plan("paper"), crossover.network_plan("tiny")
    assert replace(paper, backbone=beam.Plan.backbone, compared=beam.Plan.compared) == beam.Plan()
    assert (tiny.image_size, tiny.num_layers, tiny.width, tiny.num_heads) == (64, 4, 96, 4)
    assert tiny.codebook_size == paper.codebook_size == 256


SMALL = ["bench", "crossover", "--scale", "tiny", "--patience", "0", "--batch", "4", "--dim", "16"]


def test_the_command_measures_both_sides_and_draws_them(tmp_path: Path) -> None:
    sizes, searches = (400, 600, 800, 1600, 3200), ("linear", "ivfpq", "spann")
    named = [part for name in searches for part in ("--search", name)]
    command = [*SMALL, *named, "--sizes", ",".join(map(str, sizes)), "--spann-up-to", "100", "-k", "5"]
    printed = CliRunner().invoke(app, [*command, "--json", "--out", str(tmp_path / "figure.svg")])
    assert printed.exit_code == 0, printed.output
    found = json.loads(printed.stdout)
    at = {(one["method"], one["asked"], one["size"]): one for one in found["costs"] if one["seconds"]}
    assert len(at) == 2 + 2 * len(sizes) * 3  # the encoder; irgen, linear and ivfpq at every size
    assert all(at["linear", "batch", size]["recall"] == 1 for size in sizes)
    assert all(at["ivfpq", "single", size]["recall"] >= 0.95 for size in sizes)
    crossed = {(one["asked"], one["search"]): one for one in found["crossovers"]}
    assert set(crossed) == {(asked, search) for asked in crossover.ASKED for search in ("linear", "ivfpq")}
    encoder = at["encoder", "single", None]["seconds"]
    linear = crossed["single", "linear"]
    assert linear["search_s"] == pytest.approx(encoder + at["linear", "single", 3200]["seconds"])
    assert linear["held_out"] > 0
    assert sum("spann" in note for note in found["notes"]) == len(sizes)
    assert all(part in found["notes"][0] for part in ("1 thread ", "fp32", "cpu", "16 dimensions"))
    assert (tmp_path / "figure.svg").read_text().count("<svg") == 1


def test_networks_are_measured_in_bf16(runtime: Runtime) -> None:
    plan = crossover.Plan(searches=(), scales=("tiny",), sizes=(100, 200, 300, 400, 500), batch=2, patience=0)
    costs = list(crossover.measure(plan, replace(runtime, precision="bf16")))
    assert [cost.reason for cost in costs] == [""] * 12  # the encoder, and five sizes, in two ways


def test_vectors_of_a_file_are_sampled_and_queries_are_not_among_them(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(900, 8)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    gallery, queries = crossover._sampled(300, 500, tmp_path / "vectors.npy")
    rows = {vector.tobytes() for vector in vectors}
    drawn, asked = ({vector.tobytes() for vector in one.array} for one in (gallery, queries))
    assert (len(drawn), len(asked)) == (300, 500)
    assert drawn | asked <= rows
    assert not drawn & asked


FEW = np.eye(300, dtype=np.float32)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--scale", "huge"], "unknown-choice"),
        (["--search", "lineer"], "unknown-name"),
        (["--sizes", "10"], "bad-number"),
        (["--sizes", "100,200,300,400,400"], "bad-number"),
        (["--sizes", "100,200,300,400,99999999999999"], "bad-number"),
        (["--sizes", "100,200,300,400,500", "-k", "101"], "bad-number"),
        (["--vectors", "v.npy"], "unused-option"),
        (["--out", "figure.gif"], "bad-format"),
        (["--out", f"{__file__}/figure.svg"], "not-writable"),
        (["--precision", "both"], "unknown-choice"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: list[str], code: str) -> None:
    failed = CliRunner().invoke(app, [*SMALL, *options])
    assert getattr(failed.exception, "code", None) == code
    assert failed.stdout == ""  # before anything is measured


def test_a_file_with_too_few_vectors_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", FEW)
    sizes = ["--sizes", "100,110,120,130,140"]
    failed = CliRunner().invoke(app, ["bench", "crossover", "--vectors", str(tmp_path / "few.npy"), *sizes])
    assert getattr(failed.exception, "code", None) == "bad-vectors"
    assert failed.stdout == ""


def test_nothing_to_compare_is_no_success() -> None:
    failed = CliRunner().invoke(app, [*SMALL, "--search", "cagra", "--sizes", "100,110,120,130,140"])
    assert failed.exit_code == 1
    assert "nothing could be compared" in failed.output
