"""Tables: what is shown, and what is kept apart."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
from chosen import CUB, Artefacts, drawn, result, rows
from raising import raises

from irbench.core.description import Backbone
from irbench.core.errors import UsageError
from irbench.report.quantities import quantities
from irbench.report.render import FORMATS, render
from irbench.report.table import table
from irbench.results.schema import Conditions, Cost, Estimate, LoadPoint, QueryTimes, RecipeUsed, TimingSession


def test_seeds_become_a_mean_and_a_deviation_and_one_seed_keeps_its_interval():
    several = rows(table([result(40), result(50, seed=1), result(60, seed=2)], "precision"))[0]
    assert several.seeds == 3
    assert several.cells[0].value == pytest.approx(50)
    assert several.cells[0].deviation == pytest.approx(10)
    assert several.cells[0].interval is None
    one = rows(table([result(40)], "precision"))[0].cells[0]
    assert one.interval == pytest.approx((30, 50))
    assert one.deviation is None


def test_a_network_trained_from_scratch_is_named_beside_a_published_number():
    shown = table([result(method="clip", search="linear")], "precision")
    measured = next(row for row in rows(shown) if row.method == "clip+linear")
    published = next(row for row in rows(shown, "published") if row.method == "clip+linear")
    assert (measured.backbone, measured.weights) == ("test_resnet", "trained from scratch")
    assert published.weights == "Table 1"
    for form in FORMATS:
        assert "trained from scratch" in render(shown, form, width=130)
        assert "published" in render(shown, form, width=130)


def test_the_papers_rows_stand_below_the_measured_of_the_same_cell_and_can_be_left_out():
    shown = table([result()], "precision")
    order = [(row.method, row.kind) for row in shown.panels[0].rows]
    assert order.index(("ft-clip+scann", "published")) == order.index(("ft-clip+scann", "measured")) + 1
    assert len(rows(shown, "published")) == 15
    assert not rows(table([result()], "precision", paper=False), "published")


def test_other_protocols_crops_and_fingerprints_are_panels_of_their_own_without_the_papers_numbers():
    other = [replace(CUB, protocol="metric-learning"), replace(CUB, crop="bbox"), replace(CUB, fingerprint="0" * 64)]
    shown = table([result(), *(result(dataset=dataset) for dataset in other)], "precision")
    assert len(shown.panels) == 4
    with_paper = [panel for panel in shown.panels if any(row.kind == "published" for row in panel.rows)]
    assert {(panel.protocol, panel.crop) for panel in with_paper} == {("closed-set", "none")}
    assert len({panel.title for panel in shown.panels}) == 4


def test_a_gallery_that_grew_can_be_asked_for_alone():
    grown = replace(CUB, incremental=9, fingerprint="0" * 64)
    results = [result(), result(dataset=grown, variant="incremental"), result(dataset=replace(CUB, name="digits"))]
    named = {
        ("cub200",): ["cub200", "cub200-incremental"],
        ("cub200-incremental",): ["cub200-incremental"],
        ("digits",): ["digits"],
    }
    for datasets, panels in named.items():
        shown = table(results, "precision", datasets=datasets)
        assert [panel.dataset for panel in shown.panels] == panels
        assert not shown.notes


def test_networks_recipes_and_machines_are_never_averaged_together():
    hub = Backbone(name="vit", weights="hub: x sha256:" + "a" * 64, parameters=6)
    mixed = [result(), result(seed=1, backbone=hub), result(seed=2, recipe=RecipeUsed(text="epochs = 2", hash="c3"))]
    shown = table(mixed, "precision")
    assert [row.seeds for row in rows(shown)] == [1, 1, 1]
    assert any("2 recipes" in note for note in shown.panels[0].notes)
    cpu, gpu = ({"cpu": "x", "threads": 2, "precision": "fp32", "gpu": gpu} for gpu in (None, "H"))
    machines = [result(environment=cpu), result(seed=1, environment=gpu)]
    assert [len(rows(table(machines, metric))) for metric in ("latency", "precision")] == [2, 1]


def test_a_failed_cell_is_a_gap_with_its_reason():
    failed = {"status": "skipped", "reason": "nothing to load at this scale", "metrics": {}, "backbone": None}
    shown = table([result(), result(seed=1, **failed), result(method="clip", **failed)], "precision")
    (gap,) = rows(shown, "gap")
    assert (gap.method, gap.seeds) == ("clip+scann", 0)
    assert gap.reason == "skipped: nothing to load at this scale"
    assert [cell.value for cell in gap.cells] == [None] * 4
    for form in ("text", "markdown", "latex", "json"):
        text = render(shown, form)
        assert " ".join(text.split()).count("nothing to load at this scale") == 2  # in its row, and of another's seed
        assert "seed 1: skipped" in text


def test_a_method_behind_which_no_recipe_stands_is_named():
    (panel,) = table([result(), result(method="mine", origin="object")], "precision", paper=False).panels
    assert [note.partition(":")[0] for note in panel.notes] == ["mine+scann"]


def test_a_metric_without_a_value_says_why():
    too_shallow = {"r_precision": Estimate(mean=None, reason="only 5 answers were kept")}
    shown = table([result(metrics=too_shallow)], "r_precision")
    assert rows(shown)[0].cells[0].value is None
    assert "only 5 answers were kept" in shown.panels[0].notes[0]


def test_shortened_results_enter_only_when_asked_and_then_say_so():
    results = [result(), result(method="irgen", search=None, shortened={"epochs": 3})]
    shown = table(results, "precision")
    assert [row.method for row in rows(shown)] == ["ft-clip+scann"]
    assert "1 shortened" in shown.notes[0]
    asked = table(results, "precision", include_shortened=True)
    assert "irgen (shortened: epochs=3)" in [row.method for row in rows(asked)]


def test_the_best_measured_value_is_marked_in_the_right_direction():
    def times(ms, session):
        rounds = {"single_ms": (ms,) * 5, "batched_ms": (ms,) * 5}
        together = TimingSession(id=session, reference_ms=2.0, reference_batched_ms=2.0, drift=(1.0, 1.0), **rounds)
        query = QueryTimes(batch=1, total_p50=ms, total_p95=ms)
        return Cost(query_ms=query, queries_per_s=1000 / ms, session=together if session else None)

    def best(*sessions):
        fast = result(60, method="irgen", search=None, cost=times(1.0, sessions[0]))
        (panel,) = table([result(50, cost=times(2.0, sessions[1])), fast], "latency", paper=False).panels
        apart = any("not taken together" in note for note in panel.notes)
        return {row.method: [cell.best for cell in row.cells] for row in panel.rows}, apart

    nothing = {"irgen": [False] * 6, "ft-clip+scann": [False] * 6}
    assert best("a", "a") == (nothing | {"irgen": [True, False, False, True, False, False]}, False)  # p95: no rounds
    for apart in (("a", "b"), ("a", ""), ("", "")):
        assert best(*apart) == (nothing, True)
    seeds = [result(50, seed=seed, cost=times(2.0 + seed, "a")) for seed in (0, 1)]
    (row,) = rows(table(seeds, "latency"))
    assert [(cell.value, cell.interval) for cell in row.cells[:2]] == [(2.5, (2.5, 2.5)), (2.5, None)]  # p95: no rounds
    sizes = [result(50, cost=Cost(index_bytes=n), method=f"m{n}") for n in (10**7, 2 * 10**7)]
    assert [row.cells[2].best for row in rows(table(sizes, "footprint"))] == [True, False]
    fast = result(60, method="irgen", search=None)
    quality = table([result(50), fast], "precision")
    assert {row.method for row in quality.panels[0].rows if row.cells[0].best} == {"irgen"}
    assert "**60.0**" in render(quality, "markdown")
    assert r"\textbf{60.0}" in render(quality, "latex")
    assert "*60.0" in render(quality, "text")
    assert re.search(r"\x1b\[1m *60\.0\x1b", render(quality, "text", color=True))


def test_what_is_not_known_of_the_number_of_results_is_told():
    known, unknown = result(method="known"), result(method="unknown")
    unknown = replace(unknown, metrics={name: replace(one, short=None) for name, one in unknown.metrics.items()})
    (panel,) = table([known, unknown], "precision", paper=False).panels
    (note,) = panel.notes
    assert "unknown+scann" in note
    assert " known+scann" not in note


def test_times_of_a_busy_machine_are_named():
    quiet, busy = ({"cpu": "x", "cores": 2, "concurrent_load": others} for others in (0.1, 0.9))
    results = [
        result(environment=quiet),
        *(result(method="irgen", search=None, seed=s, environment=busy) for s in (0, 2)),
    ]
    for metric, told in {
        "cost": 1,
        "latency": 1,
        "components": 1,
        "setup": 1,
        "training": 1,
        "footprint": 0,
        "precision": 0,
    }.items():
        notes = [note for panel in table(results, metric).panels for note in panel.notes if note.startswith("timings")]
        assert len(notes) == told
        assert all(note.startswith("timings of irgen (seed 0, 2) unreliable: ") for note in notes)
    (panel,) = table(results[1:], "latency", paper=False).panels
    assert panel.notes == ("timings unreliable: other programs used the CPU; rerun on an idle machine",)


def test_times_that_took_more_cores_than_is_said_are_named():
    known = {"cpu": "x", "cores": 4, "threads": 1}
    results = [result(environment=known | {"timing_cores": 1.0}),
               result(method="irgen", search=None, environment=known | {"timing_cores": 3.0})]  # fmt: skip
    said = "timed on more cores than the threads that are stated: irgen"
    for metric, told in {"latency": True, "precision": False}.items():
        assert any(said in panel.notes for panel in table(results, metric).panels) == told


def test_a_remembered_training_brings_its_own_conditions():
    def trained(method, **conditions):
        cost = Cost(train_s=9.0, training=Conditions(**conditions))
        return result(method=method, cost=cost, environment={"cpu": "x", "cores": 2, "concurrent_load": 0.0})

    def told(metric):
        (panel,) = table(results, metric, paper=False).panels
        return [note for note in panel.notes if "train" in note]

    results = [
        trained("alone", processors=("x",), load=0.0),
        trained("beside", processors=("x",), load=0.9),
        trained("elsewhere", processors=("y",), load=0.0),
        trained("forgotten", processors=("x",)),
    ]
    methods = [one.method for one in results]
    about = told("cost")
    assert [[name for name in methods if f"{name}+" in note] for note in about] == [["beside"], ["forgotten"], []]
    assert about[2].endswith("x, y")
    assert not told("precision")


def test_every_cost_has_its_own_column():
    one = QueryTimes(batch=1, read_p50=1.0, encode_p50=2.0, search_p50=3.0, decoder_p50=4.0, trie_p50=5.0,
                     lookup_p50=6.0, total_p50=7.0, total_p95=8.0, total_p99=9.0)  # fmt: skip
    share = QueryTimes(batch=64, encode_p50=10.0, search_p50=11.0, total_p50=12.0)
    cost = Cost(train_s=13.0, encode_gallery_s=14.0, build_s=15.0, add_s=16.0, queries_per_s=80.0,
                index_bytes=17_000_000, model_bytes=18_000_000, peak_host_bytes=19_000_000,
                peak_device_bytes=20_000_000, query_ms=one, batched_ms=share)  # fmt: skip

    def printed(metric, cost):
        (panel,) = table([result(cost=cost)], metric, paper=False).panels
        return {column.key: cell.value for column, cell in zip(panel.columns, panel.rows[0].cells, strict=True)}

    queried = {"read_ms": 1, "encode_ms": 2, "search_ms": 3, "lookup_ms": 6, "total_ms": 7, "batched_ms": 12}
    peaks = {"peak_host_mb": 19, "peak_device_mb": 20}
    assert printed("cost", cost) == queried | peaks | {"train_s": 13, "index_s": 29, "all_bytes_per_image": 35_000}
    assert printed("components", cost) == queried | {
        "decoder_ms": 4, "trie_ms": 5, "batched_encode_ms": 10, "batched_search_ms": 11,
    }  # fmt: skip
    assert printed("setup", cost) == {"train_s": 13, "encode_s": 14, "build_s": 15, "add_s": 16}
    assert printed("footprint", cost) == peaks | {
        "precision_at_2": 50.0,
        "model_mb": 18, "index_mb": 17, "bytes_per_image": 17_000, "all_bytes_per_image": 35_000,
    }  # fmt: skip
    assert printed("latency", cost) == pytest.approx({
        "p50_ms": 7, "p95_ms": 8, "p99_ms": 9, "queries_per_s": 80,
        "encode_percent": 200 / 7, "search_percent": 300 / 7,
    })  # fmt: skip
    assert (
        printed("cost", replace(cost, batched_ms=None))["batched_ms"] == 12.5
    )  # of the rate, which is all that is known
    nothing = printed("cost", Cost())
    assert set(nothing.values()) == {None}


IDENTIFIERS = {
    "images": 9, "num_codebooks": 4, "codebook_size": 8, "in_use": 9, "codes_used": [8] * 4, "entropy_bits": [3.0] * 4,
    "images_each": {"mean": 1.0, "max": 1, "histogram": {"1": 9}}, "cluster_purity": [1.0] * 4, "oracle_precision": {},
}  # fmt: skip


def test_what_a_decoder_has_left_to_learn_stands_beside_its_epochs():
    learned = {
        "training": {"irgen": {"loss": [2.0, 1.0, 0.75]}},
        "identifiers": IDENTIFIERS | {"entropy_lower_bound": 0.5},
    }
    shown = rows(table([result(method=name, retriever=facts) for name, facts in {
        "irgen": learned, "mine": {"identifiers": IDENTIFIERS}, "ft-clip": {"training": {"ft-clip": {}}},
    }.items()], "training", paper=False))  # fmt: skip
    told = {row.method.partition("+")[0]: [cell.value for cell in row.cells[1:]] for row in shown}
    assert told == {"irgen": [3, 0.75, 0.5, 1.0], "mine": [None] * 4, "ft-clip": [None] * 4}


def test_bytes_for_each_image():
    cost = Cost(index_bytes=64_000, model_bytes=2_000_000)
    cells = rows(table([result(cost=cost)], "footprint"))[0].cells
    assert [cell.value for cell in cells] == pytest.approx([50.0, 2.0, 0.064, 64, 2064, None, None])


def test_a_data_set_that_was_never_run_still_shows_the_papers_rows():
    shown = table([], "hit_rate", datasets=["cars196", "digits"])
    assert [panel.dataset for panel in shown.panels] == ["cars196"]
    assert "irbench run --dataset cars196" in shown.panels[0].notes[0]
    assert shown.notes == ("digits: nothing measured yet",)


def test_precisions_are_rows_of_their_own_in_every_format():
    results = [result(seed=seed, environment={"precision": p}) for seed, p in enumerate(("fp32", "bf16", "bf16"))]
    shown = table(results, "precision", paper=False)
    assert [(row.precision, row.seeds) for row in rows(shown)] == [("bf16", 2), ("fp32", 1)]
    for form in FORMATS:
        text = render(shown, form)
        assert "fp32" in text
        assert "bf16" in text


def test_dropped_queries_and_images_are_counted_below_the_table():
    dropped = replace(CUB, without_positives=2, bad_images=3, left_out=("a.png", "b.png", "c.png"))
    (panel,) = table([result(dataset=dropped), result(dataset=dropped, seed=1)], "precision", paper=False).panels
    unscored, skipped = panel.notes
    assert unscored.startswith("2 of")
    assert "3 (a.png, b.png, c.png)" in skipped
    (whole,) = table([result()], "precision", paper=False).panels
    assert whole.notes == ()


def test_wrong_names_are_the_users_error():
    with raises(UsageError, "unknown-choice", "precison", "'precision'"):
        table([], "precison")
    with raises(UsageError, "unknown-choice", "markdwon", "'markdown'"):
        render(table([], "precision"), "markdwon")


def test_tables_need_no_torch():
    code = "import sys, irbench.report.table, irbench.report.render; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("chosen", "told"), [(0.001, "smaller"), (0.003, ""), (0.01, "larger")])
def test_a_learning_rate_at_the_end_of_those_tried_is_told(chosen, told):
    tried = {"loss": [1.0], "lr": [chosen], "lr_tried": [0.003, 0.001, 0.01], "lr_losses": [2.0, 1.0, None]}
    training = {"ft-clip": tried, "tokenizer": {"loss": [1.0]}}
    results = [result(retriever={"training": training}), result(method="mine", retriever={"training": {"mine": {}}})]
    (panel,) = table(results, "precision", paper=False).panels
    notes = [note for note in panel.notes if "learning rate" in note]
    assert len(notes) == bool(told)
    assert all(f"{chosen:g}" in note and told in note for note in notes)


def test_what_beams_miss_is_told_beside_exact_answers():
    exact = result(
        method="irgen",
        search=None,
        variant="decode-exact",
        retriever={"beam_misses": {"queries": 0.25, "leaves": 0.0123}},
    )
    methods, panel = table([exact, result()], "precision").panels
    assert not any("beam search" in note for note in methods.notes)
    (note,) = [note for note in panel.notes if "beam search" in note]
    assert "irgen@decode-exact, seed 0" in note
    assert "missed 1.23 %" in note
    assert "25.0 % of the queries" in note


def test_inshops_published_numbers_stand_in_the_column_of_their_own_definition():
    (panel, varied) = table([], "precision", datasets=["inshop"]).panels
    assert [column.key for column in panel.columns] == [
        "precision@1", "precision_irgen@10", "precision_irgen@20", "precision_irgen@30",
    ]  # fmt: skip
    irgen = next(row for row in panel.rows if row.method == "irgen")
    assert [cell.value for cell in irgen.cells] == [92.4, 87.0, 86.6, 86.5]
    assert {row.family for row in varied.rows} == {"irgen"}


def test_other_data_are_mixed_only_when_asked_and_then_marked():
    kept = Artefacts(one=[drawn(0.9, 0)], two=[drawn(0.1, 1)])
    first, second = kept.results()
    bbox = replace(second, dataset=replace(CUB, crop="bbox", fingerprint="0" * 64))
    assert len(table([first, bbox], "precision", paper=False, judge=kept).panels) == 2
    mixed = table([first, bbox], "precision", mix=True, judge=kept)
    (panel,) = mixed.panels
    assert [row.data[:22] for row in panel.rows] == ["closed-set · crop none", "closed-set · crop bbox"]
    assert not any(cell.best or cell.rank or cell.tied for row in panel.rows for cell in row.cells)
    assert any("do not compare" in note for note in panel.notes)
    for form in FORMATS:
        assert "data 00000000" in render(mixed, form)
    alike = table([first, second], "precision", mix=True, paper=False, judge=kept)
    assert rows(alike)[0].cells[0].best


def test_variants_stand_in_a_panel_of_their_method_in_the_order_of_their_numbers():
    names = [None, "num_codebooks-10", "num_codebooks-2", "small", "imported"]
    results = [result(), *(result(method="irgen", search=None, variant=name) for name in names)]
    methods, varied = table(results, "precision", paper=False).panels
    assert [row.method for row in methods.rows] == ["ft-clip+scann", "irgen", "irgen@imported", "irgen@small"]
    assert [row.method for row in varied.rows if row.method not in {row.method for row in methods.rows}] == [
        "irgen@num_codebooks-2", "irgen@num_codebooks-10",
    ]  # fmt: skip
    alone = table([result(method="irgen", search=None, variant=name) for name in names[:3]], "precision", paper=False)
    assert [panel.part for panel in alone.panels] == ["irgen, varied"]


def test_the_load_that_is_shown_is_of_the_fewest_clients_with_nearly_all_throughput():
    def point(clients: int, queries_per_s: float, *, steady: bool = True) -> LoadPoint:
        times = {"p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 10.0 * clients}
        return LoadPoint(way="threads", clients=clients, queries_per_s=queries_per_s, steady=steady, **times)

    loaded = result(cost=Cost(load=(point(1, 50), point(16, 100), point(4, 96), point(8, 99, steady=False))))
    columns = quantities("cost", [loaded, result()])
    shown = {column.key: column.read(loaded).value for column in columns if column.key.startswith("load_")}
    assert shown == {"load_per_s": 96, "load_clients": 4, "load_p99_ms": 40}
    assert [column.read(result()).value for column in columns[-3:]] == [None] * 3
    assert not any(column.key.startswith("load_") for column in quantities("cost", [result()]))
    notes = table([loaded], "cost").panels[0].notes
    assert any("1, 4, 8, 16 of them" in note for note in notes)
    assert not any("not settled" in note for note in notes)  # 8 clients are not shown


def test_a_table_says_which_networks_see_another_part_of_an_image():
    def of(method, fit, **changes):
        text = f'### {method}\n[params]\nbackbone = "resnet18"\n{fit}'
        return result(method=method, recipe=RecipeUsed(text=text, hash=method), **changes)

    crops, squashes = of("ft-clip", ""), of("cgd", 'fit = "squash"')
    told = "of an image that is not square, the networks of {} see {}; the others {}"
    middle, whole = "its middle (center-crop)", "all of it, squashed"

    def said(*results):
        panels = table(results, "precision", paper=False).panels
        return [note for panel in panels for note in panel.notes if "not square" in note]

    assert said(crops, of("irt-r", "")) == said(squashes) == []
    assert said(crops, of("irt-r", ""), squashes) == [told.format("cgd+scann", whole, middle)]
    assert said(crops, squashes, of("irt-r", 'fit = "squash"')) == [told.format("ft-clip+scann", middle, whole)]
    cropped, squashed = (of("ft-clip", 'fit = "squash"', variant=f"{key}-center-crop") for key in ("fit", "lr"))
    assert len(said(cropped, squashed)) == 1
    assert said(cropped, of("ft-clip", "", variant="lr-1")) == []
    assert len(said(of("ft-clip", "", variant="fit-squash"), of("ft-clip", "", variant="lr-1"))) == 1
    (three,) = said(crops, of("irt-r", ""), squashes, of("mine", 'fit = "pad"'))
    assert all(part in three for part in ("cgd+scann", "mine+scann", 'fit = "pad"', f"the others {middle}"))
    square = replace(CUB, name="digits")
    assert said(replace(crops, dataset=square), replace(squashes, dataset=square)) == []


def test_a_table_says_on_which_encoders_decoders_are_trained_and_which_codebooks_are_not_the_papers():
    training = {"ft-clip": {"seconds": 3.0}, "irgen": {"seconds": 4.0}}
    own = {name: training[name] for name in ("irgen",)}
    few, many = ({"training": training, "codebook_size": size} for size in (8, 256))

    def notes(retriever, identifier="rqvae", method="irgen"):
        made = result(method=method, search=None, identifier=identifier, retriever=retriever)
        return [
            note
            for note in table([made], "precision", paper=False).panels[0].notes
            if any(named in note for named in ("ft-clip", "cgd", "8"))
        ]

    assert len(notes(few)) == 2
    assert len(notes(many)) == 1
    assert len(notes(few, identifier="semantic")) == 1
    assert notes({"training": own, "codebook_size": 256}) == []
    assert len(notes({"training": {"cgd": {}, "tokenizer": {}, "ft-clip": {}, "irgen": {}}}, "semantic")) == 2
    assert notes({"training": {"ft-clip": {}}}, identifier=None, method="classify") == []
