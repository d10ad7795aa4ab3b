"""What got worse is found, what did not raises no alarm, and what cannot be told is named."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_results import FACTS, Folders, change, draw, make, sound

import irbench
from irbench.core.description import Backbone
from irbench.metrics.retrieval import Judged
from irbench.report.regression import as_json, as_text
from irbench.results import files
from irbench.results.artefacts import Artefacts
from irbench.results.regression import quality as by_quality
from irbench.results.regression.compare import Comparison, compare, passes
from irbench.results.regression.limits import Limits
from irbench.results.regression.pairs import pair_up
from irbench.results.schema import Conditions, Cost, QueryTimes, RecipeUsed

KINDS = [(90, 0.97), (10, 0.9), (1, 0.9)]  # positives in the gallery, how often an answer is right


@pytest.mark.parametrize(("positives", "quality"), KINDS)
def test_a_searcher_that_drops_its_best_answer_for_3_percent_is_caught_among_many(
    folders, drop_best, positives, quality
):
    rng = np.random.default_rng(0)
    folders.forget_files()
    for number in range(30):
        good = draw(rng, positives=positives, quality=quality)
        folders.both(good, drop_best(good, 0.03) if number == 17 else good, method=f"m{number}")
    found = folders.compare()
    assert [cell for cell, one in found.items() if one.verdict == "worse"] == ["m17"]
    assert {one.verdict for one in found.values()} == {"worse", "same"}
    assert not passes(list(found.values()), complete=False)
    reasons = as_text(list(found.values()), Limits())
    assert "worse: m17 on toy: map@40" in reasons
    assert "0 better of 600" in reasons


def test_of_twenty_re_runs_of_unchanged_cells_nothing_is_worse_and_hardly_any_undecided(tmp_path):
    """Networks that are trained again are other draws: their means differ as seeds do, and times by their noise."""
    rng = np.random.default_rng(3)

    def run(folders: Folders, kept, positives: int, quality: float, seed: int) -> None:
        judged = draw(rng, positives=positives, quality=quality + rng.normal(0, 0.006), again=True)
        noise = QueryTimes(batch=1, total_p50=2.0 * rng.uniform(1, 1.3))
        cost = Cost(train_s=9.0, query_ms=noise, queries_per_s=1000 * rng.uniform(1, 2.2))
        folders.put(kept, make(judged, method=f"m{positives}-{quality}", seed=seed, cost=cost), judged)

    moved = doubtful = 0.0
    for _ in range(20):
        folders = Folders(tmp_path)
        folders.forget_files()
        for positives, quality in ((90, 0.97), (10, 0.98)):
            for seed in (0, 1, 2):
                run(folders, folders.before, positives, quality, seed)
            run(folders, folders.after, positives, quality, 0)
        found = folders.compare()
        assert {one.verdict for one in found.values()} <= {"same", "better", "undecided"}
        doubtful += sum(one.may_be_worse for one in found.values())
        moved = max(moved, *(abs(change.after - change.before) for one in found.values() for change in one.quality))
    assert moved > 0.005  # the floor alone would not have been enough
    assert doubtful <= 2  # of 40: further than stored seeds lie apart, and yet no more than chance


def test_a_difference_that_one_test_would_find_is_luck_among_many(folders):
    rng = np.random.default_rng(5)
    folders.forget_files()
    good = draw(rng, positives=90, quality=0.9)
    folders.both(good, change(good, worse=13, better=1))  # p = 30/2^14 by all signs
    assert folders.compare()["m"].verdict == "worse"
    for number in range(20):
        folders.both(good, change(good, worse=9, better=9), method=f"m{number}")
    assert {one.verdict for one in folders.compare().values()} == {"same"}


def test_a_fault_is_found_among_however_many_cells_that_changed(folders):
    folders.forget_files()
    good = draw(np.random.default_rng(5), positives=90, quality=0.9)
    for number in range(40):
        folders.both(good, change(good, worse=9, better=9), method=f"m{number}")
    folders.both(good, change(good, worse=25, better=0), method="fault")
    found = folders.compare()
    assert [cell for cell, one in found.items() if one.verdict == "worse"] == ["fault"]


@pytest.mark.parametrize(
    ("queries", "worse", "verdict", "alone"),
    [(24, 6, "undecided", 2**-5), (72, 7, "undecided", 2**-6), (72, 20, "worse", None), (5, 3, "undecided", 0.25)],
)
def test_a_loss_that_so_few_queries_cannot_tell_is_undecided_and_never_the_same(
    folders, queries, worse, verdict, alone
):
    hits = np.zeros((queries, 40), bool)
    hits[: queries * 3 // 4, 0] = True
    good = Judged(hits, np.full(queries, 1))
    folders.both(good, change(good, worse=worse, better=0), cost=Cost(), dataset=replace(FACTS, queries=queries))
    one = folders.compare()["m"]
    first = one.quality[0]
    assert (one.verdict, first.verdict) == (verdict, verdict)
    assert (first.metric, first.worse, first.better, first.of) == ("precision@1", worse, 0, queries)
    if alone is not None:
        assert first.p_alone == alone
        assert not passes([one], complete=False)
        assert passes([one], complete=False, undecided=True)
    words = as_text([one], Limits(), width=300)
    assert f"{verdict}: m on toy: precision@1 " in words
    if queries == 5:
        assert first.least is None
    else:  # that many queries would have had to lose, and one fewer would not have been enough
        least = round(first.least * queries)
        for count, called in ((least, "worse"), (least - 1, "undecided")):
            folders.both(
                good, change(good, worse=count, better=0), cost=Cost(), dataset=replace(FACTS, queries=queries)
            )
            assert folders.compare()["m"].quality[0].verdict == called


def test_no_change_is_the_same_whatever_the_floor_and_a_query_or_two_are_no_alarm(folders):
    hits = np.zeros((150, 40), bool)
    hits[:100, 0] = True
    good = Judged(hits, np.full(150, 1))
    for worse, verdict in ((0, "same"), (2, "undecided"), (3, "undecided")):
        folders.both(good, change(good, worse=worse, better=0), cost=Cost(), dataset=replace(FACTS, queries=150))
        one = folders.compare(floor=0.0)["m"]
        assert one.verdict == verdict
        assert passes([one], complete=False) == (worse < 3)


def test_a_gain_that_cannot_be_told_is_no_reason_to_fail(folders):
    hits = np.zeros((24, 40), bool)
    good = Judged(hits, np.full(24, 1))
    folders.both(good, change(good, worse=0, better=4), cost=Cost(), dataset=replace(FACTS, queries=24))
    one = folders.compare()["m"]
    assert one.verdict == "undecided"
    assert passes([one], complete=False)


def test_small_gains_of_as_many_queries_do_not_make_up_for_large_losses(folders):
    hits = np.zeros((24, 40), bool)
    hits[:, :10] = True
    before, after = hits.copy(), hits
    before[4:8, 9:11] = False, True  # four queries will gain one place, four lose nine of ten answers
    after[:4, 1:10] = False
    judged = [Judged(one, np.full(24, 10)) for one in (before, after)]
    folders.both(*judged, cost=Cost(), dataset=replace(FACTS, queries=24))
    one = folders.compare()["m"]
    assert {(change.verdict, change.worse, change.better) for change in one.quality[1:]} >= {("undecided", 4, 4)}
    assert not passes([one], complete=False)
    assert passes([one], complete=False, undecided=True)


def test_so_few_queries_of_many_that_it_does_not_matter(folders):
    good = Judged(np.ones((4000, 40), bool), np.full(4000, 90))
    for worse, verdict in ((15, "same"), (25, "worse")):  # of which half a percent would be 20
        folders.both(good, change(good, worse=worse, better=0))
        found = folders.compare()["m"]
        assert found.verdict == verdict
        assert max(one.p for one in found.quality if one.p is not None) < 0.001


def test_stored_seeds_that_agree_by_chance_do_not_make_another_draw_of_the_network_a_regression(folders):
    right = Judged(np.ones((600, 40), bool), np.full(600, 90))
    hits = right.hits.copy()
    hits[:120, 9] = False  # two points of precision@10, spread over so many queries that no single fault explains it
    other = Judged(hits, right.positives)
    for seed in (0, 1, 2):
        folders.put(folders.before, make(right, seed=seed), right)
    folders.put(folders.after, make(other), other)
    assert folders.compare()["m"].verdict == "same"
    for seed in (0, 1, 2):  # which all three do not do by chance
        folders.put(folders.after, make(other, seed=seed), other)
    assert folders.compare()["m"].verdict == "worse"


def test_a_drop_of_all_queries_is_caught_beyond_what_seeds_differ(folders):
    rng = np.random.default_rng(1)
    for seed in (0, 1, 2):
        before, after = (draw(rng, positives=90, quality=quality) for quality in (0.9, 0.84))
        folders.both(before, after, seed=seed)
    assert folders.compare()["m"].verdict == "worse"
    assert folders.compare(floor=0.2)["m"].verdict == "same"
    other_way = Folders(folders.before.results.parent)
    other_way.before, other_way.after = folders.after, folders.before
    assert other_way.compare()["m"].verdict == "better"
    assert passes(list(other_way.compare().values()), complete=True)


def test_without_single_queries_intervals_decide_and_it_is_said(folders):
    rng = np.random.default_rng(2)
    for method, quality in (("a", 0.8), ("b", 0.89), ("c", 0.9)):
        good = draw(rng, positives=90, quality=0.9)
        other = good if method == "c" else draw(rng, positives=90, quality=quality)
        folders.put(folders.before, make(good, method=method, cost=Cost()), None)
        folders.put(folders.after, make(other, method=method, cost=Cost()), other)
    found = folders.compare()
    assert {cell: one.verdict for cell, one in found.items()} == {"a": "worse", "b": "undecided", "c": "same"}
    assert {change.p for change in found["a"].quality} == {None}
    assert "means and intervals only" in found["b"].notes[0]
    text = as_text(list(found.values()), Limits())
    assert "95 % confidence intervals do not overlap" in text
    assert " =" not in text  # that no query differs cannot be known


def test_each_of_two_names_of_the_same_images_is_compared_with_itself():
    mine = {name: replace(FACTS, name=name, collection="c" * 64) for name in "abx"}
    before = [make(dataset=mine[name]) for name in "ab"]
    pairs = pair_up(before, [make(dataset=mine[name]) for name in "ba"])
    assert [(pair.dataset, pair.before[0].dataset.name, pair.after[0].dataset.name) for pair in pairs] == [
        ("a", "a", "a"),
        ("b", "b", "b"),
    ]
    (pair, _) = pair_up(before, [make(dataset=mine["x"])])
    assert pair.after[0].dataset.name == "x"  # under another name, and compared all the same


def with_times(ms: float, cpu: str = "x", load: float = 3.0, others: float | None = None):
    cost = Cost(query_ms=QueryTimes(batch=1, total_p50=ms), queries_per_s=1000 / ms, index_bytes=10_000)
    return {"cost": cost, "environment": {"cpu": cpu, "cores": 2, "load": load, "concurrent_load": others}}


def test_a_slower_cell_is_caught_on_the_same_machine_only(folders):
    judged = draw(np.random.default_rng(0), positives=10, quality=0.9)
    for method, before, after in (
        ("slow", with_times(2.0), with_times(4.2)),
        ("noisy", with_times(2.0), with_times(3.9)),
        ("tiny", with_times(0.02), with_times(0.1)),
        ("fast", with_times(4.2), with_times(2.0)),
        ("elsewhere", with_times(2.0), with_times(9.0, cpu="y")),
        ("busy", with_times(2.0), with_times(20.0, load=4.0)),  # of results that do not tell more than the load
        ("beside", with_times(2.0, others=0.0), with_times(8.0, load=2.0, others=1.0)),
        ("was-beside", with_times(8.0, load=2.0, others=0.3), with_times(2.0, others=0.0)),
        ("alone", with_times(2.0, others=0.1), with_times(8.0, load=9.0, others=0.1)),  # others ended a minute ago
    ):
        folders.put(folders.before, make(judged, method=method, **before), judged)
        folders.put(folders.after, make(judged, method=method, **after), judged)
    seconds = Cost(train_s=10.0, training=Conditions(processors=("x",), load=0.0))
    for method, after in (
        ("trains-longer", Conditions(processors=("x",), load=0.1)),
        ("trained-beside", Conditions(processors=("x",), load=0.9)),
        ("trained-elsewhere", Conditions(processors=("y",), load=0.0)),
    ):
        where = with_times(2.0, others=0.0)["environment"]
        longer = replace(seconds, train_s=99.0, training=after)
        folders.put(folders.before, make(judged, method=method, cost=seconds, environment=where), judged)
        folders.put(folders.after, make(judged, method=method, cost=longer, environment=where), judged)
    larger_where = {"large": {"cpu": "y"}, "large-busy": {"load": 4.0}, "large-numbers": {"precision": "fp64"}}
    for method, where in larger_where.items():
        there = make(judged, method=method, **with_times(2.0))
        larger = replace(there, cost=Cost(index_bytes=20_000), environment=there.environment | where)
        folders.put(folders.before, make(judged, method=method, **with_times(2.0)), judged)
        folders.put(folders.after, larger, judged)
    found = folders.compare()
    assert {cell: one.verdict for cell, one in found.items()} == {
        "slow": "worse", "noisy": "same", "tiny": "same", "fast": "better", "elsewhere": "same",
        "large": "worse", "large-busy": "worse", "large-numbers": "same", "busy": "same", "beside": "same",
        "was-beside": "same", "alone": "worse", "trains-longer": "worse", "trained-beside": "same",
        "trained-elsewhere": "same",
    }  # fmt: skip
    assert "another machine" in found["elsewhere"].notes[0]
    assert "another precision" in found["large-numbers"].notes[0]
    for method in ("busy", "beside", "was-beside"):
        assert "other programs used the CPU" in found[method].notes[0]
    assert folders.compare(slower=2.2)["slow"].verdict == "same"


def test_times_that_stored_seeds_had_as_well_are_no_alarm(folders):
    judged = draw(np.random.default_rng(0), positives=10, quality=0.9)
    for seed, ms in enumerate((2.0, 2.1, 8.0)):
        folders.put(folders.before, make(judged, seed=seed, **with_times(ms)), judged)
    for ms, verdict in ((8.5, "same"), (9.5, "worse")):
        folders.put(folders.after, make(judged, **with_times(ms)), judged)
        assert folders.compare()["m"].verdict == verdict


def test_what_ended_badly_is_missing_or_was_asked_otherwise_is_named(folders):
    judged = draw(np.random.default_rng(0), positives=10, quality=0.9)

    def put(method: str, before, after) -> None:
        for kept, changes in ((folders.before, before), (folders.after, after)):
            if changes is not None:
                ok = changes.get("status", "ok") == "ok"
                folders.put(kept, make(judged if ok else None, method=method, **changes), judged if ok else None)

    failed = {"status": "failed", "reason": "Traceback\nValueError: no", "cost": Cost()}
    put("fails", {}, failed)
    put("mended", failed, {})
    put("never", {"status": "skipped", "reason": "no weights"}, {"status": "skipped", "reason": "no weights"})
    put("lost", {}, {"status": "skipped", "reason": "no library"})
    put("gone", {}, None)
    put("new", None, {})
    put("seeds", {}, {})
    folders.put(folders.before, make(judged, method="seeds", seed=1), judged)
    put("asked", {}, {"dataset": replace(FACTS, fingerprint="0" * 64)})
    put("recipe", {}, {"recipe": RecipeUsed(text="epochs = 4\n", hash="b")})
    network = Backbone(name="n", weights="hub", parameters=3)
    there = {"torch": "2.12", "cpu": "y", "precision": "bf16"}
    put(
        "made",
        {"backbone": network, "environment": {"torch": "2.11", "cpu": "x", "precision": "fp32"}},
        {"backbone": replace(network, weights="file"), "environment": there},
    )
    found = folders.compare()
    assert {cell: one.verdict for cell, one in found.items()} == {
        "fails": "worse", "mended": "better", "never": "same", "lost": "skipped", "gone": "missing", "new": "new",
        "seeds": "same", "asked": "unlike", "recipe": "same", "made": "same",
    }  # fmt: skip
    text = as_text(list(found.values()), Limits(), width=200)
    for words in (
        "fails on toy: seed 0 failed: ValueError: no",
        "mended on toy: seed 0 was failed and now succeeds",
        "1 missing on toy: gone",
        "seeds on toy: not run again: seed 1",
        "asked on toy: other data: fingerprint ffffffff, now 00000000",
        "recipe on toy: recipe changed: -epochs = 3; +epochs = 4",
        "made on toy: network changed: n (hub), now n (file)",
        "torch 2.11, now 2.12",
        "computed in fp32, now bf16",
        "on processor x, now y",
        "1 worse, 1 unlike, 1 skipped, 1 missing, 1 better, 4 same, 1 new",
    ):
        assert words in text
    fine = [found[cell] for cell in ("mended", "never", "gone", "new", "seeds", "recipe", "made")]
    assert passes(fine, complete=False)
    for bad in ("gone", "seeds"):
        assert not passes([found[bad]], complete=True)
    for bad in ("fails", "asked", "lost"):
        assert not passes([found[bad]], complete=False)
    assert [passes([found[bad]], complete=False, skipped=True) for bad in ("fails", "lost")] == [False, True]
    assert not found["lost"].compared
    assert json.loads(as_json(fine, Limits(), passed=True))["cells"][0]["verdict"] == "better"


def test_a_seed_that_is_skipped_does_not_hide_the_loss_of_another(folders):
    rng = np.random.default_rng(0)
    good, bad = draw(rng, positives=10, quality=0.9), draw(rng, positives=10, quality=0.3)
    for method, after in (("lower", bad), ("alike", good)):
        for seed, kept in ((0, good), (1, good)):
            folders.put(folders.before, make(kept, method=method, seed=seed), kept)
        folders.put(folders.after, make(after, method=method, seed=0), after)
        gone = make(None, method=method, seed=1, status="skipped", reason="no library")
        folders.put(folders.after, gone, None)
    assert {cell: one.verdict for cell, one in folders.compare().items()} == {"lower": "worse", "alike": "skipped"}


def test_what_was_answered_again_to_the_bit_is_compared_as_if_it_had_been_scored_again(monkeypatch):
    """The stored means stand for the scores: each change is the same both ways, on the results of this repository."""
    root = Path(__file__).parents[3] / "results"
    results = [one for one in irbench.load_results(root) if one.dataset.name == "digits"]
    kept = Artefacts(root, Path("work"), Path("data"))

    def compared() -> list[Comparison]:
        return compare(pair_up(results, results), kept, kept, Limits())

    quick = compared()
    monkeypatch.setattr(by_quality, "_unmoved", lambda *_: None)
    for one, slow in zip(quick, compared(), strict=True):
        assert (one.cell, one.verdict, one.notes) == (slow.cell, slow.verdict, slow.notes)
        for change_, slow_change in zip(one.quality, slow.quality, strict=True):
            assert change_.before == pytest.approx(slow_change.before, abs=1e-12)
            assert replace(change_, before=0, after=0) == replace(slow_change, before=0, after=0)


def test_a_stored_mean_that_its_hits_do_not_bear_out_is_not_taken_for_a_change(folders):
    good = draw(np.random.default_rng(0), positives=10, quality=0.9)
    folders.both(good, good)
    (result,) = sound(folders.after.results)
    wrong = {name: replace(one, mean=0.5) if one.mean else one for name, one in result.metrics.items()}
    files.write(replace(result, metrics=wrong), folders.after.results)
    (found,) = folders.compare().values()
    assert {change_.verdict for change_ in found.quality} == {"same"}
    assert {change_.before == change_.after for change_ in found.quality} == {True}
