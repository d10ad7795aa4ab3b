"""The benches at sizes that take a moment: what they report is what they measured."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from engines import ABSENT
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from irbench.bench import encode, metrics, overhead, scale, search, training
from irbench.bench.beam import Model, Plan, compare, decoding_flop, disagreement, measure
from irbench.bench.replay import Replayed
from irbench.bench.roofline import Rates, Work, rates
from irbench.bench.timing import repeated
from irbench.cli.bench import networks
from irbench.cli.main import app
from irbench.config import recipes
from irbench.config.registry import SEARCHERS
from irbench.core.errors import DataError, MissingLibrary, UsageError
from irbench.core.identifiers import Identifiers
from irbench.retrievers.irgen.beam import BeamSearch
from irbench.retrievers.irgen.decoder import Decoder, DecoderConfig
from irbench.retrievers.irgen.trie import Trie
from irbench.retrievers.search_index import SearchIndex
from irbench.runtime.machine import Runtime

RATES = Rates(precision="fp32", flop_per_s=1e12, bytes_per_s=1e11)


def test_trie_prints_a_line_for_each_size_or_one_document() -> None:
    printed = CliRunner().invoke(app, ["bench", "trie", "--sizes", "100,2000", "--codebook-size", "16"])
    assert printed.exit_code == 0
    assert [line.split()[0] for line in printed.stdout.strip().splitlines()[1:]] == ["100", "2,000"]
    document = CliRunner().invoke(
        app, ["bench", "trie", "--sizes", "100", "--codebook-size", "16", "--num-codebooks", "3", "--json"]
    )
    built = json.loads(document.stdout)["tries"]
    assert [(row["identifiers"], row["num_codebooks"], row["codebook_size"]) for row in built] == [(100, 3, 16)]
    assert all(row["build_s"] > 0 and row["bytes"] > 0 and row["step_ms"] > 0 for row in built)


def test_beam_compares_its_leaves_with_those_of_the_reference_decoder(runtime: Runtime) -> None:
    plan = Plan(
        beam_sizes=(1, 3),
        batches=(1, 2),
        compared=((3, 3),),
        backbone="test_vit",
        num_layers=2,
        num_codebooks=3,
        patience=0,
    )
    model = Model(plan, runtime)
    assert len(model.images) == 3
    points = list(measure(model, plan, RATES))
    assert [(point.batch, point.beam_size) for point in points] == [(1, 1), (1, 3), (2, 1), (2, 3)]
    for point in points:
        assert point.total_s >= point.encoder_s + point.decoder_s + point.trie_s > 0
        assert 0 < point.of_roof < 1
    (graph,) = measure(model, replace(plan, graphs=True, beam_sizes=(3,), batches=(2,)), RATES)
    assert (graph.decoder_s, graph.trie_s) == (None, None)  # without a GPU the same, but for the subspans
    (comparison,) = compare(model, plan)
    assert (comparison.batch, comparison.beam_size, comparison.leaves_differing) == (3, 3, 0)
    assert comparison.score_difference < 1e-4
    assert comparison.ratio_decoding > 0


@pytest.mark.parametrize(
    "command",
    [
        "encode --precision fp16",
        "encode --batches 0,1",
        "training --frozen-stages -1",
        "training --frozen-stages 0,none",
        "training --shared-codes 2",
        "trie --sizes many",
        "trie --sizes 10,0",
        "beam --compare 16",
        "beam --beam-sizes 1,,2",
        "beam --precision fp64",
    ],
)
def test_what_cannot_be_measured_is_refused_by_name(command: str) -> None:
    refused = CliRunner().invoke(app, ["bench", *command.split()])
    assert isinstance(refused.exception, UsageError)
    assert command.split()[1] in str(refused.exception)


def test_a_batch_may_be_as_large_as_the_beam() -> None:
    assert networks._pair("16x16") == (16, 16)
    assert networks._pair("1x30") == (1, 30)


def test_the_least_that_decoding_takes_is_what_the_decoder_does_and_what_the_roofline_says() -> None:
    paper = DecoderConfig(memory_dim=768, num_codebooks=4, codebook_size=256, num_layers=12, width=768, num_heads=12)
    known = {1: 41.5 - 35.13, 10: 47.1 - 35.13, 30: 59.4 - 35.13}  # GFLOP, worked out by hand, less the encoder's
    assert {k: decoding_flop(paper, 197, k) / 1e9 for k in known} == pytest.approx(known, abs=0.06)

    small = DecoderConfig(memory_dim=32, num_codebooks=3, codebook_size=8, num_layers=2, width=32, num_heads=2)
    every = np.stack(np.meshgrid(*[np.arange(8)] * 3), axis=-1).reshape(-1, 3)
    beam_search = BeamSearch(Trie.build(Identifiers(every, 8)), "cpu")
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        beam_search(Decoder(small).eval(), torch.randn(1, 20, 32), 5)
    assert counter.get_total_flops() == pytest.approx(decoding_flop(small, 20, 5), rel=0.01)


def test_the_roofline_is_the_longer_of_two_times(runtime: Runtime) -> None:
    assert Work(flop=1e12, bytes=1e9).least_s(RATES) == 1
    assert Work(flop=1e9, bytes=1e12).least_s(RATES) == 10
    found = rates(runtime, 0, shrink=16)
    assert found.flop_per_s > 1e6
    assert found.bytes_per_s > 1e6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_graph_returns_what_the_functions_do(runtime: Runtime, precision: str) -> None:
    plan = Plan(batches=(3,), compared=(), backbone="test_vit", num_layers=2, num_codebooks=3)
    model = Model(plan, replace(runtime, device="cuda", precision=precision))
    search = BeamSearch(model.trie, "cuda")
    encode, find = Replayed(model.network), Replayed(search)
    for seed in range(3):  # the first records, the others replay
        torch.manual_seed(seed)
        images = 255 * torch.rand_like(model.images)
        with torch.inference_mode(), model.runtime.autocast():
            tokens = model.network(images)
            torch.testing.assert_close(encode(images), tokens)
            leaves, scores = search(model.decoder, tokens, 5)
            found = find(model.decoder, tokens, 5)
        torch.testing.assert_close(found[1], scores)
        assert disagreement(found, (leaves, scores))[0] == 0


def test_patience_lets_what_takes_a_moment_be_repeated_often_and_without_it_once_is_enough(runtime: Runtime) -> None:
    assert len(repeated(lambda: None, runtime, 0)) == 1
    assert len(repeated(lambda: time.sleep(0.01), runtime, 5.0)) > 15
    assert 1 < len(repeated(lambda: time.sleep(0.06), runtime, 0.25)) < 9
    assert len(repeated(lambda: time.sleep(0.06), runtime, 5.0)) == 9


def test_encode_reports_what_share_of_the_machine_is_used(runtime: Runtime) -> None:
    plan = encode.Plan(backbone="test_vit", image_size=64, batches=(1, 3), patience=0)
    model = encode.Model(plan, runtime)
    points = list(encode.measure(model, plan, RATES))
    assert [point.batch for point in points] == [1, 3]
    parameters = sum(p.numel() for name, p in model.network.named_parameters() if "blocks" in name and p.ndim == 2)
    tokens = model.network(torch.zeros(1, 3, 64, 64)).shape[1]
    for point in points:
        assert point.gflop_per_image >= 2 * parameters * tokens / 1e9  # every matrix for every token
        assert point.of_product == pytest.approx(point.images_per_s * point.gflop_per_image * 1e9 / 1e12)
        assert 0 < point.of_product <= point.of_roof * (1 + 1e-9)  # equal, but for rounding, where arithmetic limits
        assert point.of_roof < 1


def test_a_compiled_network_is_compiled_once_for_each_batch_size(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def stand_in(function: Callable[[torch.Tensor], torch.Tensor], *, dynamic: bool) -> Callable[..., torch.Tensor]:
        asked.append(dynamic)
        return function

    monkeypatch.setattr(torch, "compile", stand_in)
    model = encode.Model(encode.Plan(backbone="test_vit", image_size=64, batches=(2,), compiled=True), runtime)
    assert model.encode(2).shape == (2, model.network.dim)
    assert asked == [False]


def test_search_holds_each_index_against_exact_search(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = search.Plan(gallery=600, queries=20, dim=16, clusters=20, k=5, patience=0)
    points = {point.search: point for point in search.measure(plan, runtime)}
    assert set(points) == set(recipes.names("methods/search"))
    assert points["linear"].recall == 1
    for name in ABSENT:
        assert points.pop(name).recall is None
    assert all(0 < point.recall <= 1 and point.build_s > 0 and point.index_bytes > 0 for point in points.values())
    few = search.Plan(searches=("ivfpq",), gallery=600, queries=20, dim=16, clusters=20, k=5, curves=True, patience=0)
    curve = {point.setting: point for point in search.measure(few, runtime)}
    assert curve["nprobe-1"].recall <= curve["nprobe-32"].recall

    def missing(*_: object) -> None:
        raise MissingLibrary("pip install it")

    monkeypatch.setattr(SEARCHERS.load("ivfpq"), "build", missing)
    (gap, *_) = search.measure(few, runtime)
    assert (gap.recall, gap.reason) == (None, "pip install it")


def test_search_builds_indexes_as_for_a_data_set(runtime: Runtime) -> None:
    plain, imagenet = (search._config("ivfpq", (), dataset) for dataset in ("", "imagenet"))
    assert (plain.nlist, imagenet.nlist, imagenet.nprobe) == (200, 4096, 16)
    plan = search.Plan(searches=("ivfpq",), gallery=8000, queries=20, dim=8, dataset="digits", patience=0)
    (point,) = search.measure(plan, runtime)
    (other,) = search.measure(replace(plan, dataset=""), runtime)
    assert point.index_bytes < other.index_bytes  # 23 cells of it, not 200
    refused = CliRunner().invoke(app, ["bench", "search", "--dataset", "nosuch"])
    assert getattr(refused.exception, "code", None) == "unknown-name"


def test_search_measures_given_vectors(runtime: Runtime, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"gallery": rng.normal(size=(90, 8)).astype(">f8"), "queries": rng.normal(size=(12, 8)).astype(np.float32)}
    gallery, queries = (tmp_path / f"{name}.npy" for name in arrays)
    for path, array in zip((gallery, queries), arrays.values(), strict=True):
        np.save(path, array)
    plan = search.Plan(searches=("linear",), vectors=gallery, k=3, patience=0)
    own = search.prepare(replace(plan, query_vectors=queries), runtime)
    distances = np.linalg.norm(arrays["queries"][:, None] - arrays["gallery"][None], axis=2)
    assert np.array_equal(own.exact.rows, np.argsort(distances, axis=1)[:, :3])
    held_out = search.prepare(replace(plan, queries=30), runtime)
    assert (held_out.held_out, own.held_out) == (True, False)
    assert np.array_equal(held_out.queries.array, arrays["gallery"][::3].astype(np.float32))
    assert np.array_equal(held_out.gallery.array[:2], arrays["gallery"][1:3].astype(np.float32))
    command = [
        "bench",
        "search",
        "--vectors",
        str(gallery),
        "--search",
        "linear",
        "--patience",
        "0",
        "-k",
        "3",
        "--json",
    ]
    document = json.loads(CliRunner().invoke(app, command).stdout)
    assert [document[name] for name in ("gallery", "queries", "dim", "held_out")] == [45, 45, 8, True]
    assert [point["recall"] for point in document["points"]] == [1]
    document = json.loads(CliRunner().invoke(app, [*command, "--queries", str(queries)]).stdout)
    assert [document[name] for name in ("gallery", "queries", "held_out")] == [90, 12, False]


@pytest.mark.parametrize(
    ("command", "error", "code"),
    [
        ("--vectors gallery.npy --queries narrow.npy", DataError, "wrong-shape"),
        ("--vectors gallery.npy --queries none.npy", DataError, "no-such-file"),
        ("--vectors single.npy", DataError, "bad-vectors"),
        ("--vectors gallery.npy --dim 8", UsageError, "unused-option"),
        ("--queries gallery.npy", UsageError, "bad-number"),
        ("--queries 1,2", UsageError, "bad-number"),
    ],
)
def test_search_refuses_what_does_not_go_together(
    command: str, error: type, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, shape in {"gallery": (9, 4), "narrow": (9, 3), "single": (1, 4)}.items():
        np.save(f"{name}.npy", np.ones(shape))
    result = CliRunner().invoke(app, ["bench", "search", *command.split()])
    assert isinstance(result.exception, error)
    assert result.exception.code == code


def test_training_is_timed_part_by_part_and_stages_that_are_frozen_stay(runtime: Runtime) -> None:
    plan = training.Plan(backbone="test_resnet", image_size=32, batches=(4,), frozen_stages=(1, 0))
    model = training.Model(plan, runtime)
    before = {name: value.clone() for name, value in model.network.backbone.named_parameters()}
    timed = training.measure(model, replace(plan, patience=0))
    frozen = next(timed)
    assert frozen.total_s >= frozen.augment_s + frozen.forward_s + frozen.backward_s > 0
    assert frozen.images_per_s == 4 / frozen.total_s

    def learned() -> set[str]:
        now = model.network.backbone.named_parameters()
        return {name.partition(".")[0] for name, value in now if (value != before[name]).any()}

    assert {"conv1", "layer1"}.isdisjoint(learned())
    assert "layer2" in learned()
    next(timed)
    assert {"conv1", "layer1", "layer2"} <= learned()


def test_the_decoder_s_training_is_timed_on_a_backbone_that_learns_and_on_what_is_kept_of_it(runtime: Runtime) -> None:
    plan = training.Plan(
        backbone="test_resnet", image_size=32, batches=(4,), frozen_stages=(None, 0), targets=(2,), num_layers=1,
        width=16, num_heads=2, patience=0,
    )  # fmt: skip
    model = training.Model(plan, runtime)
    before = {name: value.clone() for name, value in model.network.backbone.state_dict().items()}
    timed = training.measure(model, plan)
    kept = next(timed)
    assert (kept.targets, kept.frozen_stages, kept.augment_s) == (2, None, 0.0)
    assert kept.forward_s > 0
    assert all(value.equal(before[name]) for name, value in model.network.backbone.state_dict().items())
    assert next(timed).augment_s > 0
    now = model.network.backbone.named_parameters()
    assert any((value != before[name]).any() for name, value in now)


def test_metrics_say_what_plain_loops_say(runtime: Runtime) -> None:
    timed = metrics.measure(50, 120, runtime, 0)
    assert timed.difference < 1e-12
    assert timed.total_s > 0
    assert timed.ratio > 0.3  # of milliseconds, beside other programs


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("encode --backbone test_vit --image-size 32 --batches 1,2 --precision fp32 --patience 0", "points"),
        ("training --backbone test_resnet --image-size 32 --targets 0,2 --frozen-stages 0,all --patience 0", "points"),
        ("search --search linear --gallery 300 --queries 10 --dim 8 --clusters 5 --patience 0", "points"),
        ("overhead --search linear --gallery 300 --queries 10 --dim 8 --patience 0", "searches"),
        ("load --search linear --gallery 300 --dim 8 --clients 1,2 --seconds 0.2", "loads"),
        ("metrics --queries 20 --top-k 100 --patience 0", "metrics"),
    ],
)
def test_a_bench_prints_a_table_or_one_document(command: str, key: str) -> None:
    table = CliRunner().invoke(app, ["bench", *command.split()])
    assert table.exit_code == 0, table.output
    rows = json.loads(CliRunner().invoke(app, ["bench", *command.split(), "--json"]).stdout)[key]
    assert len(table.stdout.strip().splitlines()) >= 1 + len(rows)


def test_what_irbench_checks_is_in_no_time_of_a_search(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = overhead.Plan(gallery=400, queries=30, singles=3, dim=8, patience=0)
    before = {(one.search, one.asked): one.times for one in overhead.measure(plan, runtime) if not one.reason}
    assert {search for search, _ in before} == set(recipes.names("methods/search")) - ABSENT
    assert {search for (search, _), one in before.items() if one.library_s is None} <= {"spann"}
    check = SearchIndex._check

    def slow(self: SearchIndex, *found: object) -> None:
        time.sleep(0.3)
        check(self, *found)

    monkeypatch.setattr(SearchIndex, "_check", slow)
    few = replace(plan, searches=("linear", "ivfpq", "usearch"))
    for one in overhead.measure(few, runtime):
        assert one.times is not None
        assert one.times.seconds < 0.3 < one.times.wall_s
    ours = overhead.InTurns(queries=10, seconds=1.02e-3, wall_s=2e-3, library_s=1e-3)
    assert ours.is_little
    assert not replace(ours, seconds=1.06e-3).is_little
    assert replace(ours, seconds=1.04e-3).added_s == pytest.approx(4e-6)
    assert replace(ours, seconds=1.04e-3).is_little  # five microseconds a query are


def test_other_leaves_are_counted_unless_their_scores_are_equal() -> None:
    leaves, scores = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[-1.0, -2.0, -2.00001, -5.0]])
    swapped = torch.tensor([[1, 3, 2, 9]])  # the last may have changed places with what is not among the best
    assert disagreement((swapped, scores), (leaves, scores))[0] == 0
    assert disagreement((torch.tensor([[2, 1, 3, 4]]), scores), (leaves, scores))[0] == 2
    assert disagreement((leaves, scores - 0.5), (leaves, scores))[1] == 0.5


def test_scale_measures_each_stage_beside_its_library_and_says_what_it_left_out() -> None:
    command = ["bench", "scale", "--sizes", "2000,500", "--dim", "8", "--queries", "20", "-k", "10", "--patience", "0"]
    printed = CliRunner().invoke(
        app, [*command, "--search", "linear", "--search", "spann", "--spann-up-to", "0", "--json"]
    )
    assert printed.exit_code == 0
    found = json.loads(printed.stdout)
    stages = ["benchmark", "score", "trie", "diagnostics", *(f"linear {part}" for part in ("build", "batch", "single"))]
    assert [(row["stage"], row["size"]) for row in found["stages"]] == [
        (stage, size) for size in (500, 2000) for stage in [*stages, "spann build"]
    ]
    for row in found["stages"]:
        assert bool(row["reason"]) == (row["stage"] == "spann build")
        assert (row["seconds"] is None) == (row["stage"] == "spann build")
        assert (row["library_s"] is None) == (row["stage"] not in ("linear batch", "linear single"))
    assert {row["stage"] for row in found["growth"]} == set(stages)


def test_growth_is_the_power_of_the_size_between_the_smallest_and_the_largest() -> None:
    def at(size: int, seconds: float | None, peak: int | None = None) -> scale.Measured:
        return scale.Measured(stage="build", size=size, seconds=seconds, peak_bytes=peak)

    cubic = [at(10, 10.0**3, 100), at(20, 20.0**3, 200), at(40, 40.0**3, 400)]
    (grown,) = scale.growth([*cubic[::-1], at(80, None)])
    assert grown.sizes == (10, 40)
    assert grown.time == pytest.approx(3)
    assert grown.memory == pytest.approx(1)
    assert not list(scale.growth([at(10, 1.0), replace(at(20, 1.0), stage="other")]))
